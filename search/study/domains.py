"""The domains of a study's hyperparameters: how they, and values in them, are checked, stored and shown."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

from maskcls.config import canonical, canonical_or_same, check_name
from maskcls.system.errors import UserError
from search.study.values import plain

PROBE_SHARES = (0.5, 0.137, 0.871)
"""Where in a range, besides its ends, values are checked when a study is written: none gives a round number."""

NUM_BINS = 4
"""Levels that a scientific range is divided into, if it holds that many values."""


@dataclass(frozen=True)
class Float:
    """Any number from low to high; with ``log`` on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Int:
    """Any whole number from low to high, both included; with ``log`` on a logarithmic scale."""

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
    """Any subset of the names: each is on or off independently."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


Domain = Float | Int | Choice | Subset
"""The values that a searched hyperparameter may take."""


def plain_domain(name: str, domain: Any) -> Any:
    """The domain with plain values; any other value, as ``preview`` has them, as a plain value.

    Raises UserError, naming the hyperparameter, for ends or options that are not possible.
    """
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
    end = plain(name, value)
    if isinstance(end, bool) or not isinstance(end, int | float):
        raise UserError(f"{name}: a range goes from one number to another, not {domain}.")
    return end


def _flag(name: str, value: Any) -> bool:
    flag = plain(name, value)
    if not isinstance(flag, bool):
        raise UserError(f"{name}: log is True or False, not {value!r}.")
    return flag


def check_domain(name: str, domain: Domain) -> None:
    """Raise UserError for a hyperparameter that TrainConfig does not have, or a domain that it does not allow."""
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
    """Raise UserError unless TrainConfig allows the range's probe values."""
    low, high, *between = probe_values(domain)
    canonical(name, low)
    canonical(name, high)
    for value in between:
        try:
            canonical(name, value)
        except UserError as error:
            if canonical_or_same(name, round(value)) == round(value):
                text = f"{name} takes whole numbers only; write Int({low:g}, {high:g}), not {domain}."
                raise UserError(text) from None
            raise UserError(f"{name} cannot take every value of {domain}: {error}") from None


def _check_options(name: str, options: tuple[Any, ...]) -> None:
    """Raise UserError for one option in two spellings: the study would ask whether 16 is better than 16."""
    seen: dict[Any, Any] = {}
    for option in options:
        value = canonical(name, option)
        if value in seen:
            raise UserError(f"{name}: a Choice has different options, and {seen[value]!r} is the same as {option!r}.")
        seen[value] = option


def probe_values(domain: Domain) -> list[Any]:
    """Values to check: every option; the empty and the full Subset; the ends of a range, first, and some in between."""
    match domain:
        case Float(low, high, log) | Int(low, high, log):
            ends = (math.log(low), math.log(high)) if log else (low, high)
            between = [ends[0] + share * (ends[1] - ends[0]) for share in PROBE_SHARES]
            drawn = [math.exp(value) if log else value for value in between]
            whole = [low + 1, high - 1, *map(round, drawn)]
            return [low, high, *(whole if isinstance(domain, Int) else drawn)]
        case Choice(options):
            return list(options)
        case Subset(names):
            return [(), names]


def contains(name: str, domain: Domain, value: Any) -> bool:
    """Whether the domain of the hyperparameter ``name`` contains the value, in whatever spelling."""
    value = canonical_or_same(name, value)
    match domain:
        case Float(low, high) | Int(low, high):
            is_number = isinstance(value, int | float) and math.isfinite(value)
            return is_number and low <= value <= high and (isinstance(domain, Float) or value == round(value))
        case Choice(options):
            return any(value == canonical_or_same(name, option) for option in options)
        case Subset(names):
            return isinstance(value, list | tuple) and set(value) <= set(names)


def encode(option: Any) -> str | int | float | bool:
    """The option as Optuna and its dashboard take it: a tuple as text (``flip+cutmix``, ``none``), others unchanged."""
    if isinstance(option, list | tuple):
        return "+".join(str(item) for item in option) or "none"
    assert isinstance(option, str | int | float | bool), option
    return option


def describe_option(name: str, option: Any) -> str:
    """The option in its canonical form: ``32`` for an image size that is written as (32, 32)."""
    return str(encode(canonical_or_same(name, option)))


def describe_domain(name: str, domain: Domain) -> str:
    """The domain as text: ``1e-05 to 0.003 (log)``, ``0.0 | 0.7``, ``any of gaussian, cutmix``."""
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
    edges[0], edges[-1] = domain.low, domain.high  # exact, where exp and log round
    if isinstance(domain, Float):
        return list(itertools.pairwise(edges))
    starts = sorted({domain.low, *(math.ceil(edge) for edge in edges[1:-1])})
    return list(zip(starts, [*(start - 1 for start in starts[1:]), domain.high], strict=True))


def domain_to_json(domain: Domain) -> dict[str, Any]:
    """The domain as plain values, for the stored study."""
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
