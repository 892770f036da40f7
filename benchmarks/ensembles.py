"""What ensembles of stored trials gain on other people, and whether the corrected scores promise what they keep.

PYTHONPATH=. python benchmarks/ensembles.py [--repeats 60]

Trained models are simulated: each has a skill of its own, and its errors on a person are partly those of every model,
partly its own, as in simulated.py, but with probabilities. A team is chosen by the people of a validation split and
judged by about 1,500 others in the same shares. Printed for each number of validation people, as means with standard
errors over the repeats: the score on others of the best single model, one greedy selection, the ensemble of many, and
plain means; and the score that select and correct promise, less the score on others.

Shape suffixes: N photos, P people, K classes, T models.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from simulated import Crowd, cell_counts

from maskcls.scoring.counts import Counts, count
from maskcls.scoring.greedy import Bag, GreedyProcedure, Library, choose_bags, choose_ensemble
from maskcls.scoring.intervals import correct, select
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import resample
from maskcls.tasks.mask import MASK_TASK

SIZE, MODELS, JUDGES = 5, 10, 1500

GAIN, SPREAD, SHARED, OWN, PHOTO = 3.5, 0.2, 1.6, 1.1, 0.6
"""What the true class adds to a logit at skill 1, the deviation of the skills, and the deviations of errors on a person
that are every model's, on a person that are a model's own, and on a photo. The best has macro F1 of about .5."""


@dataclass(frozen=True)
class Drawn:
    """People, and what all models say about them."""

    crowd: Crowd
    log_prob_TNK: np.ndarray

    @property
    def library(self) -> Library:
        crowd = self.crowd
        said = [Predictions(crowd.person_N, crowd.person_N, crowd.label_N, said_NK) for said_NK in self.log_prob_TNK]
        return Library.of(said, MASK_TASK.space, "macro_f1")

    def counts(self, number: int) -> Counts:
        predicted_N = self.log_prob_TNK[number].argmax(1)
        return count(self.crowd.person_N, self.crowd.label_N, predicted_N, MASK_TASK.space)


def draw(rng: np.random.Generator, people: int, times: int, skill_T: np.ndarray) -> Drawn:
    """``times`` as many people in their shares, seven photos each, and what models of these skills say about them."""
    crowd = Crowd(np.repeat(np.arange(6), times * cell_counts(people)), np.zeros((times * people, 2)))
    people, label_N = times * people, crowd.label_N
    photos, classes = len(label_N) // people, MASK_TASK.space.num_classes
    true_NK = np.eye(classes)[label_N]
    shared_NK = np.repeat(rng.normal(0, SHARED, (people, classes)), photos, axis=0)
    said = []
    for skill in skill_T:
        own_NK = np.repeat(rng.normal(0, OWN, (people, classes)), photos, axis=0)
        logit_NK = GAIN * skill * true_NK + shared_NK + own_NK + rng.normal(0, PHOTO, true_NK.shape)
        said.append(logit_NK - np.log(np.exp(logit_NK).sum(1, keepdims=True)))
    return Drawn(crowd, np.stack(said).astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--people", type=int, nargs="+", default=[24, 60, 240])
    arguments = parser.parse_args()
    for people in arguments.people:
        rows = [once(np.random.default_rng([people, repeat]), people) for repeat in range(arguments.repeats)]
        print(f"{people} validation people, {MODELS} models, {arguments.repeats} repeats")
        for name in rows[0]:
            values = np.array([row[name] for row in rows])
            error = values.std(ddof=1) / np.sqrt(len(values))
            print(f"  {name:44s} {values.mean():+.4f} +- {error:.4f}")


def once(rng: np.random.Generator, people: int) -> dict[str, float]:
    """The scores of one study."""
    skill_T = rng.normal(1, SPREAD, MODELS)
    ours, others = draw(rng, people, 1, skill_T), draw(rng, people, JUDGES // people, skill_T)
    library, judges = ours.library, others.library
    everybody = np.ones((1, len(judges.truth.person_P)))

    def on_others(bag: Bag) -> float:
        return float(judges.scores(judges.predicted(bag)[None], everybody)[0, 0])

    singles = [ours.counts(number) for number in range(MODELS)]
    resamples = resample(singles[0], seed=int(rng.integers(1 << 30)), resamples=100)
    single = select(singles, resamples)
    (once_greedy,) = choose_bags(library, SIZE, np.ones((1, people)), np.full((1, MODELS), True))
    bag = choose_ensemble(library, SIZE)
    raw = float(library.scores(library.predicted(bag)[None], np.ones((1, people)))[0, 0])
    promised = correct(raw, GreedyProcedure(library, SIZE, MODELS), singles, resamples)
    best = on_others((single.index,))
    value_T = library.scores(library.extended((), range(MODELS)), np.ones((1, people)))[0]
    top = tuple(sorted(np.argsort(-value_T)[:SIZE].tolist()))
    return {
        "best single, on others": best,
        "one greedy selection, less the best single": on_others(once_greedy) - best,
        "ensemble, less the best single": on_others(bag) - best,
        f"mean of the best {SIZE}, less the best single": on_others(top) - best,
        "mean of all, less the best single": on_others(tuple(range(MODELS))) - best,
        "ensemble: different models": len(set(bag)),
        "best single: raw less on others": single.raw - best,
        "best single: promised less on others": single.corrected - best,
        "ensemble: raw less on others": raw - on_others(bag),
        "ensemble: promised less on others": promised - on_others(bag),
        "gain: promised less on others": promised - single.corrected - on_others(bag) + best,
    }


if __name__ == "__main__":
    main()
