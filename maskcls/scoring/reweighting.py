"""A prior over the factors that a group has (--prior), and the weights that give the validation groups these shares.

``male=0.6,old=0.25`` in the mask task: 60 % men, a quarter 60 and over. What is not named keeps its proportions: the
other ages share the remaining 75 % as they do in the sample, and a factor that is not named at all keeps its shares.

Shape suffixes: N photos, P people (groups), K classes of a factor.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maskcls.labels import ALL, Factor, LabelSpace
from maskcls.scoring.counts import Floats
from maskcls.system.errors import UserError, listed, nearest
from maskcls.tasks.task import Task

ROUNDS, TOLERANCE = 10_000, 1e-10
"""Limits of the raking, which converges in a few dozen rounds unless the shares cannot be reached."""


@dataclass(frozen=True)
class Prior:
    """The shares that classes of a task's groups should have."""

    task: Task
    shares: Mapping[str, float]
    """Name in ``prior_names`` -> share."""

    @property
    def text(self) -> str:
        """``male = 0.6, old = 0.25``, in the label's order."""
        return ", ".join(f"{name} = {self.shares[name]:g}" for name in prior_names(self.task) if name in self.shares)

    def of(self, factor: Factor) -> dict[int, float]:
        """The shares of a factor's classes: class -> share."""
        names = prior_names(self.task)
        return {names[name][1]: share for name, share in self.shares.items() if names[name][0] == factor.name}


def group_factors(task: Task) -> tuple[Factor, ...]:
    """The factors that are the same for all photos of a group; none where photos have no groups."""
    return tuple(factor for factor in task.space.factors if factor.of_group) if task.has_groups else ()


def prior_names(task: Task) -> dict[str, tuple[str, int]]:
    """Name of a class in --prior -> its factor and its number there, in the label's order.

    Where two factors have a class of one name, these classes are ``FACTOR:NAME``.
    """
    factors = group_factors(task)
    times = Counter(name for factor in factors for name in factor.typed_names)
    return {
        name if times[name] == 1 else f"{factor.name}:{name}": (factor.name, number)
        for factor in factors
        for number, name in enumerate(factor.typed_names)
    }


def parse_prior(text: str, task: Task) -> Prior:
    """``male=0.6,old=0.25`` -> the shares. Raises UserError for what is no prior of this task."""
    if not group_factors(task):
        raise UserError(
            "--prior needs a factor of the label that is the same for all photos of a"
            f" {task.unit.one if task.has_groups else 'group'}, which this task does not have. Leave it out."
        )
    names = prior_names(task)
    shares: dict[str, float] = {}
    for item in text.split(","):
        typed, equals, value = (word.strip() for word in item.partition("="))
        if not equals:
            raise UserError(f"--prior takes NAME=SHARE, separated by commas, not {item.strip()!r}. {_example(task)}")
        name = _known(typed, task)
        if name in shares:
            raise UserError(f"--prior names {name} twice; give it once.")
        shares[name] = _parse_share(name, value, task)
    for factor in group_factors(task):
        _check_factor(factor, {name: share for name, share in shares.items() if names[name][0] == factor.name})
    return Prior(task, shares)


def _known(typed: str, task: Task) -> str:
    """The name in ``prior_names`` that was typed, with or without its factor. Raises UserError for any other."""
    names = prior_names(task)
    if typed in names:
        return typed
    qualified = {f"{factor}:{name.removeprefix(f'{factor}:')}": name for name, (factor, _) in names.items()}
    if typed in qualified:
        return qualified[typed]
    same = [name for name, (factor, _) in names.items() if name == f"{factor}:{typed}"]
    if same:
        raise UserError(f"--prior {typed} may be {' or '.join(same)}; write one of them.")
    raise UserError(f"--prior has no group {typed!r}.{nearest(typed, names)} There are: {', '.join(names)}.")


def _example(task: Task) -> str:
    """``Example: --prior male=0.6,old=0.25.``"""
    names, factors = list(prior_names(task)), group_factors(task)
    second = f",{names[-1]}=0.25" if len(factors) > 1 else ""
    return f"Example: --prior {names[0]}=0.6{second}."


def _parse_share(name: str, text: str, task: Task) -> float:
    """The share, a number between 0 and 1, both excluded. Raises UserError for anything else."""
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 < share < 1:
        raise UserError(f"A share of --prior must be between 0 and 1; {name} is {text!r}. {_example(task)}")
    return share


def _check_factor(factor: Factor, shares: Mapping[str, float]) -> None:
    """Raise UserError unless the shares leave room for the classes not named, and sum to 1 when all are named."""
    total = sum(shares.values())
    told = " + ".join(f"{name}={share:g}" for name, share in shares.items())
    if len(shares) == len(factor.classes) and abs(total - 1) > 1e-6:
        raise UserError(f"The shares of {factor.name} must sum to 1; {told} is {total:g}. Leave one out to fill it in.")
    if 0 < len(shares) < len(factor.classes) and total >= 1:
        raise UserError(f"The shares of {factor.name} must leave room for the others; {told} is {total:g}. Lower one.")


def check_predicts_groups(predicted: LabelSpace, task: Task) -> None:
    """Raise UserError for models that do not predict the whole label, so that the groups' classes are not known."""
    if predicted != task.space:
        needed = listed([factor.name for factor in group_factors(task)])
        alone = predicted.factors[0].name
        raise UserError(f"--prior needs {needed} of the {task.unit.many}, which a model of {alone} does not know.")


def groups_of(person_N: np.ndarray, label_N: np.ndarray, task: Task) -> dict[str, np.ndarray]:
    """Class [P] of the groups, sorted by name, in each factor that is the same for all photos of a group."""
    _, first_P = np.unique(np.asarray(person_N, dtype=str), return_index=True)
    label_P = label_N[first_P]
    # a label with one factor is that factor's class
    parts = {factor.name: factor.name if task.space.parts else ALL for factor in group_factors(task)}
    return {name: np.asarray(task.space.part_of(label_P, part)) for name, part in parts.items()}


def targets(prior: Prior, factor: Factor, class_P: np.ndarray) -> Floats:
    """The shares [K] of a factor's classes that the weighted groups should have.

    Raises UserError for a share above 0 of a class without groups.
    """
    count = np.bincount(class_P, minlength=len(factor.classes)).astype(np.float64)
    named = prior.of(factor)
    is_named = np.isin(np.arange(len(count)), list(named))
    unnamed_count, unnamed_share = count[~is_named].sum(), 1 - sum(named.values())
    target = count / unnamed_count * unnamed_share if unnamed_count else np.zeros_like(count)
    for index, share in named.items():
        target[index] = share
    if ((target > 0) & (count == 0)).any() or not np.isclose(target.sum(), 1):
        absent = ", ".join(name for name, number in zip(factor.classes, count, strict=True) if not number)
        many = prior.task.unit.many
        raise UserError(f"--prior gives a share to {many} that the validation split does not have: {absent}.")
    return target


def weights_of(prior: Prior, groups: Mapping[str, np.ndarray]) -> Floats:
    """Weight of every group, 1 on average, that gives the classes of every factor their shares.

    ``groups``: as ``groups_of`` makes them. By raking (iterative proportional fitting, Deming and Stephan 1940) over a
    table with an axis for each factor. Raises UserError for shares out of reach.
    """
    factors = group_factors(prior.task)
    targets_F = [targets(prior, factor, groups[factor.name]) for factor in factors]
    cell_of_P = tuple(groups[factor.name] for factor in factors)
    cells = np.zeros([len(factor.classes) for factor in factors])
    np.add.at(cells, cell_of_P, 1 / len(cell_of_P[0]))
    fitted = cells.copy()
    for _ in range(ROUNDS):
        for axis, target in enumerate(targets_F):
            fitted = _scaled(fitted, target, axis)
        # the last factor's shares have just been set
        errors = [np.abs(_sums(fitted, axis) - target).max() for axis, target in enumerate(targets_F[:-1])]
        if max(errors, default=0.0) < TOLERANCE:
            factor_of_cell = np.divide(fitted, cells, out=np.zeros_like(cells), where=cells > 0)
            return np.asarray(factor_of_cell[cell_of_P])
    many = prior.task.unit.many
    raise UserError(f"--prior has shares that no weights of the validation {many} reach; give less extreme ones.")


def _sums(cells: Floats, axis: int) -> Floats:
    """The sums of the cells [K] by their place on ``axis``."""
    return np.asarray(cells.sum(tuple(other for other in range(cells.ndim) if other != axis)))


def _scaled(cells: Floats, target: Floats, axis: int) -> Floats:
    """The cells, scaled so that their sums by place on ``axis`` equal ``target``."""
    total = _sums(cells, axis)
    scale = np.divide(target, total, out=np.zeros_like(total), where=total > 0)
    return cells * scale.reshape([-1 if other == axis else 1 for other in range(cells.ndim)])


def effective_people(weight_P: Floats) -> float:
    """Number of groups of equal weight whose mean would be known as well (Kish 1965)."""
    return float(weight_P.sum() ** 2 / (weight_P**2).sum())
