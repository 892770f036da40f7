"""The words in which a study is written. Studies import these and nothing else.

A study asks a question. Its *scientific* hyperparameters are what is asked; its *nuisance* hyperparameters are tuned,
so that the comparison is fair; its *fixed* ones are the same in every trial
(https://github.com/google-research/tuning_playbook). Without scientific ones it looks for the best. What users read
calls a hyperparameter a knob.
"""

import itertools
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, replace
from typing import Any

from maskcls.config import canonical_or_same, make_config
from maskcls.system.errors import UserError
from search.study.hyperparameters import (  # the words of a study, and what is asked of them
    NUM_BINS,
    Choice,
    Domain,
    Float,
    Int,
    Subset,
    bins,
    check_domain,
    contains,
    describe_domain,
    describe_option,
    domain_from_json,
    domain_to_json,
    encode,
    plain_domain,
    probed,
)
from search.study.values import named, plain, plain_values

__all__ = ["Choice", "Float", "Int", "Pruner", "Sampler", "Study", "Subset"]
__all__ += ["NUM_BINS", "Domain", "bins", "contains", "describe_domain", "describe_option", "encode", "probed"]
__all__ += ["domain_from_json", "domain_to_json", "pin", "preview_of"]

NEVER_SEARCHED = (
    *("task", "seed", "split_seed", "valid_share", "judge_round", "people"),
    *("epochs", "evaluations_per_epoch", "keep"),
)
"""Trials that differ in these cannot be compared."""


@dataclass(frozen=True, init=False)
class Sampler:
    """What proposes the nuisance values: ``Sampler("tpe", n_ei_candidates=48)``; Optuna's, with Optuna's arguments."""

    name: str
    arguments: dict[str, Any]

    def __init__(self, name: str, **arguments: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", arguments)


@dataclass(frozen=True, init=False)
class Pruner:
    """What ends trials early: ``Pruner("rungs")``, our own; ``Pruner("none")``; or one of Optuna's."""

    name: str
    arguments: dict[str, Any]

    def __init__(self, name: str, **arguments: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", arguments)


@dataclass(frozen=True)
class Study:
    """A question and how to answer it."""

    question: str
    """One sentence that ends with a question mark."""
    nuisance: Mapping[str, Domain]
    """What is tuned: hyperparameter -> the values that it may take."""
    fixed: Mapping[str, Any]
    """Values that are the same in every trial; what is named nowhere keeps TrainConfig's default."""
    baseline: Mapping[str, Any]
    """A value for every scientific and nuisance hyperparameter: trial 0, a sound recipe."""
    scientific: Mapping[str, Domain] = field(default_factory=dict)
    """What is compared: hyperparameter -> its levels, which share the trials about equally."""
    preview: Mapping[str, Any] = field(default_factory=dict)
    """Other fixed values, or other Choices of what is searched, when there is no data and the photos are synthetic."""
    synthetic: bool = False
    """Whether the study is about the synthetic photos; then it needs no data and has no preview."""
    sampler: Sampler = Sampler("auto")
    pruner: Pruner = Pruner("rungs")
    is_stored: InitVar[bool] = False
    """Read from a database, which may hold what is refused today and still has to be shown: it is not checked again."""

    def __post_init__(self, is_stored: bool) -> None:
        if not is_stored:
            _make_plain(self)
            _check(self)
        for part in ("fixed", "baseline"):  # in one form, however the file or an earlier version writes a value
            values = getattr(self, part)
            object.__setattr__(self, part, {name: canonical_or_same(name, value) for name, value in values.items()})

    @property
    def space(self) -> dict[str, Domain]:
        """Every hyperparameter that differs between trials."""
        return {**self.scientific, **self.nuisance}


def _make_plain(study: Study) -> None:
    """What the file holds as plain Python values. Raises UserError for what has none, such as a function."""
    found: dict[str, Any] = {
        "question": plain("question", study.question),
        "fixed": plain_values("fixed", study.fixed),
        "baseline": plain_values("baseline", study.baseline),
        "synthetic": plain("synthetic", study.synthetic),
    }
    for role in ("scientific", "nuisance", "preview"):
        found[role] = {name: plain_domain(name, domain) for name, domain in named(role, getattr(study, role)).items()}
    for word, kind in (("sampler", Sampler), ("pruner", Pruner)):
        tool = getattr(study, word)
        if not isinstance(tool, kind):
            raise UserError(f'{word} is {kind.__name__}("name", ...), not {tool!r}.')
        arguments = {name: plain(f"The {word}'s {name}", value) for name, value in tool.arguments.items()}
        found[word] = kind(str(plain(word, tool.name)), **arguments)
    if not isinstance(found["question"], str) or not found["question"].strip():
        raise UserError(f"question is a sentence that ends with a question mark, not {study.question!r}.")
    if not isinstance(found["synthetic"], bool):
        raise UserError(f"synthetic is True or False, not {study.synthetic!r}.")
    for name, value in found.items():
        object.__setattr__(study, name, value)


def _check(study: Study) -> None:
    for name, domain in study.space.items():
        check_domain(name, domain)
        if name in NEVER_SEARCHED:
            raise UserError(f"{name} is never searched: trials that differ in it cannot be compared. Make it fixed.")
    if "seed" in study.fixed:
        raise UserError("seed is no fixed knob; --seed gives the sampler's and every trial's.")
    both = study.scientific.keys() & study.nuisance.keys() | study.space.keys() & study.fixed.keys()
    if both:
        raise UserError(f"A knob is scientific, nuisance or fixed; {', '.join(sorted(both))} is more than one.")
    if study.baseline.keys() != study.space.keys():
        differing = ", ".join(sorted(study.baseline.keys() ^ study.space.keys()))
        raise UserError(f"The baseline names every scientific and nuisance knob and no other; see {differing}.")
    for name, domain in study.space.items():
        if not contains(name, domain, study.baseline[name]):
            raise UserError(f"The baseline's {name}, {study.baseline[name]!r}, is outside of {domain}.")
    make_config({**study.fixed, **study.baseline})
    _check_together(study)
    if study.preview:
        preview_of(study)


def _check_together(study: Study) -> None:
    """Any two hyperparameters at any of their probed values: a rule of TrainConfig is about one or two."""
    tried = {name: probed(domain) for name, domain in study.space.items()}
    for names in (*((name,) for name in tried), *itertools.combinations(tried, 2)):
        for values in itertools.product(*(tried[name] for name in names)):
            make_config({**study.fixed, **study.baseline, **dict(zip(names, values, strict=True))})


def preview_of(study: Study) -> Study:
    """The study as it runs without data: what ``preview`` names takes the place of the real thing.

    A searched hyperparameter takes another domain there, and the baseline its first option where it no longer lies
    within.
    """
    domains = {name: value for name, value in study.preview.items() if isinstance(value, Domain)}
    unknown = domains.keys() - study.space.keys()
    if unknown or study.preview.keys() - domains.keys() & study.space.keys():
        raise UserError("preview gives other knobs for searched knobs and other values for fixed ones.")
    baseline = {
        name: value if contains(name, domains.get(name, study.space[name]), value) else _first(domains[name])
        for name, value in study.baseline.items()
    }
    return replace(
        study,
        scientific={name: domains.get(name, domain) for name, domain in study.scientific.items()},
        nuisance={name: domains.get(name, domain) for name, domain in study.nuisance.items()},
        fixed={**study.fixed, **{name: value for name, value in study.preview.items() if name not in domains}},
        baseline=baseline,
        preview={},
        synthetic=True,
    )


def _first(domain: Domain) -> Any:
    if not isinstance(domain, Choice):
        raise UserError("preview gives a searched knob another Choice, or a range that holds the baseline.")
    return domain.options[0]


def pin(study: Study, values: Mapping[str, Any]) -> Study:
    """The study with these values fixed; a nuisance hyperparameter among them is no longer tuned.

    Raises UserError for a scientific one: without it there is no question.
    """
    for name in values:
        if name in study.scientific:
            raise UserError(
                f"--set cannot fix {name}: it is what this study compares. Search a copy of the study file."
            )
        if name == "seed":
            raise UserError("--set cannot fix seed; --seed gives the study's.")
    make_config({**study.fixed, **study.baseline, **values})
    return replace(
        study,
        nuisance={name: domain for name, domain in study.nuisance.items() if name not in values},
        fixed={**study.fixed, **values},
        baseline={name: value for name, value in study.baseline.items() if name not in values},
    )
