"""A study as it is stored: its question, the roles of its knobs, and all that its trials have in common.

Later commands need the stored name only, and no study file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from maskcls.config import TrainConfig, make_config
from maskcls.errors import UserError
from search.space import is_larger, is_same
from search.study import Int, Knob, Pruner, Sampler, Study, describe_knob, knob_from_json, knob_to_json

KEY = "study"
"""The study attribute that holds the document. It is written last: a study without it is not made yet."""

GROWN_FROM = "grown_from"
"""The study attribute that names the one it began as a copy of."""


@dataclass(frozen=True)
class Stored:
    """What is the same in all trials of a study; trials of two that differ in it cannot be compared."""

    study: Study
    data: str
    """The folder as given, or "synthetic"."""
    split: str
    """split.split_hash of photos, labels and sides."""
    weights: dict[str, str]
    """Weights.describe(): the source and the files' digests."""
    weights_option: str
    """--weights as given."""
    label_fixes: str
    skip_unreadable: bool
    seed: int
    """Of the sampler, and of every trial's training."""
    warm: tuple[dict[str, Any], ...] = ()
    """Settings to begin with, each {"params", "from"}; chosen when the study was made (policy.Policy)."""
    confirmation: dict[str, Any] | None = None
    """Of a study that search.confirm made, what it confirms and with what (rounds.Plan); None: a search."""

    def config(self, values: dict[str, Any], seed: int | None = None) -> TrainConfig:
        """The config of the trial with these values of the searched knobs; a replicate brings a seed of its own."""
        return make_config({**self.study.fixed, **values, "seed": self.seed if seed is None else seed})

    def to_json(self) -> dict[str, Any]:
        """Plain values. Fixed knobs are written out in full, so that a later default cannot change the study."""
        study = self.study
        every = json.loads(self.config(dict(study.baseline)).model_dump_json())
        return {
            "question": study.question,
            "scientific": {name: knob_to_json(knob) for name, knob in study.scientific.items()},
            "nuisance": {name: knob_to_json(knob) for name, knob in study.nuisance.items()},
            "fixed": {name: value for name, value in every.items() if name not in study.space and name != "seed"},
            "baseline": {name: every[name] for name in study.baseline},
            "synthetic": study.synthetic,
            "sampler": [study.sampler.name, study.sampler.arguments],
            "pruner": [study.pruner.name, study.pruner.arguments],
            "data": self.data,
            "split": self.split,
            "weights": self.weights,
            "weights_option": self.weights_option,
            "label_fixes": self.label_fixes,
            "skip_unreadable": self.skip_unreadable,
            "seed": self.seed,
            "warm": list(self.warm),
            "confirmation": self.confirmation,
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Stored":
        """The inverse of to_json."""
        study = Study(
            question=values["question"],
            scientific={name: knob_from_json(knob) for name, knob in values["scientific"].items()},
            nuisance={name: knob_from_json(knob) for name, knob in values["nuisance"].items()},
            fixed=values["fixed"],
            baseline=values["baseline"],
            synthetic=values["synthetic"],
            **_tools(values),
            is_stored=True,
        )
        shared = ("data", "split", "weights", "weights_option", "label_fixes", "skip_unreadable", "seed")
        return Stored(
            study,
            **{name: values[name] for name in shared},
            warm=tuple(values.get("warm", ())),
            confirmation=values.get("confirmation"),
        )


def _tools(values: dict[str, Any]) -> dict[str, Any]:
    """Sampler and pruner; a document from before there was a choice has the default ones."""
    kinds = {"sampler": Sampler, "pruner": Pruner}
    return {name: kind(values[name][0], **values[name][1]) for name, kind in kinds.items() if name in values}


def read_stored(study: optuna.Study) -> Stored:
    """The document of a study in the database."""
    values = study.user_attrs.get(KEY)
    if values is None:
        raise UserError(f"Study {study.study_name!r} in this database was not made by search.run.")
    return Stored.from_json(values)


def read_search(study: optuna.Study) -> Stored:
    """The same, of a study that searches; raises UserError for a confirmation."""
    stored = read_stored(study)
    if stored.confirmation is not None:
        of = stored.confirmation["of"]
        raise UserError(
            f"{study.study_name!r} is the confirmation of study {of!r}, which `python -m search.confirm --study {of}`"
            " goes on with; give that study's name."
        )
    return stored


def is_whole(study: optuna.Study) -> bool:
    """Whether a study of the database is made; True as well for one that is not ours, which nobody may touch."""
    return KEY in study.user_attrs or (bool(study.get_trials(deepcopy=False)) and GROWN_FROM not in study.user_attrs)


def check_same(stored: Stored, wanted: Stored, name: str) -> None:
    """Raise UserError, with both values, when the command asks for another study than the stored one."""
    there, here = _facts(stored, stored.study.space), _facts(wanted, stored.study.space)
    for fact in sorted(there.keys() | here.keys(), key=_importance):
        if there.get(fact) != here.get(fact):
            remedy = "" if stored.confirmation else ", or a new --name"
            remedy += f", or --name NEW --from {name}" if _is_searched(fact, stored, wanted) else ""
            raise UserError(
                f"Study {name!r} is stored with {fact} = {_show(there.get(fact))};"
                f" this command says {_show(here.get(fact))}. Give what is stored{remedy}."
            )


def _facts(stored: Stored, written: Mapping[str, Knob]) -> dict[str, Any]:
    """One flat table of what must agree. The photos count, not where they lie or how the weights were asked for.

    ``written``: the stored study's knobs, which may be written otherwise than the same ones here.
    """
    values = stored.to_json()
    facts = {name: values[name] for name in ("synthetic", "weights", "split", "seed")}
    facts |= values["fixed"]
    study = stored.study
    for role, knobs in (("compared", study.scientific), ("tuned", study.nuisance)):
        for name, knob in knobs.items():
            is_the_same = name in written and is_same(name, written[name], knob)
            whole = " (whole numbers)" if isinstance(knob, Int) else ""
            facts[name] = f"{role}, {describe_knob(name, written[name] if is_the_same else knob)}{whole}"
    return facts


def _is_searched(fact: str, stored: Stored, wanted: Stored) -> bool:
    """Whether it is a knob that the command searches more widely: a copy of the study can go on (grow)."""
    there, here = stored.study.space, wanted.study.space
    if (fact in stored.study.scientific) != (fact in wanted.study.scientific):
        return False
    return fact in there and fact in here and is_larger(fact, there[fact], here[fact])


def _importance(fact: str) -> tuple[bool, str]:
    """Knobs first: another size or share of people is why a split or a weights file differs."""
    return fact in ("split", "weights"), fact


def _show(value: Any) -> str:
    return "nothing" if value is None else str(value)
