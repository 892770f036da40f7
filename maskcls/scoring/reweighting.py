"""A prior over genders and ages (--prior), and the weights that give the validation people these shares.

``male=0.6,old=0.25``: 60 % men, a quarter 60 and over. What is not named keeps its proportions: the other ages share
the remaining 75 % as they do in the sample, and a part that is not named at all keeps its own shares.

Shape suffixes: N photos, P people, G genders, A age bands.
"""

from collections.abc import Mapping

import numpy as np

from maskcls.scoring.counts import Floats
from maskcls.system.errors import UserError, nearest
from maskcls.tasks.mask import AGE, GENDER, MASK_TASK

CLASS_NAMES = {"gender": GENDER.classes, "age": AGE.classes}

GROUPS = {"male": ("gender", 0), "female": ("gender", 1), "young": ("age", 0), "middle": ("age", 1), "old": ("age", 2)}
"""Name of a group in --prior -> the part of the label and the class within it."""

EXAMPLE = "Example: --prior male=0.6,old=0.25."

ROUNDS, TOLERANCE = 10_000, 1e-10
"""Limits of the raking, which converges in a few dozen rounds unless the shares cannot be reached."""


def parse_prior(text: str) -> dict[str, float]:
    """``male=0.6,old=0.25`` -> {"male": 0.6, "old": 0.25}. Raises UserError for what is no prior."""
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, equals, value = (word.strip() for word in item.partition("="))
        if not equals:
            raise UserError(f"--prior takes NAME=SHARE, separated by commas, not {item.strip()!r}. {EXAMPLE}")
        if name not in GROUPS:
            raise UserError(f"--prior has no group {name!r}.{nearest(name, GROUPS)} There are: {', '.join(GROUPS)}.")
        if name in shares:
            raise UserError(f"--prior names {name} twice; give it once.")
        shares[name] = _parse_share(name, value)
    for part in ("gender", "age"):
        _check_part(part, shares)
    return shares


def _parse_share(name: str, text: str) -> float:
    """The share, a number between 0 and 1, both excluded. Raises UserError for anything else."""
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 < share < 1:
        raise UserError(f"A share of --prior must be between 0 and 1; {name} is {text!r}. {EXAMPLE}")
    return share


def _check_part(part: str, shares: Mapping[str, float]) -> None:
    """Raise UserError unless the part's shares leave room for the groups not named, and sum to 1 when all are named."""
    named = [name for name in shares if GROUPS[name][0] == part]
    total = sum(shares[name] for name in named)
    listed = " + ".join(f"{name}={shares[name]:g}" for name in named)
    if len(named) == len(CLASS_NAMES[part]) and abs(total - 1) > 1e-6:
        raise UserError(f"The shares of {part} must sum to 1; {listed} is {total:g}. Leave one out to fill it in.")
    if 0 < len(named) < len(CLASS_NAMES[part]) and total >= 1:
        raise UserError(f"The shares of {part} must leave room for the others; {listed} is {total:g}. Lower one.")


def groups_of(person_N: np.ndarray, label_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(gender_P, age_P) of the people, sorted by name; labels are 18-way."""
    _, first_P = np.unique(np.asarray(person_N, dtype=str), return_index=True)
    return MASK_TASK.space.part_of(label_N[first_P], "gender"), MASK_TASK.space.part_of(label_N[first_P], "age")


def targets(shares: Mapping[str, float], part: str, class_P: np.ndarray) -> Floats:
    """The shares [G] or [A] of a part's classes that the weighted people should have.

    Raises UserError for a share above 0 of a group without people.
    """
    count = np.bincount(class_P, minlength=len(CLASS_NAMES[part])).astype(np.float64)
    named = {GROUPS[name][1]: share for name, share in shares.items() if GROUPS[name][0] == part}
    is_named = np.isin(np.arange(len(count)), list(named))
    unnamed_count, unnamed_share = count[~is_named].sum(), 1 - sum(named.values())
    target = count / unnamed_count * unnamed_share if unnamed_count else np.zeros_like(count)
    for index, share in named.items():
        target[index] = share
    if ((target > 0) & (count == 0)).any() or not np.isclose(target.sum(), 1):
        absent = ", ".join(name for name, number in zip(CLASS_NAMES[part], count, strict=True) if not number)
        raise UserError(f"--prior gives a share to people that the validation split does not have: {absent}.")
    return target


def weights_of(shares: Mapping[str, float], gender_P: np.ndarray, age_P: np.ndarray) -> Floats:
    """Weight of every person, 1 on average, that gives genders and ages their shares.

    By raking (iterative proportional fitting, Deming and Stephan 1940). Raises UserError for shares out of reach.
    """
    gender_G, age_A = targets(shares, "gender", gender_P), targets(shares, "age", age_P)
    cell_GA = np.zeros((len(GENDER.classes), len(AGE.classes)))
    np.add.at(cell_GA, (gender_P, age_P), 1 / len(gender_P))
    fitted_GA = cell_GA.copy()
    for _ in range(ROUNDS):
        fitted_GA = _scaled(fitted_GA, gender_G[:, None], axis=1)
        fitted_GA = _scaled(fitted_GA, age_A[None], axis=0)
        if np.abs(fitted_GA.sum(1) - gender_G).max() < TOLERANCE:
            factor_GA = np.divide(fitted_GA, cell_GA, out=np.zeros_like(cell_GA), where=cell_GA > 0)
            return np.asarray(factor_GA[gender_P, age_P])
    raise UserError("--prior has shares that no weights of the validation people reach; give less extreme ones.")


def _scaled(cell_GA: Floats, target: Floats, axis: int) -> Floats:
    """The cells, scaled so that their sums along ``axis`` equal ``target``."""
    total = cell_GA.sum(axis, keepdims=True)
    return cell_GA * np.divide(target, total, out=np.zeros_like(total), where=total > 0)


def effective_people(weight_P: Floats) -> float:
    """Number of people of equal weight whose mean would be known as well (Kish 1965)."""
    return float(weight_P.sum() ** 2 / (weight_P**2).sum())
