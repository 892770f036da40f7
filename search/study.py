"""The words in which a study is written. Studies import these and nothing else.

A study asks a question. Its *scientific* knobs are what is asked; its *nuisance* knobs are tuned, so that the
comparison is fair; its *fixed* knobs are the same in every trial. Without scientific knobs it looks for the best.
"""

import importlib.util
import itertools
import math
import sys
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Any

from maskcls.config import KNOBS, canonical, canonical_or_same, make_config
from maskcls.errors import UserError, nearest, one_line
from search.plain import named, plain, plain_values

NEVER_SEARCHED = (
    *("task", "seed", "split_seed", "valid_share", "judge_round", "people"),
    *("epochs", "evaluations_per_epoch", "keep"),
)
"""Trials that differ in these cannot be compared."""

PROBED = (0.5, 0.137, 0.871)
"""Where in a range, beside its ends, values are tried out when a study is written; none of them is a round number."""

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
    def space(self) -> dict[str, Knob]:
        """Every knob that differs between trials."""
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
        found[role] = {name: _plain_knob(name, knob) for name, knob in named(role, getattr(study, role)).items()}
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


def _plain_knob(name: str, knob: Any) -> Any:
    """A knob of plain values; a value of ``preview`` as itself."""
    match knob:
        case Float(low, high, log):
            return Float(float(_end(name, knob, low)), float(_end(name, knob, high)), _flag(name, log))
        case Int(low, high, log):
            ends = (_end(name, knob, low), _end(name, knob, high))
            if not all(math.isfinite(end) and end == round(end) for end in ends):
                raise UserError(f"{name}: the ends of an Int are whole numbers, not {knob}.")
            return Int(int(ends[0]), int(ends[1]), _flag(name, log))
        case Choice(options) | Subset(options):
            return type(knob)(*(plain(name, option) for option in options))
        case _:
            return plain(name, knob)


def _end(name: str, knob: Float | Int, value: Any) -> float:
    found = plain(name, value)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise UserError(f"{name}: a range goes from one number to another, not {knob}.")
    return found


def _flag(name: str, value: Any) -> bool:
    found = plain(name, value)
    if not isinstance(found, bool):
        raise UserError(f"{name}: log is True or False, not {value!r}.")
    return found


def _check(study: Study) -> None:
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
        if not contains(name, knob, study.baseline[name]):
            raise UserError(f"The baseline's {name}, {study.baseline[name]!r}, is outside of {knob}.")
    make_config({**study.fixed, **study.baseline})
    _check_together(study)
    if study.preview:
        preview_of(study)


def _check_together(study: Study) -> None:
    """Any two knobs at any of their probed values: the rules of TrainConfig are about one knob or two."""
    tried = {name: probed(knob) for name, knob in study.space.items()}
    for names in (*((name,) for name in tried), *itertools.combinations(tried, 2)):
        for values in itertools.product(*(tried[name] for name in names)):
            make_config({**study.fixed, **study.baseline, **dict(zip(names, values, strict=True))})


def preview_of(study: Study) -> Study:
    """The study as it runs without data: what ``preview`` names takes the place of the real thing.

    A searched knob takes another knob there, and the baseline its first option where it no longer lies within.
    """
    knobs = {name: value for name, value in study.preview.items() if isinstance(value, Knob)}
    unknown = knobs.keys() - study.space.keys()
    if unknown or study.preview.keys() - knobs.keys() & study.space.keys():
        raise UserError("preview gives other knobs for searched knobs and other values for fixed ones.")
    baseline = {
        name: value if contains(name, knobs.get(name, study.space[name]), value) else _first(knobs[name])
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
            _check_range(name, knob)
        case Choice(options):
            if not all(isinstance(option, str | int | float | bool | tuple | list) for option in options):
                raise UserError(f"{name}: options are numbers, words or tuples of them, not {options!r}.")
            if len(options) < 2 or len({encode(option) for option in options}) < len(options):
                raise UserError(f"{name}: a Choice has at least two different options, not {options!r}.")
            _check_options(name, options)
        case Subset(names):
            if not names or len(set(names)) < len(names):
                raise UserError(f"{name}: a Subset names at least one member, all different, not {names!r}.")
            canonical(name, names)
        case _:
            raise UserError(f"{name} must be a Float, Int, Choice or Subset, not {knob!r}.")


def _check_range(name: str, knob: Float | Int) -> None:
    """Every value of the range is one that the knob can have, by its ends and some in between."""
    low, high, *between = probed(knob)
    canonical(name, low)
    canonical(name, high)
    for value in between:
        try:
            canonical(name, value)
        except UserError as error:
            if canonical_or_same(name, round(value)) == round(value):
                hint = f"{name} takes whole numbers only; write Int({low:g}, {high:g}), not {knob}."
                raise UserError(hint) from None
            raise UserError(f"{name} cannot have all values of {knob}: {error}") from None


def _check_options(name: str, options: tuple[Any, ...]) -> None:
    """No level stands there twice in two spellings: half of the trials would ask whether 16 is better than 16."""
    seen: dict[Any, Any] = {}
    for option in options:
        value = canonical(name, option)
        if value in seen:
            raise UserError(f"{name}: a Choice has different options, and {seen[value]!r} is the same as {option!r}.")
        seen[value] = option


def probed(knob: Knob) -> list[Any]:
    """Values to try out: every option, none and all of a Subset, of a range its ends and some in between."""
    match knob:
        case Float(low, high, log) | Int(low, high, log):
            ends = (math.log(low), math.log(high)) if log else (low, high)
            between = [ends[0] + share * (ends[1] - ends[0]) for share in PROBED]
            drawn = [math.exp(value) if log else value for value in between]
            return [low, high, *(map(round, drawn) if isinstance(knob, Int) else drawn)]
        case Choice(options):
            return list(options)
        case Subset(names):
            return [(), names]


def contains(name: str, knob: Knob, value: Any) -> bool:
    """Whether the knob of this name can take this value, however that is written."""
    found = canonical_or_same(name, value)
    match knob:
        case Float(low, high) | Int(low, high):
            is_number = isinstance(found, int | float) and math.isfinite(found)
            return is_number and low <= found <= high and (isinstance(knob, Float) or found == round(found))
        case Choice(options):
            return any(found == canonical_or_same(name, option) for option in options)
        case Subset(names):
            return isinstance(found, list | tuple) and set(found) <= set(names)


def encode(option: Any) -> str | int | float | bool:
    """An option as the databases and dashboards want it: numbers, booleans and words as they are, else as text."""
    if isinstance(option, list | tuple):
        return "+".join(str(item) for item in option) or "none"
    assert isinstance(option, str | int | float | bool), option
    return option


def describe_option(name: str, option: Any) -> str:
    """The option in its one form: ``32`` of an image size that is written as (32, 32)."""
    return str(encode(canonical_or_same(name, option)))


def describe_knob(name: str, knob: Knob) -> str:
    """``1e-05 to 0.003 (log)``, ``0.0 | 0.7``, ``any of gaussian, cutmix``."""
    match knob:
        case Float(low, high, log) | Int(low, high, log):
            return f"{low:g} to {high:g}{' (log)' if log else ''}"
        case Choice(options):
            return " | ".join(describe_option(name, option) for option in options)
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
    if name.endswith(".py"):
        _check_file(path)
    elif not path.is_file() or name.startswith("_"):
        known = known_studies()
        raise UserError(f"No study named {name!r} in studies/.{nearest(name, known)} There are: {', '.join(known)}.")
    spec = importlib.util.spec_from_file_location(f"study_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass in the file looks for the names of its types
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None
    except SystemExit as error:
        raise UserError(
            f"The study file {path} ends the command (sys.exit, status {error.code}); take that out."
        ) from None
    except Exception as error:  # whatever a file of the user's own may raise
        raise UserError(
            f"The study file {path} cannot be loaded: {type(error).__name__}: {one_line(error)}."
        ) from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise UserError(f"The study file {path} must define STUDY = Study(...).")
    return study


def _check_file(path: Path) -> None:
    """Raise UserError when there is no such file, and say what is there instead."""
    if path.is_symlink() and not path.exists():
        raise UserError(f"The study file {path} is a link to {path.readlink()}, which is not there.")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no study file but a folder; give the file's path.")
    if not path.exists():
        raise UserError(f"There is no study file {path}.")


def known_studies() -> list[str]:
    """The names of the studies that come with the project."""
    return sorted(path.stem for path in STUDIES.glob("*.py") if not path.stem.startswith("_"))
