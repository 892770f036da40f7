"""A study as it is stored: its question, the roles of its hyperparameters, and all that its trials have in common.

Later commands need only the stored name, not the study file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import optuna
from optuna.study import StudyDirection

from maskcls.config import TrainConfig, make_config
from maskcls.labels import LabelSpace
from maskcls.system.errors import UserError, one_line, some
from maskcls.system.printable import one_printable_line
from maskcls.tasks.declared import task_from_json, task_to_json
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import Task, describe
from search.study.attributes import (
    COMMIT,
    CONFIRMED_ID,
    DECODER,
    GROWN_FROM,
    LIMITS,
    LOOKS,
    OWN_LOOKS,
    QUESTION,
    STUDY_ID,
    TEST,
    VERSIONS,
    HasUserAttributes,
)
from search.study.domains import Domain, Int, describe_domain, domain_from_json, domain_to_json
from search.study.space import is_same_domain, is_wider_domain
from search.study.study import Pruner, Sampler, Study
from search.system.shell import quoted

if TYPE_CHECKING:
    from maskcls.data.dataset import Dataset

KEY = "study"
"""The study attribute that holds the document. It is written last, so a study without it is not complete."""

VERSION = 1
"""Version of the document's format; the first documents have none. A later version is refused."""

REQUIRED = ("data", "split", "weights", "weights_option", "label_fixes", "skip_unreadable", "seed")
"""The fields of Stored that every document has."""

OPTIONAL = ("photos", "confirmation", "weights_commits")
"""Those that documents of early versions lack."""

REQUIRED_KEYS = {"question", "scientific", "nuisance", "fixed", "baseline", "synthetic", *REQUIRED}

WRITTEN_BEFORE = {
    *(QUESTION, COMMIT, VERSIONS, DECODER, GROWN_FROM, STUDY_ID, CONFIRMED_ID, LIMITS),
    *(LOOKS, OWN_LOOKS, TEST),
}
"""The attributes that a study may have before its document is written; a copy of another has the last three."""


@dataclass(frozen=True)
class Stored:
    """The document of a study: what all its trials have in common, without which they could not be compared."""

    study: Study
    data: str
    """--data as given: a folder or "synthetic"."""
    split: str
    """split.split_hash of photos, labels and sides."""
    weights: dict[str, str]
    """Weights.describe(): the source and the files' digests."""
    weights_option: str
    """--weights as given."""
    label_fixes: str
    """--label-fixes as given."""
    skip_unreadable: bool
    seed: int
    """Seed of the sampler and, unless a trial has its own, of the training."""
    warm: tuple[dict[str, Any], ...] = ()
    """The warm starts, each {"params", "from"}; chosen when the study was made (policy.warm_starts)."""
    photos: str = ""
    """Dataset.seen when the study was made; empty in a document of an early version."""
    confirmation: dict[str, Any] | None = None
    """policy.confirmation.Plan as JSON, in a study that search.confirm made; None in a search."""
    weights_commits: dict[str, str] = field(default_factory=dict)
    """Weights.commits: the revisions of the weights on the hub."""
    task: Task = MASK_TASK
    """What is to be told from the photos, and how they are read."""

    @property
    def confirms_team(self) -> bool:
        """Whether it is a confirmation of a team of models (search.confirm --ensemble)."""
        return self.confirmation is not None and bool(self.confirmation.get("weights"))

    def config(self, values: dict[str, Any], seed: int | None = None) -> TrainConfig:
        """The config of a trial with these values of the searched hyperparameters; ``seed``: None for the study's."""
        return make_config({**self.study.fixed, **values, "seed": self.seed if seed is None else seed})

    @property
    def space(self) -> LabelSpace:
        """The label space that every model of the study predicts."""
        return self.task.predicted(self.baseline_config)

    @property
    def baseline_config(self) -> TrainConfig:
        """The config of trial 0, numerics not resolved; its fixed values are those of every trial."""
        return self.config(dict(self.study.baseline))

    def to_json(self) -> dict[str, Any]:
        """Plain values. What is fixed is written out in full, so that a later default cannot change the study."""
        study = self.study
        config = json.loads(self.baseline_config.model_dump_json())
        task = task_to_json(self.task)
        return {
            "version": VERSION,
            "question": study.question,
            "scientific": {name: domain_to_json(domain) for name, domain in study.scientific.items()},
            "nuisance": {name: domain_to_json(domain) for name, domain in study.nuisance.items()},
            "fixed": {name: value for name, value in config.items() if name not in study.space and name != "seed"},
            "baseline": {name: config[name] for name in study.baseline},
            "synthetic": study.synthetic,
            "sampler": [study.sampler.name, study.sampler.arguments],
            "pruner": [study.pruner.name, study.pruner.arguments],
            "matters": study.matters,
            **{name: getattr(self, name) for name in REQUIRED},
            "warm": list(self.warm),
            **{name: getattr(self, name) for name in OPTIONAL},
            **({} if task is None else {"task": task}),
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Stored":
        """The inverse of to_json. Raises UserError, KeyError and others for a document that was changed by hand."""
        study = Study(
            question=values["question"],
            scientific={name: domain_from_json(domain) for name, domain in values["scientific"].items()},
            nuisance={name: domain_from_json(domain) for name, domain in values["nuisance"].items()},
            fixed=values["fixed"],
            baseline=values["baseline"],
            synthetic=values["synthetic"],
            matters=values.get("matters", Study.matters),  # a document of an early version lacks it
            **_sampler_and_pruner(values),
            is_stored=True,
        )
        required = {name: values[name] for name in REQUIRED}
        optional = {name: values[name] for name in OPTIONAL if name in values}
        stored = Stored(
            study, **required, warm=tuple(values.get("warm", ())), **optional, task=task_from_json(values.get("task"))
        )
        stored.config(dict(study.baseline))  # raises for fixed values that TrainConfig does not allow
        return stored


def _sampler_and_pruner(values: dict[str, Any]) -> dict[str, Any]:
    """A document of an early version lacks them and means the defaults."""
    kinds = {"sampler": Sampler, "pruner": Pruner}
    return {name: kind(values[name][0], **values[name][1]) for name, kind in kinds.items() if name in values}


class HasAttributes(HasUserAttributes, Protocol):
    """A study, or Optuna's summary of one."""

    @property
    def directions(self) -> Sequence[StudyDirection]:
        """Whether each of its objectives is maximized or minimized."""


def document_in(study: HasAttributes) -> dict[str, Any] | None:
    """The document's values; None for a study of another program, or one whose document cannot be read."""
    if not is_made_here(study):
        return None
    values = study.user_attrs[KEY]
    if not values.keys() >= REQUIRED_KEYS or _version(values) > VERSION:
        return None
    try:
        Stored.from_json(values)
    except Exception:  # a document that was changed by hand may raise anything
        return None
    return dict(values)


def is_made_here(study: HasAttributes) -> bool:
    """Whether this service made the study, even if its document can no longer be read."""
    return isinstance(study.user_attrs.get(KEY), dict) and list(study.directions) == [StudyDirection.MAXIMIZE]


def confirms(study: HasUserAttributes) -> str | None:
    """The name of the study that this one confirms; None if it is no confirmation."""
    name = _plan_in(study).get("of")
    return name if isinstance(name, str) else None


def confirms_team(study: HasUserAttributes) -> bool:
    """Whether this study confirms a team of another's models."""
    return bool(_plan_in(study).get("weights"))


def _plan_in(study: HasUserAttributes) -> dict[str, Any]:
    """The plan of a confirmation as it is stored; empty where there is none."""
    values = study.user_attrs.get(KEY)
    plan = values.get("confirmation") if isinstance(values, dict) else None
    return plan if isinstance(plan, dict) else {}


def _version(values: dict[str, Any]) -> int:
    version = values.get("version", 0)
    return version if isinstance(version, int) else VERSION + 1


def read_stored(study: optuna.Study) -> Stored:
    """The document of a study in the database.

    Raises UserError for a study of another program, and for a document of a newer version or one that cannot be read.
    """
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
    except Exception as error:  # a document that was changed by hand may raise anything
        raise UserError(
            f"The document of study {name!r} was changed and cannot be read ({type(error).__name__}:"
            f" {one_line(error)}). Begin a new study by search.run --name NEW."
        ) from error


def read_search(study: optuna.Study) -> Stored:
    """The document of a search. Raises UserError as read_stored does, and for a confirmation."""
    stored = read_stored(study)
    if stored.confirmation is not None:
        searched = stored.confirmation["of"]
        of, option = ("a team of ", " --ensemble FILE") if stored.confirms_team else ("", "")
        raise UserError(
            f"{study.study_name!r} is the confirmation of {of}study {searched!r}. Give that study's name;"
            f" search.confirm --study {quoted(searched)}{option} continues the confirmation."
        )
    return stored


def is_fully_created(study: optuna.Study) -> bool:
    """Whether no command has to create the study any more; also True for a study of another program."""
    attributes = study.user_attrs
    if KEY in attributes or attributes.keys() - WRITTEN_BEFORE:
        return True
    # a copy of another study has trials before it has a document
    return bool(study.get_trials(deepcopy=False)) and GROWN_FROM not in attributes


def check_same(stored: Stored, requested: Stored, name: str) -> None:
    """Raise UserError, with both values, if the requested study differs from the one that is stored as ``name``."""
    old, new = _facts(stored, stored.study.space), _facts(requested, stored.study.space)
    for fact in sorted(old.keys() | new.keys(), key=_importance):
        if old.get(fact) != new.get(fact):
            remedy = "" if stored.confirmation else ", or a new --name"
            remedy += f", or --name NEW --from {name}" if _is_widened(fact, stored.study, requested.study) else ""
            split = " The photos, their labels or their sides have changed." if fact == "split" else ""
            raise UserError(
                f"Study {name!r} is stored with {fact} = {_show(old.get(fact))};"
                f" this command says {_show(new.get(fact))}. Give the stored value{remedy}.{split}"
            )


def check_photos(stored: Stored, dataset: "Dataset", name: str) -> None:
    """Raise UserError if the stored trials saw other pixels than the dataset's, although the split is the same."""
    remedy = "Old and new trials cannot be compared; begin a new study by search.run --name NEW."
    if not stored.photos and dataset.turned_anew:
        raise UserError(
            f"Study {name!r} was made by an earlier version, which ignored the EXIF orientation of"
            f" {len(dataset.turned_anew)} of its photos ({some(dataset.turned_anew, 3)}); they are turned upright now."
            f" {remedy}"
        )
    if dataset.read_anew and stored.photos in ("", dataset.content):
        raise UserError(
            f"Study {name!r} was made by an earlier version, which left out {len(dataset.read_anew)} of its photos"
            f" ({some(dataset.read_anew, 3)}); TIFF and BMP are read now. {remedy}"
        )
    if stored.photos and stored.photos != dataset.seen:
        raise UserError(
            f"Study {name!r} was made from photos of the same names and sizes but other contents ({stored.photos}"
            f" then, {dataset.seen} now). {remedy}"
        )


def _facts(stored: Stored, spelling: Mapping[str, Domain]) -> dict[str, Any]:
    """What must agree, in one flat table: the photos and weights themselves, not where they are or how they were named.

    ``spelling``: the stored study's domains; a domain with the same values is described as it is spelled there.
    """
    values = stored.to_json()
    facts = {name: values[name] for name in ("synthetic", "matters", "weights", "split", "seed")}
    facts |= describe(stored.task)
    facts |= values["fixed"]
    study = stored.study
    for role, domains in (("compared", study.scientific), ("tuned", study.nuisance)):
        for name, domain in domains.items():
            if name in spelling and is_same_domain(name, spelling[name], domain):
                domain = spelling[name]
            whole = " (whole numbers)" if isinstance(domain, Int) else ""
            facts[name] = f"{role}, {describe_domain(name, domain)}{whole}"
    return facts


def _is_widened(fact: str, old: Study, new: Study) -> bool:
    """Whether it is a hyperparameter with a wider domain in the new study, which a copy of the old one can adopt."""
    if fact not in old.space or fact not in new.space or (fact in old.scientific) != (fact in new.scientific):
        return False
    return is_wider_domain(fact, old.space[fact], new.space[fact])


def _importance(fact: str) -> tuple[bool, str]:
    """Sort key, hyperparameters first: another size or share of people also changes the split or the weights."""
    return fact in ("split", "weights"), fact


def _show(value: Any) -> str:
    return "nothing" if value is None else str(value)
