"""A stated prior of genders and ages, and the weights of people that make the validation split look like it.

``male=0.6,old=0.25``: 60 % men, a quarter 60 and over. What is not named keeps its proportions: the other ages share
the remaining 75 % as they do in the sample, and a part that is not named at all keeps its own shares.

Shape suffixes: N photos, P people, G genders, A age bands.
"""

from collections.abc import Mapping

import numpy as np

from maskcls.labels import AGES, GENDERS, part_of
from maskcls.scoring.counts import Floats
from maskcls.system.errors import UserError, nearest

KEYS = {"male": ("gender", 0), "female": ("gender", 1), "young": ("age", 0), "middle": ("age", 1), "old": ("age", 2)}
"""Word -> the part of the label and the class within it."""

NAMES = {"gender": GENDERS, "age": AGES}

EXAMPLE = "Example: --prior male=0.6,old=0.25."

ROUNDS, TOLERANCE = 10_000, 1e-10
"""Limits of the raking; it converges in a few dozen rounds unless the prior asks for people that are not there."""


def parse_prior(text: str) -> dict[str, float]:
    """``male=0.6,old=0.25`` -> {"male": 0.6, "old": 0.25}. Raises UserError, one sentence on the first mistake."""
    shares: dict[str, float] = {}
    for item in text.split(","):
        name, equals, value = (word.strip() for word in item.partition("="))
        if not equals:
            raise UserError(f"--prior takes shares as NAME=SHARE with commas between, not {item.strip()!r}. {EXAMPLE}")
        if name not in KEYS:
            raise UserError(f"--prior knows no {name!r}.{nearest(name, KEYS)} There are: {', '.join(KEYS)}.")
        if name in shares:
            raise UserError(f"--prior names {name} twice; give it once.")
        shares[name] = _parse_share(name, value)
    for part in NAMES:
        _check_part(part, shares)
    return shares


def _parse_share(name: str, text: str) -> float:
    """A number between 0 and 1, both excluded. Raises UserError."""
    try:
        share = float(text)
    except ValueError:
        share = float("nan")
    if not 0 < share < 1:
        raise UserError(f"A share of --prior lies between 0 and 1; {name} is {text!r}. {EXAMPLE}")
    return share


def _check_part(part: str, shares: Mapping[str, float]) -> None:
    """Raise UserError unless the part's shares leave room for what is not named, and sum to 1 when all are."""
    named = [name for name in shares if KEYS[name][0] == part]
    total = sum(shares[name] for name in named)
    listed = " + ".join(f"{name}={shares[name]:g}" for name in named)
    if len(named) == len(NAMES[part]) and abs(total - 1) > 1e-6:
        raise UserError(f"The shares of {part} must sum to 1; {listed} is {total:g}. Leave one out to fill it in.")
    if 0 < len(named) < len(NAMES[part]) and total >= 1:
        raise UserError(f"The shares of {part} must leave room for the others; {listed} is {total:g}. Lower one.")


def groups_of(person_N: np.ndarray, label_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(gender_P, age_P) of the people in the order of their names; labels are 18-way."""
    _, first_P = np.unique(np.asarray(person_N, dtype=str), return_index=True)
    return np.asarray(part_of(label_N[first_P], "gender")), np.asarray(part_of(label_N[first_P], "age"))


def targets(shares: Mapping[str, float], part: str, class_P: np.ndarray) -> Floats:
    """The shares [G] or [A] of a part's classes that the weighted people should have.

    Raises UserError when there are no people whose share it could be.
    """
    count = np.bincount(class_P, minlength=len(NAMES[part])).astype(np.float64)
    named = {KEYS[name][1]: share for name, share in shares.items() if KEYS[name][0] == part}
    is_named = np.isin(np.arange(len(count)), list(named))
    rest, left = count[~is_named].sum(), 1 - sum(named.values())
    target = count / rest * left if rest else np.zeros_like(count)
    for index, share in named.items():
        target[index] = share
    if ((target > 0) & (count == 0)).any() or not np.isclose(target.sum(), 1):
        absent = ", ".join(name for name, number in zip(NAMES[part], count, strict=True) if not number)
        raise UserError(f"--prior asks for people of a group that nobody in the validation split is in: {absent}.")
    return target


def weights_of(shares: Mapping[str, float], gender_P: np.ndarray, age_P: np.ndarray) -> Floats:
    """Weight of every person, 1 on average, by raking genders and ages in turn until both have their shares.

    (Iterative proportional fitting, Deming and Stephan 1940.) Raises UserError for shares that cannot be reached.
    """
    gender_G, age_A = targets(shares, "gender", gender_P), targets(shares, "age", age_P)
    cell_GA = np.zeros((len(GENDERS), len(AGES)))
    np.add.at(cell_GA, (gender_P, age_P), 1 / len(gender_P))
    fitted_GA = cell_GA.copy()
    for _ in range(ROUNDS):
        fitted_GA = _scaled(fitted_GA, gender_G[:, None], axis=1)
        fitted_GA = _scaled(fitted_GA, age_A[None], axis=0)
        if np.abs(fitted_GA.sum(1) - gender_G).max() < TOLERANCE:
            factor_GA = np.divide(fitted_GA, cell_GA, out=np.zeros_like(cell_GA), where=cell_GA > 0)
            return np.asarray(factor_GA[gender_P, age_P])
    raise UserError("--prior asks for shares that no weights of the validation people give; ask for less extreme ones.")


def _scaled(cell_GA: Floats, target: Floats, axis: int) -> Floats:
    total = cell_GA.sum(axis, keepdims=True)
    return cell_GA * np.divide(target, total, out=np.zeros_like(total), where=total > 0)


def effective_people(weight_P: Floats) -> float:
    """How many people of equal weight say as much about a mean (Kish 1965)."""
    return float(weight_P.sum() ** 2 / (weight_P**2).sum())
