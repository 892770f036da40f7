"""A study as it is stored: its question, the roles of its hyperparameters, and all that its trials have in common.

Later commands need the stored name only, and no study file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import optuna
from optuna.study import StudyDirection

from maskcls.config import TrainConfig, make_config
from maskcls.system.errors import UserError, one_line, some
from maskcls.system.printable import one_printable_line
from search.study.attributes import (
    COMMIT,
    CONFIRMED_ID,
    DECODER,
    GROWN_FROM,
    QUESTION,
    STUDY_ID,
    VERSIONS,
    HasUserAttributes,
)
from search.study.space import is_larger, is_same
from search.study.study import Domain, Int, Pruner, Sampler, Study, describe_domain, domain_from_json, domain_to_json
from search.system.shell import quoted

if TYPE_CHECKING:
    from maskcls.data.dataset import Dataset

KEY = "study"
"""The study attribute that holds the document. It is written last: a study without it is not made yet."""

VERSION = 1
"""Of the document; one without a number is from before there were any. A later one is not read."""

NEEDED = {
    "question", "scientific", "nuisance", "fixed", "baseline", "synthetic",
    "data", "split", "weights", "weights_option", "label_fixes", "skip_unreadable", "seed",
}  # fmt: skip
"""What every document has."""

BEGUN = {QUESTION, COMMIT, VERSIONS, DECODER, GROWN_FROM, STUDY_ID, CONFIRMED_ID}
"""The attributes that a study of ours has before its document."""


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
    photos: str = ""
    """Dataset.content when the study was made; empty in one from before that was written down."""
    confirmation: dict[str, Any] | None = None
    """Of a study that search.confirm made: policy.confirmation.Plan as JSON; None: a search."""
    weights_commits: dict[str, str] = field(default_factory=dict)
    """Weights.commits: which weights to ask the hub for again."""

    def config(self, values: dict[str, Any], seed: int | None = None) -> TrainConfig:
        """The config of the trial with these values of what is searched; a replicate brings a seed of its own."""
        return make_config({**self.study.fixed, **values, "seed": self.seed if seed is None else seed})

    @property
    def baseline_config(self) -> TrainConfig:
        """The config of trial 0, numerics not resolved: also where to look up what all trials have in common."""
        return self.config(dict(self.study.baseline))

    def to_json(self) -> dict[str, Any]:
        """Plain values. What is fixed is written out in full, so that a later default cannot change the study."""
        study = self.study
        every = json.loads(self.baseline_config.model_dump_json())
        return {
            "version": VERSION,
            "question": study.question,
            "scientific": {name: domain_to_json(domain) for name, domain in study.scientific.items()},
            "nuisance": {name: domain_to_json(domain) for name, domain in study.nuisance.items()},
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
            "photos": self.photos,
            "confirmation": self.confirmation,
            "weights_commits": self.weights_commits,
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Stored":
        """The inverse of to_json."""
        study = Study(
            question=values["question"],
            scientific={name: domain_from_json(domain) for name, domain in values["scientific"].items()},
            nuisance={name: domain_from_json(domain) for name, domain in values["nuisance"].items()},
            fixed=values["fixed"],
            baseline=values["baseline"],
            synthetic=values["synthetic"],
            **_tools(values),
            is_stored=True,
        )
        shared = ("data", "split", "weights", "weights_option", "label_fixes", "skip_unreadable", "seed")
        found = Stored(
            study,
            **{name: values[name] for name in shared},
            warm=tuple(values.get("warm", ())),
            photos=values.get("photos", ""),
            confirmation=values.get("confirmation"),
            weights_commits=values.get("weights_commits", {}),
        )
        found.config(dict(study.baseline))  # what is fixed may be no value of TrainConfig
        return found


def _tools(values: dict[str, Any]) -> dict[str, Any]:
    """Sampler and pruner; a document from before there was a choice has the default ones."""
    kinds = {"sampler": Sampler, "pruner": Pruner}
    return {name: kind(values[name][0], **values[name][1]) for name, kind in kinds.items() if name in values}


class HasAttributes(HasUserAttributes, Protocol):
    """A study, or Optuna's summary of one."""

    @property
    def directions(self) -> Sequence[StudyDirection]:
        """What each of its goals should be."""


def document_in(study: HasAttributes) -> dict[str, Any] | None:
    """The document of a study of ours that can be read; None for any other, whatever it calls its attributes."""
    if not is_made_here(study):
        return None
    values = study.user_attrs[KEY]
    if not values.keys() >= NEEDED or _version(values) > VERSION:
        return None
    try:
        Stored.from_json(values)
    except Exception:  # somebody has written into it
        return None
    return dict(values)


def is_made_here(study: HasAttributes) -> bool:
    """Whether the study is one of ours, also when its document can no longer be read."""
    return isinstance(study.user_attrs.get(KEY), dict) and list(study.directions) == [StudyDirection.MAXIMIZE]


def confirms(study: HasAttributes) -> str | None:
    """The name of the study that this one is the confirmation of; None for any other."""
    values = study.user_attrs.get(KEY)
    found = values.get("confirmation") if isinstance(values, dict) else None
    of = found.get("of") if isinstance(found, dict) else None
    return of if isinstance(of, str) else None


def _version(values: dict[str, Any]) -> int:
    found = values.get("version", 0)
    return found if isinstance(found, int) else VERSION + 1


def read_stored(study: optuna.Study) -> Stored:
    """The document of a study in the database. Raises UserError for a study of another making."""
    name = one_printable_line(study.study_name)
    if not is_made_here(study):
        raise UserError(f"Study {name!r} in this database was not made by search.run.")
    values = study.user_attrs[KEY]
    if _version(values) > VERSION:
        raise UserError(
            f"Study {name!r} was made by a newer version of mask-search (document {values['version']}, this one reads"
            f" {VERSION}). Update this installation."
        )
    try:
        return Stored.from_json(values)
    except Exception as error:  # whatever somebody has written into it
        raise UserError(
            f"The document of study {name!r} cannot be read ({type(error).__name__}: {one_line(error)}); somebody has"
            " changed it. search.run makes another under a new --name."
        ) from error


def read_search(study: optuna.Study) -> Stored:
    """The same, of a study that searches; raises UserError for a confirmation."""
    stored = read_stored(study)
    if stored.confirmation is not None:
        of = stored.confirmation["of"]
        raise UserError(
            f"{study.study_name!r} is the confirmation of study {of!r}, which"
            f" `python -m search.confirm --study {quoted(of)}` goes on with; give that study's name."
        )
    return stored


def is_whole(study: optuna.Study) -> bool:
    """Whether a study of the database is made; True as well for one that is not ours, which nobody may touch."""
    attributes = study.user_attrs
    if KEY in attributes or attributes.keys() - BEGUN:
        return True
    return bool(study.get_trials(deepcopy=False)) and GROWN_FROM not in attributes


def check_same(stored: Stored, wanted: Stored, name: str) -> None:
    """Raise UserError, with both values, when the command asks for another study than the stored one."""
    there, here = _facts(stored, stored.study.space), _facts(wanted, stored.study.space)
    for fact in sorted(there.keys() | here.keys(), key=_importance):
        if there.get(fact) != here.get(fact):
            remedy = "" if stored.confirmation else ", or a new --name"
            remedy += f", or --name NEW --from {name}" if _is_searched(fact, stored, wanted) else ""
            raise UserError(
                f"Study {name!r} is stored with {fact} = {_show(there.get(fact))};"
                f" this command says {_show(here.get(fact))}. Give what is stored{remedy}.{_explained(fact)}"
            )


def check_photos(stored: Stored, dataset: "Dataset", name: str) -> None:
    """Raise UserError when the stored trials saw other pixels than those at hand, though the split says the same."""
    new = "Trials of both cannot be compared; begin a new study, search.run --name NEW."
    if not stored.photos and dataset.turned_anew:
        raise UserError(
            f"Study {name!r} is of an earlier version, which overlooked the EXIF orientation of"
            f" {len(dataset.turned_anew)} of its photos ({some(dataset.turned_anew, 3)}); they are turned upright now."
            f" {new}"
        )
    if stored.photos and stored.photos != dataset.content:
        raise UserError(
            f"Study {name!r} was made of photos with the same names and sizes, but other contents ({stored.photos}"
            f" there, {dataset.content} here). {new}"
        )


def _facts(stored: Stored, written: Mapping[str, Domain]) -> dict[str, Any]:
    """One flat table of what must agree. The photos count, not where they lie or how the weights were asked for.

    ``written``: the stored study's domains, which may be written otherwise than the same ones here.
    """
    values = stored.to_json()
    facts = {name: values[name] for name in ("synthetic", "weights", "split", "seed")}
    facts |= values["fixed"]
    study = stored.study
    for role, domains in (("compared", study.scientific), ("tuned", study.nuisance)):
        for name, domain in domains.items():
            is_the_same = name in written and is_same(name, written[name], domain)
            whole = " (whole numbers)" if isinstance(domain, Int) else ""
            facts[name] = f"{role}, {describe_domain(name, written[name] if is_the_same else domain)}{whole}"
    return facts


def _is_searched(fact: str, stored: Stored, wanted: Stored) -> bool:
    """Whether it is a hyperparameter that the command searches more widely: a copy of the study can go on (grow)."""
    there, here = stored.study.space, wanted.study.space
    if (fact in stored.study.scientific) != (fact in wanted.study.scientific):
        return False
    return fact in there and fact in here and is_larger(fact, there[fact], here[fact])


def _importance(fact: str) -> tuple[bool, str]:
    """Hyperparameters first: another size or share of people is why a split or a weights file differs."""
    return fact in ("split", "weights"), fact


def _explained(fact: str) -> str:
    return " A split names the photos, their labels and sides; one of these has changed." if fact == "split" else ""


def _show(value: Any) -> str:
    return "nothing" if value is None else str(value)
