"""A study: a question, the roles of its hyperparameters, and the recipe that it starts from.

Its *scientific* hyperparameters are what it compares; its *nuisance* hyperparameters are tuned, so that the comparison
is fair; its *fixed* ones are the same in every trial (https://github.com/google-research/tuning_playbook). A study
without scientific ones looks for the best configuration.
"""

import itertools
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, replace
from typing import Any

from maskcls.config import canonical_or_same, make_config
from maskcls.system.errors import UserError
from search.study.domains import (
    Choice,
    Domain,
    Float,
    Int,
    Subset,
    check_domain,
    contains,
    plain_domain,
    probe_values,
)
from search.study.values import plain, plain_values, with_plain_names

__all__ = ["Choice", "Domain", "Float", "Int", "Pruner", "Sampler", "Study", "Subset", "pin", "preview_of"]

NEVER_SEARCHED = (
    *("task", "seed", "split_seed", "valid_share", "judge_round", "people"),
    *("epochs", "evaluations_per_epoch", "keep"),
)
"""Hyperparameters in which two trials must not differ if they are to be compared."""


@dataclass(frozen=True, init=False)
class Sampler:
    """What proposes the nuisance values: ``Sampler("auto")``, or one of Optuna's with Optuna's arguments."""

    name: str
    arguments: dict[str, Any]

    def __init__(self, name: str, **arguments: Any) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", arguments)


@dataclass(frozen=True, init=False)
class Pruner:
    """What stops trials early: ``Pruner("rungs")``, our own; ``Pruner("none")``; or one of Optuna's."""

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
    """Values that are the same in every trial; a hyperparameter without a role keeps TrainConfig's default."""
    baseline: Mapping[str, Any]
    """A value for every scientific and nuisance hyperparameter: the configuration of trial 0, a sound recipe."""
    scientific: Mapping[str, Domain] = field(default_factory=dict)
    """What is compared: hyperparameter -> its levels, which get about equally many trials."""
    preview: Mapping[str, Any] = field(default_factory=dict)
    """Fixed values and domains that replace the study's when there is no data and the photos are synthetic."""
    synthetic: bool = False
    """Whether the study is about the synthetic photos; then it needs no data and has no preview."""
    sampler: Sampler = Sampler("auto")
    pruner: Pruner = Pruner("rungs")
    matters: float = 0.05
    """The smallest difference of scores worth knowing: one that is surely smaller is "no difference that matters"."""
    is_stored: InitVar[bool] = False
    """Whether it was read from a database: a stored study is shown even if it would be refused today."""

    def __post_init__(self, is_stored: bool) -> None:
        if not is_stored:
            _make_plain(self)
            _check(self)
        for role in ("fixed", "baseline"):  # the file, or an earlier version, may have written them in another form
            values = getattr(self, role)
            object.__setattr__(self, role, {name: canonical_or_same(name, value) for name, value in values.items()})

    @property
    def space(self) -> dict[str, Domain]:
        """The domain of every hyperparameter that differs between trials."""
        return {**self.scientific, **self.nuisance}


def _make_plain(study: Study) -> None:
    """Replace the study's values by plain Python ones. Raises UserError where there is none, as for a function."""
    fields: dict[str, Any] = {
        "question": plain("question", study.question),
        "fixed": plain_values("fixed", study.fixed),
        "baseline": plain_values("baseline", study.baseline),
        "synthetic": plain("synthetic", study.synthetic),
        "matters": plain("matters", study.matters),
    }
    for role in ("scientific", "nuisance", "preview"):
        domains = with_plain_names(role, getattr(study, role))
        fields[role] = {name: plain_domain(name, domain) for name, domain in domains.items()}
    for role, kind in (("sampler", Sampler), ("pruner", Pruner)):
        tool = getattr(study, role)
        if not isinstance(tool, kind):
            raise UserError(f'{role} is {kind.__name__}("name", ...), not {tool!r}.')
        arguments = {name: plain(f"The {role}'s {name}", value) for name, value in tool.arguments.items()}
        fields[role] = kind(str(plain(role, tool.name)), **arguments)
    if not isinstance(fields["question"], str) or not fields["question"].strip():
        raise UserError(f"question is a sentence that ends with a question mark, not {study.question!r}.")
    if not isinstance(fields["synthetic"], bool):
        raise UserError(f"synthetic is True or False, not {study.synthetic!r}.")
    matters = fields["matters"]
    if isinstance(matters, bool) or not isinstance(matters, int | float) or not 0 < matters < 1:
        raise UserError(f"matters is a difference of scores between 0 and 1, not {study.matters!r}.")
    for name, value in fields.items():
        object.__setattr__(study, name, value)


def _check(study: Study) -> None:
    for name, domain in study.space.items():
        check_domain(name, domain)
        if name in NEVER_SEARCHED:
            remedy = "Give it by --seed." if name == "seed" else "Make it fixed."
            raise UserError(f"{name} is never searched: trials that differ in it cannot be compared. {remedy}")
    if "seed" in study.fixed:
        raise UserError("seed cannot be fixed in a study file; give it by --seed.")
    repeated = study.scientific.keys() & study.nuisance.keys() | study.space.keys() & study.fixed.keys()
    if repeated:
        names = ", ".join(sorted(repeated))
        raise UserError(f"A hyperparameter is scientific, nuisance or fixed; give {names} one role only.")
    if study.baseline.keys() != study.space.keys():
        names = ", ".join(sorted(study.baseline.keys() ^ study.space.keys()))
        raise UserError(f"The baseline gives every scientific and nuisance hyperparameter and no other; check {names}.")
    for name, domain in study.space.items():
        if not contains(name, domain, study.baseline[name]):
            raise UserError(f"The baseline's {name}, {study.baseline[name]!r}, is outside {domain}.")
    make_config({**study.fixed, **study.baseline})
    _check_together(study)
    if study.preview:
        preview_of(study)


def _check_together(study: Study) -> None:
    """Raise UserError if any two hyperparameters cannot have some of their probe values together.

    No rule of TrainConfig concerns more than two hyperparameters.
    """
    probes = {name: probe_values(domain) for name, domain in study.space.items()}
    for names in (*((name,) for name in probes), *itertools.combinations(probes, 2)):
        for values in itertools.product(*(probes[name] for name in names)):
            make_config({**study.fixed, **study.baseline, **dict(zip(names, values, strict=True))})


def preview_of(study: Study) -> Study:
    """The study as it runs without data: its ``preview`` replaces domains and fixed values.

    A baseline value that is outside the new domain becomes the domain's first option. Raises UserError for a preview
    that gives a searched hyperparameter a value, a fixed one a domain, or a domain that excludes the baseline and has
    no options.
    """
    domains = {name: value for name, value in study.preview.items() if isinstance(value, Domain)}
    unknown = domains.keys() - study.space.keys()
    if unknown or study.preview.keys() - domains.keys() & study.space.keys():
        raise UserError("preview gives a searched hyperparameter another domain, and a fixed one another value.")
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
        raise UserError("preview gives a searched hyperparameter a Choice, or a domain that contains the baseline.")
    return domain.options[0]


def pin(study: Study, values: Mapping[str, Any]) -> Study:
    """The study with these values fixed; a nuisance hyperparameter among them is no longer tuned.

    Raises UserError for a scientific one, without which there is no question, and for values that are not allowed.
    """
    for name in values:
        if name in study.scientific:
            raise UserError(
                f"--set cannot fix {name}: it is what this study compares. Change it in a copy of the study file."
            )
        if name == "seed":
            raise UserError("--set cannot fix seed; give it by --seed.")
    make_config({**study.fixed, **study.baseline, **values})
    # its other domain in the preview would be one of a hyperparameter that is not searched
    domains = {name for name, value in study.preview.items() if isinstance(value, Domain)}
    return replace(
        study,
        nuisance={name: domain for name, domain in study.nuisance.items() if name not in values},
        fixed={**study.fixed, **values},
        baseline={name: value for name, value in study.baseline.items() if name not in values},
        preview={name: value for name, value in study.preview.items() if name not in domains & values.keys()},
    )
