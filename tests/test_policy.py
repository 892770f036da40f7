"""Which configuration comes next; on formula scores."""

import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from search_fixtures import DROPOUT, asking, play, toy

from search.policy import StudySampler, deal
from search.space import distributions, factors, params_of
from search.storage import finish, open_storage, requeue
from search.study import Choice, Float, Int, Knob, Study, Subset


def shares(study: Study, trials: list[FrozenTrial]) -> list[list[int]]:
    """For every factor, how many trials each of its levels got."""
    return [
        [sum(factor.level(trial.params) == level for trial in trials) for level in range(len(factor.levels))]
        for factor in factors(study.scientific)
    ]


@pytest.mark.parametrize("trials", [3, 7, 50])
@pytest.mark.parametrize("knob", [Choice(0.0, 0.2, 0.4, 0.7), Float(0.0, 0.7)], ids=str)
def test_levels_get_equal_shares_whatever_they_score(knob: Knob, trials: int) -> None:
    study = asking(drop_rate=knob)
    (counts,) = shares(study, play(study, trials, toy).get_trials())
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == trials


@pytest.mark.parametrize("knob", [Int(57, 60), Int(8, 512, log=True)], ids=str)
def test_stretches_of_whole_numbers_get_equal_shares(knob: Int) -> None:
    name = "old_from" if knob.low == 57 else "batch_size"
    study = asking(**{name: knob})
    (counts,) = shares(study, play(study, 26, toy).get_trials())
    assert sorted(counts) == [6, 6, 7, 7]


def test_values_are_drawn_all_over_a_stretch() -> None:
    study = asking(drop_rate=Float(0.0, 0.8))
    values = [trial.params["drop_rate"] for trial in play(study, 80, toy).get_trials()]
    assert len(set(values)) == 80
    places = Counter(int(value / 0.1) for value in values)  # two in each stretch of .2
    assert min(places[place] for place in range(8)) >= 4


def test_crashed_trials_give_their_share_back() -> None:
    asked = iter(range(1000))

    def scores(params: Mapping[str, Any]) -> float | None:
        return None if params["drop_rate"] == 0.7 and next(asked) % 3 else toy(params)  # two in three of one level

    trials = play(DROPOUT, 80, scores).get_trials()
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert 30 < len(done) < 60
    (counts,) = shares(DROPOUT, done)
    assert max(counts) - min(counts) <= 1


def test_interrupted_trials_keep_their_share() -> None:
    study = play(DROPOUT, 4, toy)
    waiting = study.ask(distributions(DROPOUT.space))
    busy = [study.ask(distributions(DROPOUT.space)) for _ in range(7)]
    requeue(study, waiting)
    (counts,) = shares(DROPOUT, study.get_trials())
    assert len(busy) + 5 == sum(counts)
    assert max(counts) - min(counts) <= 1


def test_an_interrupted_trial_is_handed_out_once_with_its_own_parameters() -> None:
    study = play(DROPOUT, 12, toy)
    trial = study.ask(distributions(DROPOUT.space))
    trial.report(0.4, 1)
    requeue(study, trial)
    again, other = (study.ask(distributions(DROPOUT.space)) for _ in range(2))
    assert (again.number, again.params) == (trial.number, trial.params)
    assert other.number == trial.number + 1
    assert other.params["lr"] != trial.params["lr"]
    assert [found.number for found in study.get_trials()] == list(range(14))


def test_the_next_trial_is_no_copy_of_one_that_waits() -> None:
    study = play(DROPOUT, 12, toy)
    trial = study.ask(distributions(DROPOUT.space))
    requeue(study, trial)
    # the sampler is asked while that one waits, as by another worker that took its number before
    waiting = study.get_trials()[-1]
    assert waiting.state == TrialState.WAITING
    running = create_trial(state=TrialState.RUNNING)
    running.number = len(study.trials)
    drawn = study.sampler.sample_relative(study, running, {})
    assert drawn["lr"] != waiting.params["lr"]
    assert drawn["weight_decay"] != waiting.params["weight_decay"]


def test_each_augmentation_is_on_in_half_of_the_trials_and_no_two_go_hand_in_hand() -> None:
    names = ("flip", "gaussian", "blur", "sharpness", "contrast", "cutmix")
    study = asking(augment=Subset(*names))
    for seed in range(3):
        trials = play(study, 60, toy, StudySampler(study, seed)).get_trials()
        assert all(max(counts) - min(counts) <= 1 for counts in shares(study, trials))
        for one, two in itertools.combinations(names, 2):
            pairs = Counter((t.params[f"augment.{one}"], t.params[f"augment.{two}"]) for t in trials)
            assert len(pairs) == 4
            assert max(pairs.values()) - min(pairs.values()) <= 4, (one, two, pairs)


def test_two_factors_share_out_each_level_and_each_combination() -> None:
    study = asking(heads=Choice("joint", "three_heads"), drop_rate=Choice(0.0, 0.2, 0.4))
    trials = play(study, 36, toy).get_trials()
    assert all(max(counts) - min(counts) <= 1 for counts in shares(study, trials))
    both = Counter((trial.params["heads"], trial.params["drop_rate"]) for trial in trials)
    assert len(both) == 6
    assert max(both.values()) - min(both.values()) <= 2


def test_more_combinations_than_can_be_listed_are_shared_out_as_well() -> None:
    sizes = [2] * 12
    rng = np.random.default_rng(0)
    taken: list[tuple[int, ...]] = []
    for _ in range(20):
        taken.append(deal(taken, sizes, rng))
    on = np.array(taken).mean(0)
    assert (abs(on - 0.5) <= 0.15).all()


def test_a_resumed_study_goes_on_as_if_nobody_had_stopped_it(tmp_path: Path) -> None:
    def sitting(name: str, until: int) -> list[dict[str, Any]]:
        storage = open_storage(f"sqlite:///{tmp_path}/{name}.db", create=True)
        study = optuna.create_study(
            study_name="s", storage=storage, sampler=StudySampler(DROPOUT, 7), direction="maximize", load_if_exists=True
        )
        if not study.trials:
            study.enqueue_trial(params_of(DROPOUT.space, DROPOUT.baseline))
        while len(study.get_trials()) < until:
            trial = study.ask(distributions(DROPOUT.space))
            finish(study, trial, TrialState.COMPLETE, toy(trial.params))
        return [trial.params for trial in study.get_trials()]

    undisturbed = sitting("one", 14)
    sitting("two", 5)
    sitting("two", 11)
    assert sitting("two", 14) == undisturbed
    assert undisturbed[0] == DROPOUT.baseline
    assert len({(params["drop_rate"], params["lr"]) for params in undisturbed}) == 14


def test_another_seed_is_another_study() -> None:
    one, two = (play(DROPOUT, 20, toy, StudySampler(DROPOUT, seed)).get_trials() for seed in (0, 1))
    baseline = {DROPOUT.baseline["lr"]}
    assert {trial.params["lr"] for trial in one} & {trial.params["lr"] for trial in two} <= baseline
