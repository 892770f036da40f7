"""Which configuration comes next; on formula scores."""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from maskcls.system.errors import UserError
from search.policy.levels import deal
from search.policy.policy import Policy
from search.policy.samplers import BEST_MODELLED, FEW_TRIALS, MAX_MODELLED, _modelled, make_sampler
from search.study.space import distributions, factors
from search.study.study import Choice, Domain, Float, Int, Pruner, Sampler, Study, Subset
from tests.helpers.search import DROPOUT, asking, begin, play, toy, tried
from tests.helpers.training import one_line


def shares(study: Study, trials: list[FrozenTrial]) -> list[list[int]]:
    """For every factor, how many trials each of its levels got."""
    return [
        [sum(factor.level(trial.params) == level for trial in trials) for level in range(len(factor.levels))]
        for factor in factors(study.scientific)
    ]


@pytest.mark.parametrize("trials", [3, 7, 50])
@pytest.mark.parametrize("domain", [Choice(0.0, 0.2, 0.4, 0.7), Float(0.0, 0.7)], ids=str)
def test_levels_get_equal_shares_whatever_they_score(domain: Domain, trials: int) -> None:
    study = asking(drop_rate=domain)
    (levels,) = (len(factor.levels) for factor in factors(study.scientific))
    (counts,) = shares(study, tried(play(study, levels + trials, toy)))  # round 0 has every level
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == trials


@pytest.mark.parametrize("domain", [Int(57, 60), Int(8, 512, log=True)], ids=str)
def test_bins_of_whole_numbers_get_equal_shares(domain: Int) -> None:
    name = "old_from" if domain.low == 57 else "batch_size"
    study = asking(**{name: domain})
    (counts,) = shares(study, tried(play(study, 30, toy)))
    assert sorted(counts) == [6, 6, 7, 7]


def test_values_are_drawn_all_over_a_bin() -> None:
    study = asking(drop_rate=Float(0.0, 0.8))
    values = [trial.params["drop_rate"] for trial in tried(play(study, 84, toy))]
    assert len(set(values)) == 80
    places = Counter(int(value / 0.1) for value in values)  # two in each bin of .2
    assert min(places[place] for place in range(8)) >= 4


def test_crashed_trials_give_their_share_back() -> None:
    asked = iter(range(1000))

    def scores(params: Mapping[str, Any]) -> float | None:
        return None if params["drop_rate"] == 0.7 and next(asked) % 3 else toy(params)  # two in three of one level

    trials = tried(play(DROPOUT, 80, scores))
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert 30 < len(done) < 60
    (counts,) = shares(DROPOUT, done)
    assert max(counts) - min(counts) <= 1


def wait(study: optuna.Study, trial_id: int) -> None:
    study._storage.set_trial_state_values(trial_id, TrialState.WAITING)


def test_interrupted_trials_keep_their_share() -> None:
    policy = Policy(DROPOUT, 0)
    study = play(DROPOUT, 4, toy, policy)
    wait(study, begin(study, policy))
    for _ in range(8):
        begin(study, policy)
    (counts,) = shares(DROPOUT, tried(study))
    assert sum(counts) == 10
    assert max(counts) - min(counts) <= 1


def test_the_next_trial_is_no_copy_of_one_that_waits() -> None:
    policy = Policy(DROPOUT, 0)
    study = play(DROPOUT, 12, toy, policy)
    wait(study, begin(study, policy))
    *_, waiting = study.get_trials()
    drawn = policy.propose(study.get_trials()).params
    assert drawn["lr"] != waiting.params["lr"]
    assert drawn["weight_decay"] != waiting.params["weight_decay"]


def test_each_augmentation_is_on_in_half_of_the_trials_and_no_two_go_hand_in_hand() -> None:
    names = ("flip", "gaussian", "blur", "sharpness", "contrast", "cutmix")
    study = asking(augment=Subset(*names))
    for seed in range(3):
        trials = tried(play(study, 68, toy, Policy(study, seed)))
        assert all(max(counts) - min(counts) <= 1 for counts in shares(study, trials))
        for one, two in itertools.combinations(names, 2):
            pairs = Counter((t.params[f"augment.{one}"], t.params[f"augment.{two}"]) for t in trials)
            assert len(pairs) == 4
            assert max(pairs.values()) - min(pairs.values()) <= 4, (one, two, pairs)


def test_two_factors_share_out_each_level_and_each_combination() -> None:
    study = asking(heads=Choice("joint", "three_heads"), drop_rate=Choice(0.0, 0.2, 0.4))
    trials = tried(play(study, 41, toy))
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


def test_a_proposal_is_a_function_of_the_seed_and_the_trials_before_it() -> None:
    undisturbed = play(DROPOUT, 20, toy, Policy(DROPOUT, 7)).get_trials()
    study = play(DROPOUT, 5, toy, Policy(DROPOUT, 7))
    for _ in range(15):  # each by a process that has just begun
        play(DROPOUT, 1, toy, Policy(DROPOUT, 7), into=study)
    assert [trial.params for trial in study.get_trials()] == [trial.params for trial in undisturbed]
    assert undisturbed[0].params == DROPOUT.baseline
    assert len({(trial.params["drop_rate"], trial.params["lr"]) for trial in tried(study)}) == 17


def test_another_seed_is_another_study() -> None:
    one, two = (play(DROPOUT, 20, toy, Policy(DROPOUT, seed)).get_trials() for seed in (0, 1))
    baseline = {DROPOUT.baseline["lr"]}
    assert {trial.params["lr"] for trial in one} & {trial.params["lr"] for trial in two} <= baseline


@pytest.mark.parametrize("name", ["auto", "tpe", "gp", "random"])
def test_every_sampler_proposes_within_the_space(name: str) -> None:
    study = replace(DROPOUT, sampler=Sampler(name))
    trials = play(study, 14, toy, Policy(study, 0)).get_trials()
    assert len({trial.params["lr"] for trial in trials if trial.number >= 10}) >= 3
    assert all(1e-5 <= trial.params["lr"] <= 1e-1 for trial in trials)


def test_a_gaussian_process_proposes_at_first_and_tpe_once_it_would_take_long() -> None:
    assert isinstance(make_sampler(Sampler("auto"), 0, FEW_TRIALS), GPSampler)
    assert isinstance(make_sampler(Sampler("auto"), 0, FEW_TRIALS + 1), TPESampler)


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (Sampler("bayes"), ("No sampler named 'bayes'", "auto, tpe")),
        (Sampler("tpe", gama=1), ("Sampler tpe cannot be made", "gama")),
        (Pruner("rung"), ("No pruner named 'rung'", "rungs")),
        (Pruner("rungs", factor="x"), ("Pruner rungs cannot be made", "factor is a number above 1")),
        (Pruner("rungs", factor=0), ("factor is a number above 1",)),
        (Pruner("halving", min_resource=-1), ("Pruner halving cannot be made", "min_resource")),
    ],
)
def test_a_sampler_or_pruner_that_cannot_be_made_is_one_sentence(tool: Sampler | Pruner, words: tuple[str]) -> None:
    study = replace(DROPOUT, **{"sampler" if isinstance(tool, Sampler) else "pruner": tool})
    with pytest.raises(UserError) as caught:
        Policy(study, 0)
    assert all(word in one_line(caught.value) for word in words)


def test_only_so_many_trials_are_shown_to_the_sampler_and_the_best_of_all_are_among_them() -> None:
    space = distributions({"lr": Float(1e-5, 1e-1, log=True)})
    rng = np.random.default_rng(0)
    values = rng.permutation(MAX_MODELLED * 2) / 1000
    trials = [create_trial(value=float(value), params={"lr": 1e-3}, distributions=space) for value in values]
    trials.append(create_trial(state=TrialState.RUNNING, params={"lr": 1e-3}, distributions=space))
    shown = _modelled(trials, [0.0] * len(trials), rng)
    assert len(shown) == MAX_MODELLED
    assert shown == sorted(set(shown))
    assert {*np.argsort(-values)[:BEST_MODELLED].tolist(), len(trials) - 1} <= set(shown)
