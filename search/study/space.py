"""A study's hyperparameters as Optuna's parameters and back, and the levels of the scientific ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from maskcls.config import canonical_or_same
from search.database.optuna_internals import contains
from search.study.domains import Choice, Domain, Float, Int, Subset, bins, describe_option, encode


def distributions(space: Mapping[str, Domain]) -> dict[str, BaseDistribution]:
    """Parameter -> its distribution. A Subset has an on/off parameter for each member, ``augment.cutmix``."""
    distribution_of: dict[str, BaseDistribution] = {}
    for name, domain in space.items():
        match domain:
            case Float(low, high, log):
                distribution_of[name] = FloatDistribution(low, high, log=log)
            case Int(low, high, log):
                distribution_of[name] = IntDistribution(low, high, log=log)
            case Choice(options):
                distribution_of[name] = CategoricalDistribution([encode(option) for option in options])
            case Subset(names):
                distribution_of |= {f"{name}.{member}": CategoricalDistribution([False, True]) for member in names}
    return distribution_of


def values_of(space: Mapping[str, Domain], params: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters' values, in canonical form, that a trial's parameters stand for."""
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
    """The inverse of values_of; takes values in any spelling."""
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
    """Whether the distribution contains the value."""
    try:
        return contains(distribution, value)
    except ValueError:
        return False


def is_wider_range(old: Domain, new: Domain) -> bool:
    """Whether both are ranges of one type and scale, and the new one contains the old one."""
    if not isinstance(old, Float | Int) or type(old) is not type(new):
        return False
    assert isinstance(new, Float | Int)
    return new.log == old.log and new.low <= old.low and new.high >= old.high


def is_wider_domain(name: str, old: Domain, new: Domain) -> bool:
    """Whether the new domain of the hyperparameter ``name`` contains every value of the old one."""
    if isinstance(old, Choice) and isinstance(new, Choice):
        return _options(name, old) <= _options(name, new)
    if isinstance(old, Subset) and isinstance(new, Subset):
        return set(old.names) <= set(new.names)
    return is_wider_range(old, new)


def is_same_domain(name: str, old: Domain, new: Domain) -> bool:
    """Whether both domains contain the same values, in whatever spelling and order."""
    return is_wider_domain(name, old, new) and is_wider_domain(name, new, old)


def _options(name: str, domain: Choice) -> set[Any]:
    options = (canonical_or_same(name, option) for option in domain.options)
    return {tuple(option) if isinstance(option, list) else option for option in options}


@dataclass(frozen=True)
class Factor:
    """A parameter whose levels the study compares."""

    param: str
    levels: tuple[Any, ...]
    """Options of a categorical parameter, or the (low, high) of each bin of a range."""
    is_range: bool
    shown: tuple[str, ...] = ()
    """The options in canonical form, for users; empty for a range."""

    def level(self, params: Mapping[str, Any]) -> int:
        """Index of the level that a trial with these parameters is at."""
        value = params[self.param]
        if not self.is_range:
            return self.levels.index(value)
        return next((index for index, (_, high) in enumerate(self.levels) if value <= high), len(self.levels) - 1)

    def describe(self, index: int) -> str:
        """The level as text: ``drop_rate = 0.7``, or ``drop_rate from 0 to 0.25``."""
        level = self.levels[index]
        if self.is_range:
            return f"{self.param} from {level[0]:.3g} to {level[1]:.3g}"
        return f"{self.param} = {self.shown[index]}"


def factors(scientific: Mapping[str, Domain]) -> list[Factor]:
    """The factors of a study: one for a Choice or a range, one for each member of a Subset (on or off)."""
    compared = []
    for name, domain in scientific.items():
        match domain:
            case Choice(options):
                levels = tuple(encode(option) for option in options)
                shown = tuple(describe_option(name, option) for option in options)
                compared.append(Factor(name, levels, is_range=False, shown=shown))
            case Subset(names):
                levels, shown = (False, True), ("False", "True")
                compared += [Factor(f"{name}.{member}", levels, is_range=False, shown=shown) for member in names]
            case Float() | Int():
                compared.append(Factor(name, tuple(bins(domain)), is_range=True))
    return compared
