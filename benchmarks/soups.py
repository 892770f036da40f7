"""Whether the corrected score of a soup promises what other people give, with linear models, whose soups are exact.

PYTHONPATH=. python benchmarks/soups.py [--repeats 60]

Models are a true linear one with noise in its weights. The best of them by 40 people make a soup as search.soup does,
which is scored on 2,000 others. Printed are means with standard errors of a promise less what the others give (and less
how easy the 40 are for all models): as measured, corrected for the choice among the soups that were tried, and with the
order of the models drawn anew, as search.soup corrects it.

Shape suffixes: N photos, P people, F features, K classes, T models.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.counts import Counts, count
from maskcls.scoring.intervals import select
from maskcls.scoring.resampling import resample
from maskcls.scoring.soup_choice import Models, SoupProcedure, correct_soup, tried_soups

SPACE = LabelSpace((Factor("sign", ("a", "b", "c")),))
FEATURES, PHOTOS, JUDGES = 10, 3, 40


@dataclass(frozen=True)
class People:
    """Photos of some people, whose features are alike, and their classes."""

    person_N: np.ndarray
    feature_NF: np.ndarray
    label_N: np.ndarray

    @staticmethod
    def draw(rng: np.random.Generator, people: int, true_FK: np.ndarray) -> "People":
        own_PF = rng.normal(size=(people, FEATURES))
        feature_NF = np.repeat(own_PF, PHOTOS, axis=0) + 0.6 * rng.normal(size=(people * PHOTOS, FEATURES))
        label_N = np.argmax(feature_NF @ true_FK + 1.5 * rng.normal(size=(people * PHOTOS, 3)), axis=1)
        return People(np.repeat([f"p{number:05d}" for number in range(people)], PHOTOS), feature_NF, label_N)

    def counts(self, weight_FK: np.ndarray) -> Counts:
        """By accuracy, whose mean does not depend on how many people judge."""
        said_N = np.argmax(self.feature_NF @ weight_FK, axis=1)
        return count(self.person_N, self.label_N, said_N, SPACE, metric="accuracy")


def value(counts: Counts) -> float:
    return float(counts.score(*counts.sums()))


def mean_of(weight_TFK: Sequence[np.ndarray], soup: Models) -> np.ndarray:
    return np.mean([weight_TFK[number] for number in soup], axis=0)


def once(repeat: int, trained: int, kept: int, noise: float, resamples: int = 100) -> dict[str, float]:
    """Of one study: how much too high the promises are. ``noise``: in the models' weights."""
    rng = np.random.default_rng([18, repeat])
    true_FK = rng.normal(size=(FEATURES, 3))
    ours, others = (People.draw(rng, people, true_FK) for people in (JUDGES, 2000))
    weight_TFK = [true_FK + noise * rng.normal(size=true_FK.shape) for _ in range(trained)]
    all_ours, all_others = ([people.counts(each) for each in weight_TFK] for people in (ours, others))
    # how easy these people are for all models is luck that has nothing to do with the choice
    luck = float(np.mean([value(counts) for counts in all_ours]) - np.mean([value(counts) for counts in all_others]))
    best = sorted(range(trained), key=lambda number: -value(all_ours[number]))[:kept]
    weight_TFK, singles = [weight_TFK[number] for number in best], [all_ours[number] for number in best]
    procedure = SoupProcedure(singles, lambda soup: ours.counts(mean_of(weight_TFK, soup)))
    value_T = np.array([value(counts) for counts in singles])
    tried = tried_soups(value_T, lambda soup: value(procedure.counts(soup)))
    drawn = resample(singles[0], repeat, resamples)
    chosen = select([procedure.counts(soup) for soup in tried], drawn)
    found = value(others.counts(mean_of(weight_TFK, tried[chosen.index]))) + luck
    return {
        "measured": chosen.raw - found,
        "corrected for the soups that were tried": chosen.corrected - found,
        "corrected for the order too": correct_soup(chosen.raw, procedure, drawn)[0] - found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60)
    arguments = parser.parse_args()
    for trained, kept, noise in ((5, 5, 1.3), (12, 4, 1.3), (20, 5, 1.3), (6, 6, 0.6), (8, 8, 2.5)):
        rows = [once(repeat, trained, kept, noise) for repeat in range(arguments.repeats)]
        print(f"soups of the best {kept} of {trained} models, noise {noise}")
        for name in rows[0]:
            values = np.array([row[name] for row in rows])
            print(f"  {name:40s} {values.mean():+.4f} +- {values.std(ddof=1) / np.sqrt(len(values)):.4f}")


if __name__ == "__main__":
    main()
