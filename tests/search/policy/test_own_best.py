"""The level whose own best setting lies elsewhere, and the rounds in which each level has its own best."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.policy.own_best import levels_elsewhere
from search.policy.policy import Policy
from search.policy.portfolio import to_unit
from search.policy.rounds import RoundPlan
from search.policy.stopping import DECIDED, StoppingCriteria, count_finished
from search.policy.surface import Scored, Surface, from_unit, own_settings
from search.study.attributes import is_own_best
from search.study.space import distributions
from search.study.study import Choice, Float, Sampler, Study, Subset
from tests.helpers.search import asking, begin

STUDY = Study(
    question="Does dropout help?",
    scientific={"drop_rate": Choice(0.0, 0.7)},
    nuisance={"lr": Float(1e-4, 1e-2, log=True), "augment": Subset("flip", "blur")},
    fixed={},
    baseline={"drop_rate": 0.0, "lr": 1e-3, "augment": ()},
    sampler=Sampler("random"),
)
SPACE = distributions(STUDY.space)
TUNED = {name: SPACE[name] for name in SPACE if name != "drop_rate"}


def point(place: float) -> dict[str, Any]:
    return {"lr": from_unit(SPACE["lr"], place), "augment.flip": False, "augment.blur": False}


def score(params: dict[str, Any], shift: float) -> float:
    """Level 0.0 is best at place .6 of the range of lr, level 0.7 so far (``shift``) below it."""
    best = 0.6 - shift * (params["drop_rate"] == 0.7)
    return 0.6 - 0.7 * (to_unit(SPACE["lr"], params["lr"]) - best) ** 2 - 0.05 * params["augment.flip"]


def trial(number: int, drop_rate: float, where: float, value: float, /, **attributes: Any) -> FrozenTrial:
    params = {"drop_rate": drop_rate, **point(where)}
    facts = {"params": params, "distributions": SPACE, "user_attrs": attributes}
    made = create_trial(state=TrialState.COMPLETE, value=value, **facts)
    made.number = number
    return made


def searched_and_asked(shift: float, rounds: int = 3, search: int = 16, place: float = 0.6) -> list[FrozenTrial]:
    """A search whose trials lie all over the range of lr, and rounds at one place of it."""
    rng, trials = np.random.default_rng(1), []
    for number in range(search):
        level, where = (0.0, 0.7)[number % 2], (number // 2 + 0.5) / (search / 2)
        params = {"drop_rate": level, **point(where)}
        trials.append(trial(number, level, where, score(params, shift) + 0.01 * rng.normal()))
    for number in range(1, 1 + rounds):
        for level in (0.0, 0.7):
            params = {"drop_rate": level, **point(place)}
            facts = {"round": number, "place": int(level > 0), "level": f"drop_rate = {level}", "judge_round": number}
            value = score(params, shift) - 0.02 * number + 0.01 * rng.normal()  # other people judge
            trials.append(trial(len(trials), level, place, value, **facts))
    return trials


# --- which level has its own best elsewhere ---------------------------------------------------------------------------


def test_the_level_whose_best_lies_elsewhere_is_named_with_what_it_gains() -> None:
    (found,) = levels_elsewhere(STUDY, searched_and_asked(shift=0.35))
    assert found.level == "drop_rate = 0.7"
    assert found.gain == pytest.approx(0.7 * 0.35**2, abs=0.03)
    assert to_unit(SPACE["lr"], found.values["lr"]) == pytest.approx(0.25, abs=0.1)
    assert list(found.values) == ["lr"]
    (asked,) = found.asked["lr"]
    assert to_unit(SPACE["lr"], asked) == pytest.approx(0.6)


def test_no_level_is_named_where_all_like_the_rounds_setting() -> None:
    assert levels_elsewhere(STUDY, searched_and_asked(shift=0.0)) == []


def test_a_gain_that_does_not_matter_is_not_told() -> None:
    trials = searched_and_asked(shift=0.35)
    assert levels_elsewhere(replace(STUDY, matters=0.3), trials) == []


def test_the_rounds_alone_name_nobody() -> None:
    trials = searched_and_asked(shift=0.35)
    assert levels_elsewhere(STUDY, [each for each in trials if "round" in each.user_attrs]) == []
    assert levels_elsewhere(STUDY, [each for each in trials if "round" not in each.user_attrs]) == []
    without = [each for each in trials if "round" in each.user_attrs or each.params["drop_rate"] == 0.0]
    assert levels_elsewhere(STUDY, without) == []  # the other level has no trial of its own in the search


def test_rounds_at_its_own_best_do_not_count_as_settings_that_all_were_asked_at() -> None:
    trials = searched_and_asked(shift=0.35)
    for number, (level, place) in enumerate(((0.0, 0.6), (0.7, 0.25))):
        facts = {"round": 4, "place": number, "level": f"drop_rate = {level}", "judge_round": 4, "own_best": True}
        trials.append(trial(len(trials), level, place, 0.6, **facts))
    (found,) = levels_elsewhere(STUDY, trials)
    assert len(found.asked["lr"]) == 1


def test_a_stopped_trial_is_less_sure_than_a_complete_one() -> None:
    """Two trials of a level; the lower one says how poor its setting is, unless it was stopped."""
    near, far = (
        {"lr": from_unit(SPACE["lr"], place), "augment.flip": False, "augment.blur": False} for place in (0.2, 0.8)
    )
    others = [Scored(point, (level,), 0, 0.5) for level in range(2) for point in (near, far)]
    gains = []
    for is_stopped in (False, True):
        last = Scored(far, (1,), 0, 0.3, is_stopped)
        surface = Surface(TUNED, [*others, last], tells_apart=True)
        mean_C, _ = surface.of_level((1,), surface.points([near, far]))
        gains.append(mean_C[0] - mean_C[1])
    assert gains[0] > 2 * gains[1] > 0


# --- rounds at its own best -------------------------------------------------------------------------------------------


def test_each_level_has_a_setting_near_its_own_best() -> None:
    rng, trainings = np.random.default_rng(0), []
    for index in range(60):
        place, level = rng.random(), index % 2
        value = 0.6 - 0.7 * (place - (0.7, 0.25)[level]) ** 2 + 0.01 * rng.normal()
        trainings.append(Scored(point(place), (level,), 0, value))
    settings = [own_settings(TUNED, trainings, [(0,), (1,)], [seed, 1]) for seed in range(10)]
    places = np.array([[to_unit(SPACE["lr"], each["lr"]) for each in pair] for pair in settings])
    assert places.mean(0) == pytest.approx([0.7, 0.25], abs=0.12)


def test_levels_without_a_liking_of_their_own_share_one_setting() -> None:
    trainings = [
        Scored(point(place), (level,), 0, 0.6 - 0.7 * (place - 0.6) ** 2)
        for place in np.linspace(0, 1, 9)
        for level in range(2)
    ]
    one, other = own_settings(TUNED, trainings, [(0,), (1,)], [3, 1])
    assert to_unit(SPACE["lr"], one["lr"]) == pytest.approx(to_unit(SPACE["lr"], other["lr"]), abs=0.05)


def run(policy: Policy, played: optuna.Study, limits: StoppingCriteria, closed: frozenset[str] = frozenset()) -> None:
    while not policy.reached(limits, played.get_trials(deepcopy=False), closed):
        trial_id = begin(played, policy, limits, closed)
        params = played._storage.get_trial(trial_id).params
        for step in range(1, policy.planned_evaluations + 1):
            played._storage.set_trial_intermediate_value(trial_id, step, 0.1)
        played._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [score(params, 0.4)])


def test_rounds_at_its_own_best_follow_the_others_with_one_seed_and_new_judges() -> None:
    policy, played = Policy(STUDY, 0), optuna.create_study(direction="maximize")
    run(policy, played, StoppingCriteria(40))
    before = played.get_trials()
    last = policy.rounds(before).last
    run(policy, played, StoppingCriteria(46, own_best=True))
    own = played.get_trials()[40:]
    assert [each.user_attrs["round"] for each in own] == [last + 1, last + 1, last + 2, last + 2, last + 3, last + 3]
    assert all(is_own_best(each) for each in own)
    assert not any(is_own_best(each) for each in before)
    for one, other in zip(own[::2], own[1::2], strict=True):
        assert one.user_attrs["seed"] == other.user_attrs["seed"]
        assert one.user_attrs["judge_round"] == other.user_attrs["judge_round"] == one.user_attrs["round"]
        assert [each.params["drop_rate"] for each in (one, other)] == [0.0, 0.7]
        places = [to_unit(SPACE["lr"], each.params["lr"]) for each in (one, other)]
        assert places[0] - places[1] > 0.15  # their best ones are .4 apart
        assert policy.is_never_pruned(one)


def test_the_two_kinds_of_rounds_are_counted_apart() -> None:
    policy, played = Policy(STUDY, 0), optuna.create_study(direction="maximize")
    run(policy, played, StoppingCriteria(40))
    common = policy.rounds(played.get_trials()).complete()
    assert policy.share_of_rounds(played.get_trials(), StoppingCriteria(40)) == 1
    limits = StoppingCriteria(48, own_best=True)
    for _ in range(4):
        played._storage.set_trial_state_values(begin(played, policy, limits), TrialState.COMPLETE, [0.5])
    rounds = policy.rounds(played.get_trials())
    assert rounds.complete() == common
    assert rounds.complete(own_best=True) == [common[-1] + 1, common[-1] + 2]
    assert policy.share_of_rounds(played.get_trials(), limits, own_best=True) == 0.5
    assert policy.share_of_rounds(played.get_trials(), limits) == 1  # what is left is for the other question
    plan = policy.phases_within(StoppingCriteria(60), played.get_trials())
    assert (plan.first + plan.search + plan.rounds, plan.rounds) == (60 - 4, plan.rounds)
    run(policy, played, StoppingCriteria(48))
    assert not any(is_own_best(each) for each in played.get_trials()[44:])


def test_what_one_question_has_decided_is_trained_for_the_other() -> None:
    policy, played = Policy(STUDY, 0), optuna.create_study(direction="maximize")
    run(policy, played, StoppingCriteria(40))
    decided = frozenset({"drop_rate = 0.7"})
    assert policy.reached(StoppingCriteria(60), played.get_trials(), decided) == DECIDED
    run(policy, played, StoppingCriteria(44, own_best=True))  # decided by the looks of its own kind alone
    assert count_finished(played.get_trials()) == 44
    levels = Counter(each.user_attrs["level"] for each in played.get_trials()[40:])
    assert levels == {"drop_rate = 0.0": 2, "drop_rate = 0.7": 2}


def test_a_begun_round_at_its_own_best_is_finished_by_whoever_goes_on() -> None:
    policy, played = Policy(STUDY, 0), optuna.create_study(direction="maximize")
    run(policy, played, StoppingCriteria(40))
    first = begin(played, policy, StoppingCriteria(42, own_best=True))
    owed = played._storage.get_trial(begin(played, policy, StoppingCriteria(60)))
    assert is_own_best(owed)
    assert (owed.user_attrs["round"], owed.user_attrs["place"]) == (
        played._storage.get_trial(first).user_attrs["round"],
        1,
    )


def test_plans_of_common_rounds_are_stored_as_before() -> None:
    plan = RoundPlan(2, 3, ())
    assert plan.to_json() == {"number": 2, "judges": 3, "trainings": []}
    own = replace(plan, own_best=True)
    assert RoundPlan.from_json(json.loads(json.dumps(own.to_json()))) == own
    assert RoundPlan.from_json(plan.to_json()) == plan


def test_the_surface_for_one_level_is_the_pooled_one_where_all_levels_are_alike() -> None:
    study = asking(drop_rate=Choice(0.0, 0.7))
    tuned = {name: each for name, each in distributions(study.space).items() if name != "drop_rate"}
    rng = np.random.default_rng(0)
    points = [{name: from_unit(each, rng.random()) for name, each in tuned.items()} for _ in range(12)]
    pairs = [(each, 0.5 + 0.1 * index) for index, each in enumerate(points)]
    trainings = [Scored(each, (level,), 0, value) for each, value in pairs for level in (0, 1)]
    surface = Surface(tuned, trainings)
    place_CD = surface.points(points[:5])
    mean_C, covariance_CC = surface.of_level((0,), place_CD)
    pooled_C, pooled_CC = surface.pooled(place_CD)
    assert mean_C - mean_C[0] == pytest.approx(pooled_C - pooled_C[0], rel=0.05, abs=1e-3)
    assert np.all(np.diag(covariance_CC) > np.diag(pooled_CC))  # of one level less is known than of all together
