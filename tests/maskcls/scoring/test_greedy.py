"""Greedy selection of ensembles: step by step against scikit-learn's scores, and what its corrected score promises."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.counts import count
from maskcls.scoring.greedy import Bag, GreedyProcedure, Library, choose_bags, choose_ensemble
from maskcls.scoring.intervals import correct, select
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import resample
from maskcls.tasks.mask import MASK_TASK

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from ensembles import Drawn, draw

SPACE = LabelSpace((Factor("sign", ("a", "b", "c")),))

SCORERS = {
    "macro_f1": lambda label_N, said_N: f1_score(label_N, said_N, average="macro", labels=range(3), zero_division=0),
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
}


def told(seed: int, models: int = 5, people: int = 20) -> list[Predictions]:
    """What models of about .6 accuracy say of three photos of each person."""
    rng = np.random.default_rng(seed)
    person_N = np.repeat([f"p{number:03d}" for number in range(people)], 3)
    label_N = rng.integers(3, size=len(person_N))
    said = []
    for _ in range(models):
        logit_NK = np.eye(3)[label_N] + rng.normal(size=(len(label_N), 3))
        log_prob_NK = logit_NK - np.log(np.exp(logit_NK).sum(1, keepdims=True))
        said.append(Predictions(person_N, person_N, label_N, log_prob_NK.astype(np.float32)))
    return said


def score_of(said: Sequence[Predictions], bag: Sequence[int], metric: str) -> float:
    """By scikit-learn, of the mean of the bag's probabilities."""
    prob_NK = np.mean([np.exp(said[number].log_prob_NK.astype(np.float64)) for number in bag], axis=0)
    return float(SCORERS[metric](said[0].label_N, prob_NK.argmax(1)))


def greedy_by_hand(said: Sequence[Predictions], size: int, metric: str, models: Sequence[int]) -> Bag:
    """The bag, every step of which looks at every model."""
    bag: tuple[int, ...] = ()
    way = []
    for _ in range(size):
        value = {number: score_of(said, (*bag, number), metric) for number in models}
        level = [number for number in models if value[number] > max(value.values()) - 1e-9]
        bag = (*bag, next((number for number in level if number in bag), level[0]))
        way.append((tuple(sorted(bag)), score_of(said, bag, metric)))
    return next(bag for bag, value in way if value > max(value for _, value in way) - 1e-9)


def unweighted(library: Library, allowed: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(weights of 1 in one row, the models that may join)."""
    allowed_T = np.isin(np.arange(library.size), range(library.size) if allowed is None else allowed)
    return np.ones((1, len(library.truth.person_P))), allowed_T[None]


@pytest.mark.parametrize("metric", SCORERS)
@pytest.mark.parametrize("seed", range(4))
def test_every_step_takes_the_model_that_helps_most(seed: int, metric: str) -> None:
    said = told(seed)
    library = Library.of(said, SPACE, metric)
    assert choose_bags(library, 4, *unweighted(library)) == [greedy_by_hand(said, 4, metric, range(5))]
    some = [1, 3, 4]
    assert choose_bags(library, 4, *unweighted(library, some)) == [greedy_by_hand(said, 4, metric, some)]


def test_a_pair_is_the_best_of_all_pairs_with_the_best_model() -> None:
    said = told(9)
    library = Library.of(said, SPACE, "macro_f1")
    best = max(range(5), key=lambda number: score_of(said, (number,), "macro_f1"))
    pairs = [tuple(sorted((best, number))) for number in range(5)]
    (bag,) = choose_bags(library, 2, *unweighted(library))
    assert score_of(said, bag, "macro_f1") == pytest.approx(max(score_of(said, pair, "macro_f1") for pair in pairs))


def test_people_who_weigh_twice_count_as_two() -> None:
    said = told(3)
    library = Library.of(said, SPACE, "macro_f1")
    twice_P = np.where(np.arange(20) < 7, 2.0, 1.0)
    is_twice_N = np.repeat(twice_P, 3) == 2
    doubled = [
        Predictions(
            np.concatenate([one.path_N, one.path_N[is_twice_N]]),
            np.concatenate([one.person_N, np.char.add(one.person_N[is_twice_N], "'")]),
            np.concatenate([one.label_N, one.label_N[is_twice_N]]),
            np.concatenate([one.log_prob_NK, one.log_prob_NK[is_twice_N]]),
        )
        for one in said
    ]
    other = Library.of(doubled, SPACE, "macro_f1")
    weight_XP = np.stack([np.ones(20), twice_P])
    bags = choose_bags(library, 3, weight_XP, np.full((2, 5), True))
    assert bags == [*choose_bags(library, 3, *unweighted(library)), *choose_bags(other, 3, *unweighted(other))]


def test_an_ensemble_has_at_most_so_many_models_and_only_such_as_may_join() -> None:
    said = told(5, models=8)
    library = Library.of(said, SPACE, "accuracy")
    assert len(set(choose_ensemble(library, 3))) <= 3
    assert len(set(choose_ensemble(library, 1))) == 1
    assert set(choose_ensemble(library, 3, np.arange(8) > 5)) <= {6, 7}


def test_a_model_that_is_always_right_stands_alone() -> None:
    said = told(6)
    right_NK = np.log(np.eye(3, dtype=np.float32)[said[0].label_N] * 0.9 + 0.03)
    said[2] = Predictions(said[0].path_N, said[0].person_N, said[0].label_N, right_NK)
    assert set(choose_ensemble(Library.of(said, SPACE, "macro_f1"), 5)) == {2}


def accuracy_on(drawn: Drawn, bag: Bag) -> float:
    prob_NK = np.mean([np.exp(drawn.log_prob_TNK[number]) for number in bag], axis=0)
    return float((prob_NK.argmax(1) == drawn.crowd.label_N).mean())


def test_the_corrected_score_is_what_other_people_give() -> None:
    """By accuracy, whose mean does not depend on how many people judge. Half of the models have no weights any more."""
    raw, corrected = [], []
    for repeat in range(16):
        rng = np.random.default_rng([27, repeat])
        skill_T = rng.normal(1, 0.1, 8)
        ours, others = draw(rng, 40, 1, skill_T), draw(rng, 40, 20, skill_T)
        crowd = ours.crowd
        said = [Predictions(crowd.person_N, crowd.person_N, crowd.label_N, one_NK) for one_NK in ours.log_prob_TNK]
        library = Library.of(said, MASK_TASK.space, "accuracy")
        counts = [
            count(one.person_N, one.label_N, one.log_prob_NK.argmax(1), MASK_TASK.space, metric="accuracy")
            for one in said
        ]
        values = [float(each.score(*each.sums())) for each in counts]
        kept_T = np.argsort(np.argsort(-np.array(values))) < 4
        bag = choose_ensemble(library, 4, kept_T)
        resamples = resample(counts[0], repeat, 40)
        measured = accuracy_on(ours, bag)
        # how easy these people are for all models is luck that has nothing to do with the choice
        luck = np.mean(values) - np.mean([accuracy_on(others, (number,)) for number in range(8)])
        raw.append(measured - accuracy_on(others, bag) - luck)
        promised = correct(measured, GreedyProcedure(library, 4, 4), counts, resamples)
        corrected.append(promised - accuracy_on(others, bag) - luck)
    error = np.std(corrected, ddof=1) / np.sqrt(len(corrected))
    assert error < 0.012
    assert abs(np.mean(corrected)) < 2.5 * error
    assert np.mean(raw) > 3 * error


def test_correcting_the_choice_of_the_best_is_select() -> None:
    said = told(8)
    counts = [count(one.person_N, one.label_N, one.log_prob_NK.argmax(1), SPACE) for one in said]
    library, resamples = Library.of(said, SPACE, "macro_f1"), resample(counts[0], 0, 60)
    chosen = select(counts, resamples)

    def best(drawn_SP: np.ndarray, left_out_SP: np.ndarray) -> np.ndarray:
        predicted_TN = library.extended((), range(library.size))
        value_ST, left_out_ST = (library.scores(predicted_TN, weight_SP) for weight_SP in (drawn_SP, left_out_SP))
        return np.asarray(left_out_ST[np.arange(len(value_ST)), value_ST.argmax(1)])

    assert correct(chosen.raw, best, counts, resamples) == pytest.approx(chosen.corrected, abs=1e-12)
    assert Counter(choose_ensemble(library, 1)).keys() <= set(range(5))
