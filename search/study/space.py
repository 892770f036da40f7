"""A study's hyperparameters as Optuna's parameters, and back; the levels of the scientific ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from maskcls.config import canonical_or_same
from search.database.optuna_internals import contains
from search.study.study import Choice, Domain, Float, Int, Subset, bins, describe_option, encode


def distributions(space: Mapping[str, Domain]) -> dict[str, BaseDistribution]:
    """Parameter -> its distribution. A Subset is one on/off parameter a member, ``augment.cutmix``."""
    found: dict[str, BaseDistribution] = {}
    for name, domain in space.items():
        match domain:
            case Float(low, high, log):
                found[name] = FloatDistribution(low, high, log=log)
            case Int(low, high, log):
                found[name] = IntDistribution(low, high, log=log)
            case Choice(options):
                found[name] = CategoricalDistribution([encode(option) for option in options])
            case Subset(names):
                found |= {f"{name}.{member}": CategoricalDistribution([False, True]) for member in names}
    return found


def values_of(space: Mapping[str, Domain], params: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's parameters -> values of the hyperparameters in their one form, however the study's file writes them."""
    values: dict[str, Any] = {}
    for name, domain in space.items():
        match domain:
            case Choice(options):
                option = {encode(option): option for option in options}[params[name]]
                values[name] = canonical_or_same(name, option)
            case Subset(names):
                values[name] = tuple(member for member in names if params[f"{name}.{member}"])
            case _:
                values[name] = params[name]
    return values


def params_of(space: Mapping[str, Domain], values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of values_of; a value may be written in any way."""
    params: dict[str, Any] = {}
    for name, domain in space.items():
        value = canonical_or_same(name, values[name])
        match domain:
            case Choice(options):
                same = (option for option in options if canonical_or_same(name, option) == value)
                params[name] = encode(next(same, value))
            case Subset(names):
                params |= {f"{name}.{member}": member in value for member in names}
            case _:
                params[name] = value
    return params


def is_within(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a parameter of this distribution can have the value."""
    try:
        return contains(distribution, value)
    except ValueError:
        return False


def is_wider_range(there: Domain, here: Domain) -> bool:
    """Whether both are ranges of one kind and the first lies within the second."""
    if not isinstance(there, Float | Int) or type(there) is not type(here):
        return False
    assert isinstance(here, Float | Int)
    return here.log == there.log and here.low <= there.low and here.high >= there.high


def is_larger(name: str, there: Domain, here: Domain) -> bool:
    """Whether all that the one takes the other takes too."""
    if isinstance(there, Choice) and isinstance(here, Choice):
        return _options(name, there) <= _options(name, here)
    if isinstance(there, Subset) and isinstance(here, Subset):
        return set(there.names) <= set(here.names)
    return is_wider_range(there, here)


def is_same(name: str, there: Domain, here: Domain) -> bool:
    """Whether both take the same values, however they are written and in whatever order."""
    return is_larger(name, there, here) and is_larger(name, here, there)


def _options(name: str, domain: Choice) -> set[Any]:
    return {_hashable(canonical_or_same(name, option)) for option in domain.options}


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Factor:
    """One parameter whose levels the study compares."""

    param: str
    levels: tuple[Any, ...]
    """Options of a categorical parameter, or the (low, high) of each bin of a range."""
    is_range: bool
    shown: tuple[str, ...] = ()
    """The options in their one form; of a range nothing."""

    def level(self, params: Mapping[str, Any]) -> int:
        """Which level a trial's parameters are at."""
        value = params[self.param]
        if not self.is_range:
            return self.levels.index(value)
        inside = [index for index, (_, high) in enumerate(self.levels) if value <= high]
        return inside[0] if inside else len(self.levels) - 1

    def describe(self, index: int) -> str:
        """``drop_rate = 0.7``, or ``drop_rate from 0 to 0.25``."""
        level = self.levels[index]
        if self.is_range:
            return f"{self.param} from {level[0]:.3g} to {level[1]:.3g}"
        return f"{self.param} = {self.shown[index]}"


def factors(scientific: Mapping[str, Domain]) -> list[Factor]:
    """The factors of a study: a Choice or a range is one, a Subset one a member (on or off)."""
    found = []
    for name, domain in scientific.items():
        match domain:
            case Choice(options):
                levels = tuple(encode(option) for option in options)
                shown = tuple(describe_option(name, option) for option in options)
                found.append(Factor(name, levels, is_range=False, shown=shown))
            case Subset(names):
                shown = (str(False), str(True))
                found += [Factor(f"{name}.{member}", (False, True), is_range=False, shown=shown) for member in names]
            case Float() | Int():
                found.append(Factor(name, tuple(bins(domain)), is_range=True))
    return found
