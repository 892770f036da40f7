"""The words in which a study is written. Studies import these and nothing else.

A study asks a question. Its *scientific* knobs are what is asked; its *nuisance* knobs are tuned, so that the
comparison is fair; its *fixed* knobs are the same in every trial. Without scientific knobs it looks for the best.
"""

import importlib.util
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from maskcls.config import KNOBS, make_config
from maskcls.errors import UserError, nearest, one_line

NEVER_SEARCHED = (
    *("task", "seed", "split_seed", "valid_share", "judge_round", "people"),
    *("epochs", "evaluations_per_epoch", "keep"),
)
"""Trials that differ in these cannot be compared."""

MOST_COMBINATIONS = 1024
"""Of Choices that are tried out together when a study is written: one that cannot be would fail in its trials."""

STRETCHES = 4
"""Levels that a scientific range is divided into."""

STUDIES = Path(__file__).parents[1] / "studies"


@dataclass(frozen=True)
class Float:
    """Any number from low to high; ``log``: drawn on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Int:
    """Any whole number from low to high, both included."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True, init=False)
class Choice:
    """One of the options."""

    options: tuple[Any, ...]

    def __init__(self, *options: Any) -> None:
        object.__setattr__(self, "options", options)


@dataclass(frozen=True, init=False)
class Subset:
    """Any subset of the names: each is on or off by itself."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


Knob = Float | Int | Choice | Subset


@dataclass(frozen=True, init=False)
class Sampler:
    """What proposes the tuned knobs: ``Sampler("tpe", n_ei_candidates=48)``; Optuna's, with Optuna's arguments."""

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
    nuisance: Mapping[str, Knob]
    """Knobs that are tuned."""
    fixed: Mapping[str, Any]
    """Values of knobs that are the same in every trial; knobs named nowhere keep TrainConfig's defaults."""
    baseline: Mapping[str, Any]
    """A value for every scientific and nuisance knob: trial 0, a sound recipe."""
    scientific: Mapping[str, Knob] = field(default_factory=dict)
    """Knobs whose levels are compared; they share the trials about equally."""
    preview: Mapping[str, Any] = field(default_factory=dict)
    """Other fixed values, or other Choices of a searched knob, when there is no data and the photos are synthetic."""
    synthetic: bool = False
    """Whether the study is about the synthetic photos; then it needs no data and has no preview."""
    sampler: Sampler = Sampler("auto")
    pruner: Pruner = Pruner("rungs")

    def __post_init__(self) -> None:
        _check(self)

    @property
    def space(self) -> dict[str, Knob]:
        """Every knob that differs between trials."""
        return {**self.scientific, **self.nuisance}


def _check(study: Study) -> None:
    for word, kind in (("sampler", Sampler), ("pruner", Pruner)):
        if not isinstance(getattr(study, word), kind):
            raise UserError(f'{word} is {kind.__name__}("name", ...), not {getattr(study, word)!r}.')
    for name, knob in study.space.items():
        _check_knob(name, knob)
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
    for name, knob in study.space.items():
        if not contains(knob, study.baseline[name]):
            raise UserError(f"The baseline's {name}, {study.baseline[name]!r}, is outside of {knob}.")
    make_config({**study.fixed, **study.baseline})
    choices = {name: knob.options for name, knob in study.space.items() if isinstance(knob, Choice)}
    for options in itertools.islice(itertools.product(*choices.values()), MOST_COMBINATIONS):
        make_config({**study.fixed, **study.baseline, **dict(zip(choices, options, strict=True))})
    if study.preview:
        preview_of(study)


def preview_of(study: Study) -> Study:
    """The study as it runs without data: what ``preview`` names takes the place of the real thing.

    A searched knob takes another knob there, and the baseline its first option where it no longer lies within.
    """
    knobs = {name: value for name, value in study.preview.items() if isinstance(value, Knob)}
    unknown = knobs.keys() - study.space.keys()
    if unknown or study.preview.keys() - knobs.keys() & study.space.keys():
        raise UserError("preview gives other knobs for searched knobs and other values for fixed ones.")
    baseline = {
        name: value if contains(knobs.get(name, study.space[name]), value) else _first(knobs[name])
        for name, value in study.baseline.items()
    }
    return replace(
        study,
        scientific={name: knobs.get(name, knob) for name, knob in study.scientific.items()},
        nuisance={name: knobs.get(name, knob) for name, knob in study.nuisance.items()},
        fixed={**study.fixed, **{name: value for name, value in study.preview.items() if name not in knobs}},
        baseline=baseline,
        preview={},
        synthetic=True,
    )


def _first(knob: Knob) -> Any:
    if not isinstance(knob, Choice):
        raise UserError("preview gives a searched knob another Choice, or a range that holds the baseline.")
    return knob.options[0]


def pin(study: Study, values: Mapping[str, Any]) -> Study:
    """The study with fixed knobs set to ``values``; a nuisance knob among them is no longer tuned.

    Raises UserError for a scientific knob: without it there is no question.
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
        nuisance={name: knob for name, knob in study.nuisance.items() if name not in values},
        fixed={**study.fixed, **values},
        baseline={name: value for name, value in study.baseline.items() if name not in values},
    )


def _check_knob(name: str, knob: Knob) -> None:
    if name not in KNOBS:
        raise UserError(f"No knob named {name!r}.{nearest(name, KNOBS)} There are: {', '.join(KNOBS)}.")
    match knob:
        case Float(low, high, log) | Int(low, high, log):
            if not low < high or (log and low <= 0):
                raise UserError(f"{name}: a range goes from a lower to a higher value (above 0 if log), not {knob}.")
            members: tuple[Any, ...] = (low, high)
        case Choice(options):
            if not all(isinstance(option, str | int | float | bool | tuple | list) for option in options):
                raise UserError(f"{name}: options are numbers, words or tuples of them, not {options!r}.")
            if len(options) < 2 or len({encode(option) for option in options}) < len(options):
                raise UserError(f"{name}: a Choice has at least two different options, not {options!r}.")
            members = options
        case Subset(names):
            members = (names,)
            if not names or len(set(names)) < len(names):
                raise UserError(f"{name}: a Subset names at least one member, all different, not {names!r}.")
        case _:
            raise UserError(f"{name} must be a Float, Int, Choice or Subset, not {knob!r}.")
    for member in members:
        make_config({name: member})


def contains(knob: Knob, value: Any) -> bool:
    """Whether the knob can take this value."""
    match knob:
        case Float(low, high) | Int(low, high):
            return isinstance(value, int | float) and low <= value <= high
        case Choice(options):
            return encode(value) in {encode(option) for option in options}
        case Subset(names):
            return set(value) <= set(names)


def encode(option: Any) -> str | int | float | bool:
    """An option as the databases and dashboards want it: numbers, booleans and words as they are, else as text."""
    if isinstance(option, list | tuple):
        return "+".join(str(item) for item in option) or "none"
    assert isinstance(option, str | int | float | bool), option
    return option


def describe_knob(knob: Knob) -> str:
    """``1e-05 to 0.003 (log)``, ``0.0 | 0.7``, ``any of gaussian, cutmix``."""
    match knob:
        case Float(low, high, log) | Int(low, high, log):
            return f"{low:g} to {high:g}{' (log)' if log else ''}"
        case Choice(options):
            return " | ".join(str(encode(option)) for option in options)
        case Subset(names):
            return f"any of {', '.join(names)}"


def stretches(knob: Float | Int) -> list[tuple[float, float]]:
    """The (low, high) of each level of a scientific range, equally long (on its own scale)."""
    low, high = (math.log(knob.low), math.log(knob.high)) if knob.log else (knob.low, knob.high)
    edges = [low + (high - low) * index / STRETCHES for index in range(STRETCHES + 1)]
    if knob.log:
        edges = [math.exp(edge) for edge in edges]
    edges[0], edges[-1] = knob.low, knob.high  # not to lose them to rounding
    if isinstance(knob, Float):
        return list(itertools.pairwise(edges))
    starts = sorted({knob.low, *(math.ceil(edge) for edge in edges[1:-1])})
    return list(zip(starts, [*(start - 1 for start in starts[1:]), knob.high], strict=True))


def knob_to_json(knob: Knob) -> dict[str, Any]:
    """For the stored study."""
    match knob:
        case Float(low, high, log) | Int(low, high, log):
            return {"kind": type(knob).__name__, "low": low, "high": high, "log": log}
        case Choice(options) | Subset(options):
            return {"kind": type(knob).__name__, "options": list(options)}


def knob_from_json(values: dict[str, Any]) -> Knob:
    """The inverse of knob_to_json."""
    match values["kind"]:
        case "Float":
            return Float(values["low"], values["high"], values["log"])
        case "Int":
            return Int(values["low"], values["high"], values["log"])
        case "Choice":
            return Choice(*(tuple(option) if isinstance(option, list) else option for option in values["options"]))
        case _:
            return Subset(*values["options"])


def load_study(name: str) -> Study:
    """STUDY of ``studies/<name>.py``, or of the file that ``name`` is the path of."""
    path = Path(name) if name.endswith(".py") else STUDIES / f"{name}.py"
    if not path.is_file() or path.stem.startswith("_"):
        if name.endswith(".py"):
            raise UserError(f"There is no study file {name}.")
        known = known_studies()
        raise UserError(f"No study named {name!r} in studies/.{nearest(name, known)} There are: {', '.join(known)}.")
    spec = importlib.util.spec_from_file_location(f"study_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
    except Exception as error:  # whatever a file of the user's own may raise
        raise UserError(
            f"The study file {path} cannot be loaded: {type(error).__name__}: {one_line(error)}."
        ) from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise UserError(f"The study file {path} must define STUDY = Study(...).")
    return study


def known_studies() -> list[str]:
    """The names of the studies that come with the project."""
    return sorted(path.stem for path in STUDIES.glob("*.py") if not path.stem.startswith("_"))
