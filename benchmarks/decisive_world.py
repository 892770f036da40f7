"""A world of known truth for benchmarks/decisive.py: recipes, trainings, people.

A training of level l at a setting x of the nuisance hyperparameters, judged by people J:

    skill's F1   =  truth(l, x) + seeds * (truth / BASE) * e          e: standard normal, or heavy-tailed
    predictions  =  classify: person effects sqrt(1 - own) common + sqrt(own) (sqrt(r) level's + sqrt(1 - r) own)
    score        =  macro F1 of the predictions of J                  own = .5 as in simulated.py; r: recipe_share

    truth(l, x)  =  BASE + gap of l - what x loses against the best setting of l

So a planted gap is a difference of the levels at the best setting of each. A setting loses by the distance of its
learning rate from the level's best one, squared, and by augmentations: each has an effect common to all levels, and
a smaller one of the level's own. People and photos are those of simulated.py.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from simulated import (
    BORDERS,
    GENDER_GAP,
    LOOKS,
    MASKED_AGE,
    PERSON_AGE,
    PERSON_GENDER,
    PHOTO_AGE,
    PHOTO_GENDER,
    STATES,
    WRONG_MASK,
    cell_counts,
    truth,
)

from maskcls.scoring.counts import Counts, macro_f1
from maskcls.tasks.mask import MASK_TASK

BASE = 0.62
"""Macro F1 of the reference level's best recipe on all people."""

EVALUATIONS = 16
AUGMENTATIONS = ("gaussian", "cutmix", "sharpness", "contrast")
LR = (1e-4, 3e-3)
OWN = 0.5
JUDGES_SHARE = 0.8
"""The judges of a round are a fifth of the training side: four fifths as many as the validation people."""

SKILLS = (0.02, 0.08, 0.15, 0.25, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)


@cache
def score_of_skill(people: int) -> np.ndarray:
    """Macro F1 of SKILLS on all people; kept in a file beside this one, as it takes half a minute."""
    file = Path(__file__).with_name("decisive") / f"skills-{people}.json"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps([truth(skill, people) for skill in SKILLS]) + "\n")
    return np.array(json.loads(file.read_text()))


@dataclass(frozen=True)
class World:
    """The kind of world that a study is in."""

    gaps: tuple[float, ...]
    """How much better each level's best recipe is than BASE; the first level is the reference."""
    people: int = 540
    seeds: float = 0.02
    """Standard deviation of a training's true score over seeds."""
    recipe_share: float = 0.0
    """Share of a training's own effects on people that it has in common with all trainings of its level."""
    shift: float = 0.05
    """Standard deviation of the levels' best learning rates about the common one, as a share of the range."""
    interact: float = 0.3
    """A level's own effects of the augmentations, relative to the common ones."""
    heavy: bool = False
    """Whether seeds have the t distribution with four degrees of freedom."""


@dataclass
class Crowd:
    """People who judge together."""

    name: str
    cell_P: np.ndarray
    hard_P2: np.ndarray
    """What every training finds hard about a person."""
    level_LP2: np.ndarray
    """What every training of a level does."""

    def __post_init__(self) -> None:
        self.gender_P, self.age_P = self.cell_P // 3, self.cell_P % 3
        label_PF = MASK_TASK.space.encode(STATES[None], self.gender_P[:, None], self.age_P[:, None])
        self.label_PF = label_PF.reshape(len(self.cell_P), -1)
        self.person_P = np.array([f"{self.name}-{number:05d}" for number in range(len(self.cell_P))])
        self.stratum_P = np.array([" ".join(map(str, sorted(set(row)))) for row in self.label_PF.tolist()])
        self.true_PK = self._table(self.label_PF)

    def _table(self, class_PF: np.ndarray, chosen_PF: np.ndarray | None = None) -> np.ndarray:
        flat_PF = np.arange(len(class_PF))[:, None] * 18 + class_PF
        flat = flat_PF.ravel() if chosen_PF is None else flat_PF[chosen_PF]
        return np.bincount(flat, minlength=len(class_PF) * 18).reshape(-1, 18).astype(float)

    def judge(self, rng: np.random.Generator, skill: float, level: int, recipe_share: float) -> Counts:
        """The counts of a training with this skill; as simulated.classify, with effects of the level."""
        people, photos = len(self.cell_P), len(STATES)
        own_P2 = np.sqrt(1 - recipe_share) * rng.normal(size=(people, 2))
        own_P2 = own_P2 + np.sqrt(recipe_share) * self.level_LP2[level]
        effect_P2 = np.sqrt(1 - OWN) * self.hard_P2 + np.sqrt(OWN) * own_P2
        noise_PF2 = rng.normal(size=(people, photos, 2))
        female_PF = (2 * self.gender_P - 1)[:, None] * GENDER_GAP * skill + PERSON_GENDER * effect_P2[:, :1]
        female_PF = female_PF + PHOTO_GENDER * noise_PF2[:, :, 0]
        old_PF = LOOKS[self.age_P][:, None] * skill + PERSON_AGE * effect_P2[:, 1:]
        old_PF = old_PF + (PHOTO_AGE + MASKED_AGE * (STATES == 0)) * noise_PF2[:, :, 1]
        band_PF = sum((old_PF > border * skill).astype(int) for border in BORDERS)
        is_wrong_PF = rng.random((people, photos)) < WRONG_MASK
        mask_PF = np.where(is_wrong_PF, rng.integers(3, size=(people, photos)), STATES[None])
        said_PF = mask_PF * 6 + (female_PF > 0) * 3 + band_PF
        tables = (self.true_PK, self._table(said_PF), self._table(said_PF, said_PF == self.label_PF))
        return Counts(self.person_P, self.stratum_P, *tables)


@dataclass(frozen=True)
class Trained:
    """A training, unpruned."""

    counts: Counts
    value: float
    curve: dict[int, float]
    """Evaluation, from 1 -> score; the last one's is the value."""


@dataclass
class Lab:
    """The world of one study."""

    world: World
    seed: int
    trainings: int = 0
    _crowds: dict[int, Crowd] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng, levels = np.random.default_rng([77, self.seed]), len(self.world.gaps)
        centre = rng.uniform(0.5, 0.9)
        self.best_lr_L = np.clip(centre + self.world.shift * rng.normal(size=levels), 0.3, 1.0)
        common, own = rng.normal(size=4)[None], rng.normal(size=(levels, 4))
        self.effect_LA = 0.012 * (common + self.world.interact * own)

    def truth(self, level: int, lr: float, augment: tuple[str, ...]) -> float:
        """The expected macro F1 of a recipe on all people."""
        place = np.log(lr / LR[0]) / np.log(LR[1] / LR[0])
        lost = 0.7 * (place - self.best_lr_L[level]) ** 2
        for name, effect in zip(AUGMENTATIONS, self.effect_LA[level], strict=True):
            lost += max(effect, 0.0) - (effect if name in augment else 0.0)
        return max(0.04, BASE + self.world.gaps[level] - lost)

    def crowd(self, judges: int) -> Crowd:
        """0: the validation people; else people who judge nothing else."""
        if judges not in self._crowds:
            rng = np.random.default_rng([78, self.seed, judges])
            people = self.world.people if judges == 0 else round(JUDGES_SHARE * self.world.people)
            level_LP2 = rng.normal(size=(len(self.world.gaps), people, 2))
            cell_P = np.repeat(np.arange(6), cell_counts(people))
            self._crowds[judges] = Crowd(f"{judges:02d}", cell_P, rng.normal(size=(people, 2)), level_LP2)
        return self._crowds[judges]

    def train(self, level: int, lr: float, augment: tuple[str, ...], judges: int) -> Trained:
        """One training; no two share their luck."""
        rng = np.random.default_rng([79, self.seed, self.trainings])
        self.trainings += 1
        expected = self.truth(level, lr, augment)
        luck = rng.standard_t(4) / np.sqrt(2) if self.world.heavy else rng.normal()
        score = expected + self.world.seeds * min(1.0, expected / BASE) * luck
        skill = float(np.interp(score, score_of_skill(self.world.people), SKILLS))
        counts = self.crowd(judges).judge(rng, skill, level, self.world.recipe_share)
        value = float(macro_f1(*counts.sums()))
        share_E = np.arange(1, EVALUATIONS + 1) / EVALUATIONS
        rise_E = 1 - (1 - share_E) ** rng.uniform(1.8, 3.0)
        path_E = rise_E * (1 + 0.15 * (1 - share_E) * rng.normal(size=EVALUATIONS))
        path_E = np.clip(path_E + 0.02 * rng.normal(size=EVALUATIONS), 0.01, None)
        curve_E = path_E * value / path_E.max()
        curve_E[-1] = value
        return Trained(counts, value, dict(enumerate(curve_E.tolist(), start=1)))
