"""What maskcls.train trains: one config, or one after the other those of an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskcls.config import TrainConfig, config_of_file, make_config, parse_assignment, read_config_file
from maskcls.system.errors import UserError

if TYPE_CHECKING:
    from maskcls.model.ensemble_config import EnsembleConfig


@dataclass(frozen=True)
class Job:
    """A config to train into a folder."""

    config: TrainConfig
    source: dict[str, Any]
    """[origin] of the config file."""
    out: Path
    title: str = ""
    """What is said before: which member of an ensemble it is."""


def requested_jobs(
    config_file: Path | None, assignments: Sequence[str], out: Path
) -> "tuple[list[Job], EnsembleConfig | None]":
    """(what to train, the ensemble that it makes). Raises UserError when --config or --set is wrong."""
    from maskcls.model.ensemble_config import ensemble_of_file

    values = read_config_file(config_file) if config_file else {}
    ensemble = ensemble_of_file(config_file, values) if config_file else None
    if ensemble is None:
        config, origin = config_of_file(config_file, values) if config_file else (TrainConfig(), {})
        config = make_config({**config.model_dump(), **dict(parse_assignment(text) for text in assignments)})
        _check_value(config_file, origin)
        return [Job(config, origin, out)], None
    if assignments:
        raise UserError(
            f"--set changes one config, and {config_file} has {len(ensemble.members)}; change the hyperparameter there."
        )
    if (out / "config.toml").exists():
        raise UserError(f"{out} holds a single model. Choose another -o.")
    for origin in (ensemble.origin, *(member.origin for member in ensemble.members)):
        _check_value(config_file, origin)
    total = sum(member.weight for member in ensemble.members)
    jobs = [
        Job(
            member.config,
            member.origin,
            out / f"member-{number}",
            f"Member {number} of {len(ensemble.members)}, {100 * member.weight / total:.0f} % of the ensemble:",
        )
        for number, member in enumerate(ensemble.members, start=1)
    ]
    return jobs, ensemble


def _check_value(config_file: Path | None, origin: dict[str, Any]) -> None:
    """Raise UserError when the score in an [origin] is no number."""
    if not isinstance(origin.get("value", 0.0), int | float):
        raise UserError(
            f"{config_file}: [origin] value must be a number, not {origin['value']!r}. Export the config again."
        )
