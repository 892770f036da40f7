"""The config of a whole ensemble: search.export --ensemble writes it, maskcls.train trains every member of it.

[[member]]              a config of maskcls.train, and
weight = 3              the member's weight in the ensemble: any number above 0, of which only the ratios count
[member.origin]         where the member came from, as in the config of a single model
[origin]                where the ensemble came from, with the score that it was chosen for
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from maskcls.config import TrainConfig, config_of_file
from maskcls.model.ensemble import is_weight
from maskcls.system.errors import UserError

TABLE = "member"

ALIKE = ("task", "people", "valid_share", "split_seed", "judge_round")
"""Hyperparameters that all members have in common: what they tell, and which photos train and judge them."""


@dataclass(frozen=True)
class MemberConfig:
    """A model of the ensemble, to be trained."""

    config: TrainConfig
    origin: dict[str, Any]
    """[member.origin]; empty where a person wrote the file."""
    weight: float


@dataclass(frozen=True)
class EnsembleConfig:
    """The models of an ensemble, to be trained."""

    members: tuple[MemberConfig, ...]
    origin: dict[str, Any]

    def to_toml(self) -> str:
        """The text of the file."""
        tables = [
            {"weight": member.weight, **member.config.model_dump(mode="json"), "origin": member.origin}
            for member in self.members
        ]
        return tomli_w.dumps({TABLE: tables, "origin": self.origin})


def ensemble_of_file(path: Path, values: Mapping[str, Any]) -> EnsembleConfig | None:
    """The ensemble that a config file with these values configures; None for a file without members.

    Raises UserError for members that are none, and for such that do not tell the same of the same photos.
    """
    if "ensemble" in values:
        raise UserError(
            f"{path} is an ensemble of trained models, not a config; search.export --ensemble writes one that trains"
            " it again."
        )
    if TABLE not in values:
        return None
    file = dict(values)
    tables, origin = file.pop(TABLE), file.pop("origin", {})
    if file or not isinstance(tables, list) or not tables or not isinstance(origin, dict):
        raise UserError(
            f"{path}: the config of an ensemble has a [[{TABLE}]] table for each model and one table [origin], and"
            " nothing else. Export it again."
        )
    members = tuple(_member(path, number, table) for number, table in enumerate(tables, start=1))
    for number, member in enumerate(members[1:], start=2):
        for name in ALIKE:
            ours, theirs = getattr(members[0].config, name), getattr(member.config, name)
            if ours != theirs:
                raise UserError(
                    f"{path}: {name} is {ours} in member 1 and {theirs} in member {number}. All members must tell the"
                    " same of the same photos."
                )
    return EnsembleConfig(members, origin)


def _member(path: Path, number: int, table: Any) -> MemberConfig:
    if not isinstance(table, dict):
        raise UserError(f"{path}: member {number} must be a table [[{TABLE}]], not {table!r}.")
    values, where = dict(table), Path(f"{path}, member {number}")
    weight = values.pop("weight", None)
    if not is_weight(weight):
        raise UserError(f"{where}: weight must be a number above 0, not {weight!r}.")
    return MemberConfig(*config_of_file(where, values), weight)
