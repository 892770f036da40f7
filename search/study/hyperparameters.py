"""The hyperparameters of a study: the values that each may take, and how these are written down and shown."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

from maskcls.config import canonical, canonical_or_same, check_name
from maskcls.system.errors import UserError
from search.study.values import plain

PROBED = (0.5, 0.137, 0.871)
"""Where in a range, beside its ends, values are tried out when a study is written; none of them is a round number."""

NUM_BINS = 4
"""Levels that a scientific range is divided into, where it holds as many values."""


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


Domain = Float | Int | Choice | Subset
"""The values that a searched hyperparameter may take."""


def plain_domain(name: str, domain: Any) -> Any:
    """A domain of plain values; a value of ``preview`` as itself."""
    match domain:
        case Float(low, high, log):
            return Float(float(_end(name, domain, low)), float(_end(name, domain, high)), _flag(name, log))
        case Int(low, high, log):
            ends = (_end(name, domain, low), _end(name, domain, high))
            if not all(math.isfinite(end) and end == round(end) for end in ends):
                raise UserError(f"{name}: the ends of an Int are whole numbers, not {domain}.")
            return Int(int(ends[0]), int(ends[1]), _flag(name, log))
        case Choice(options) | Subset(options):
            return type(domain)(*(plain(name, option) for option in options))
        case _:
            return plain(name, domain)


def _end(name: str, domain: Float | Int, value: Any) -> float:
    found = plain(name, value)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise UserError(f"{name}: a range goes from one number to another, not {domain}.")
    return found


def _flag(name: str, value: Any) -> bool:
    found = plain(name, value)
    if not isinstance(found, bool):
        raise UserError(f"{name}: log is True or False, not {value!r}.")
    return found


def check_domain(name: str, domain: Domain) -> None:
    """Raise UserError for a hyperparameter that TrainConfig has not, or a domain that holds what it cannot have."""
    check_name(name)
    match domain:
        case Float(low, high, log) | Int(low, high, log):
            if not low < high or (log and low <= 0):
                raise UserError(f"{name}: a range goes from a lower to a higher value (above 0 if log), not {domain}.")
            _check_range(name, domain)
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
            raise UserError(f"{name} must be a Float, Int, Choice or Subset, not {domain!r}.")


def _check_range(name: str, domain: Float | Int) -> None:
    """Every value of the range is one that the hyperparameter can have, by its ends and some in between."""
    low, high, *between = probed(domain)
    canonical(name, low)
    canonical(name, high)
    for value in between:
        try:
            canonical(name, value)
        except UserError as error:
            if canonical_or_same(name, round(value)) == round(value):
                hint = f"{name} takes whole numbers only; write Int({low:g}, {high:g}), not {domain}."
                raise UserError(hint) from None
            raise UserError(f"{name} cannot have all values of {domain}: {error}") from None


def _check_options(name: str, options: tuple[Any, ...]) -> None:
    """No level stands there twice in two spellings: half of the trials would ask whether 16 is better than 16."""
    seen: dict[Any, Any] = {}
    for option in options:
        value = canonical(name, option)
        if value in seen:
            raise UserError(f"{name}: a Choice has different options, and {seen[value]!r} is the same as {option!r}.")
        seen[value] = option


def probed(domain: Domain) -> list[Any]:
    """Values to try out: every option, none and all of a Subset, of a range its ends and some in between."""
    match domain:
        case Float(low, high, log) | Int(low, high, log):
            ends = (math.log(low), math.log(high)) if log else (low, high)
            between = [ends[0] + share * (ends[1] - ends[0]) for share in PROBED]
            drawn = [math.exp(value) if log else value for value in between]
            whole = [low + 1, high - 1, *map(round, drawn)]
            return [low, high, *(whole if isinstance(domain, Int) else drawn)]
        case Choice(options):
            return list(options)
        case Subset(names):
            return [(), names]


def contains(name: str, domain: Domain, value: Any) -> bool:
    """Whether the domain of the hyperparameter ``name`` holds this value, however that is written."""
    found = canonical_or_same(name, value)
    match domain:
        case Float(low, high) | Int(low, high):
            is_number = isinstance(found, int | float) and math.isfinite(found)
            return is_number and low <= found <= high and (isinstance(domain, Float) or found == round(found))
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


def describe_domain(name: str, domain: Domain) -> str:
    """``1e-05 to 0.003 (log)``, ``0.0 | 0.7``, ``any of gaussian, cutmix``."""
    match domain:
        case Float(low, high, log):
            return f"{low:g} to {high:g}{' (log)' if log else ''}"
        case Int(low, high, log):
            return f"{low} to {high}{' (log)' if log else ''}"
        case Choice(options):
            return " | ".join(describe_option(name, option) for option in options)
        case Subset(names):
            return f"any of {', '.join(names)}"


def bins(domain: Float | Int) -> list[tuple[float, float]]:
    """The (low, high) of each level of a scientific range, both included; equally wide on the range's own scale."""
    low, high = (math.log(domain.low), math.log(domain.high)) if domain.log else (domain.low, domain.high)
    edges = [low + (high - low) * index / NUM_BINS for index in range(NUM_BINS + 1)]
    if domain.log:
        edges = [math.exp(edge) for edge in edges]
    edges[0], edges[-1] = domain.low, domain.high  # not to lose them to rounding
    if isinstance(domain, Float):
        return list(itertools.pairwise(edges))
    starts = sorted({domain.low, *(math.ceil(edge) for edge in edges[1:-1])})
    return list(zip(starts, [*(start - 1 for start in starts[1:]), domain.high], strict=True))


def domain_to_json(domain: Domain) -> dict[str, Any]:
    """For the stored study."""
    match domain:
        case Float(low, high, log) | Int(low, high, log):
            return {"kind": type(domain).__name__, "low": low, "high": high, "log": log}
        case Choice(options) | Subset(options):
            return {"kind": type(domain).__name__, "options": list(options)}


def domain_from_json(values: dict[str, Any]) -> Domain:
    """The inverse of domain_to_json."""
    match values["kind"]:
        case "Float":
            return Float(values["low"], values["high"], values["log"])
        case "Int":
            return Int(values["low"], values["high"], values["log"])
        case "Choice":
            return Choice(*(tuple(option) if isinstance(option, list) else option for option in values["options"]))
        case _:
            return Subset(*values["options"])
