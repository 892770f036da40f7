"""The phases of a study, and the rounds that its answer comes from; on formula scores."""

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.policy.phases import n_trials_after, phases, search_budget, sizes_of_rounds
from search.policy.policy import Policy
from search.policy.rounds import arms_of_round, copies, size_of_round
from search.policy.stopping import DECIDED, LACKS_TIME, StoppingCriteria, count_finished, epochs_spent
from search.study.attributes import is_baseline
from search.study.study import Choice, Float, Sampler, Study, Subset
from tests.helpers.search import LR, asking, begin, toy

FOUR = replace(asking(drop_rate=Choice(0.0, 0.2, 0.5, 0.7)), sampler=Sampler("random"))
TWO = replace(asking(drop_rate=Choice(0.0, 0.7)), sampler=Sampler("random"))
RECIPE = replace(asking(), sampler=Sampler("random"))


def end(played: optuna.Study, trial_id: int, state: TrialState = TrialState.COMPLETE) -> None:
    value = None if state == TrialState.FAIL else toy(played._storage.get_trial(trial_id).params)
    played._storage.set_trial_state_values(trial_id, state, None if value is None else [value])


def run(
    study: Study, n_trials: int, workers: int = 1, into: optuna.Study | None = None, **more: Any
) -> list[FrozenTrial]:
    """The study up to so many trials, by so many workers, of which a random one ends first."""
    policy, played = Policy(study, 0), into or optuna.create_study(direction="maximize")
    limits, rng = (
        StoppingCriteria(n_trials, more.pop("max_epochs", None), more.pop("patience", None)),
        np.random.default_rng(workers),
    )
    running: list[int] = []
    while True:
        trials = played.get_trials(deepcopy=False)
        n_trials = policy.shortened(limits, trials).n_trials
        places = n_trials - count_finished(trials) - len(running)
        if len(running) < workers and places > 0 and not policy.reached(limits, trials, more.get("closed", ())):
            running.append(begin(played, policy, limits, **more))
        elif running:
            trial_id = running.pop(int(rng.integers(len(running))))
            for step in range(1, policy.planned_evaluations + 1):
                played._storage.set_trial_intermediate_value(trial_id, step, step / 10)
            end(played, trial_id)
        else:
            return played.get_trials()


def rounds_of(trials: list[FrozenTrial]) -> dict[int, list[FrozenTrial]]:
    found: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if "round" in trial.user_attrs:
            found.setdefault(trial.user_attrs["round"], []).append(trial)
    return found


def levels(trials: list[FrozenTrial]) -> list[float]:
    return sorted(trial.params["drop_rate"] for trial in trials)


# --- what the phases get ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_trials", "arms", "divided"),
    [
        (1, 2, (1, 0, 0)),
        (3, 2, (2, 1, 0)),  # no room for a round
        (8, 2, (2, 0, 6)),  # too short for a search
        (12, 4, (4, 0, 8)),
        (50, 4, (4, 20, 26)),
        (120, 4, (4, 57, 59)),
        (60, 7, (7, 21, 32)),
    ],
)
def test_a_study_is_divided_into_a_first_round_a_search_and_rounds(
    n_trials: int, arms: int, divided: tuple[int, int, int]
) -> None:
    found = phases(n_trials, arms, 0.45, compares=True)
    assert (found.first, found.search, found.rounds) == divided
    if found.search and found.rounds:
        assert (found.first + 0.45 * found.search) / found.trainings == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize(
    ("n_trials", "divided"),
    [
        (8, (1, 3, 4)),
        (12, (1, 5, 6)),  # as where levels are compared: a third
        (24, (1, 13, 10)),  # two rounds of three finalists and the baseline
        (50, (1, 33, 16)),
        (120, (1, 81, 38)),
    ],
)
def test_a_study_that_compares_nothing_searches_with_up_to_half_of_its_epochs(
    n_trials: int, divided: tuple[int, int, int]
) -> None:
    found = phases(n_trials, 1, 0.45, compares=False)
    assert (found.first, found.search, found.rounds) == divided
    spent = found.first + 0.45 * found.search
    assert spent == pytest.approx(search_budget(found.trainings, compares=False), abs=0.6)
    assert n_trials_after(found.search, 1, 0.45, compares=False) == pytest.approx(n_trials, abs=1)


def test_whatever_the_trials_no_phase_is_lost() -> None:
    for n_trials, arms, compares, tunes in itertools.product(range(1, 90), range(1, 9), (True, False), (True, False)):
        found = phases(n_trials, arms, 0.45, compares, tunes)
        assert found.first + found.search + found.rounds == n_trials
        assert min(found.first, found.search, found.rounds) >= 0


def test_a_rounds_arms_are_the_open_ones_and_the_last_round_takes_what_is_left() -> None:
    assert arms_of_round("0", ["1"], 5) == ["0", "1"]
    assert arms_of_round("0", ["1", "2", "3"], 50) == ["0", "1", "2", "3", "0"]  # every comparison uses the reference
    assert arms_of_round("0", ["1", "2", "3"], 9) == ["0", "1", "2", "3", "0", "1", "2", "3", "0"]
    assert arms_of_round("0", ["1"], 3) == ["0", "1", "1"]
    assert arms_of_round("0", ["1"], 1) == []
    assert arms_of_round("0", [], 9) == []
    assert [size_of_round(others) for others in (1, 2, 3)] == [2, 3, 5]
    assert copies(["0", "1", "0", "0", "1"]) == [0, 0, 1, 2, 1]
    sizes = sizes_of_rounds(phases(50, 4, 0.45, True), 3)
    assert sizes == [[1, 1, 1, 1], *([2, 1, 1, 1] for _ in range(4)), [2, 2, 1, 1]]


# --- the order of a study ---------------------------------------------------------------------------------------------


def test_a_study_begins_with_every_level_at_the_baselines_setting_searches_and_ends_in_rounds() -> None:
    trials = run(FOUR, 50)
    assert len(trials) == 50
    phase = [trial.user_attrs.get("round", "search") for trial in trials]
    assert [key for key, _ in itertools.groupby(phase)] == [0, "search", 1, 2, 3, 4, 5, 6]
    assert phase.count("search") == 15  # fewer than planned: these cost a training each, as nothing is pruned
    first, *rest = rounds_of(trials).values()
    assert is_baseline(trials[0])
    assert levels(first) == [0.0, 0.2, 0.5, 0.7]
    assert {trial.params["lr"] for trial in first} == {FOUR.baseline["lr"]}
    for number, trainings in enumerate(rest, start=1):
        assert len({(trial.params["lr"], trial.params["weight_decay"]) for trial in trainings}) == 1
        assert {trial.user_attrs["judge_round"] for trial in trainings} == {number}
        seeds = Counter(trial.user_attrs["seed"] for trial in trainings)
        assert max(seeds.values()) == 4  # one of the common seed for each level; the second reference has another
    assert levels(rest[0]) == [0.0, 0.0, 0.2, 0.5, 0.7]


def test_the_rounds_are_near_the_common_best_setting() -> None:
    trials = run(replace(FOUR, sampler=Sampler("tpe")), 60)
    lrs = [trial.params["lr"] for trial in trials if trial.user_attrs.get("round", 0) > 0]
    assert all(abs(np.log10(lr) + 2.6) < 0.6 for lr in lrs)


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("n_trials", [1, 2, 3, 5, 8, 12, 23, 33])
@pytest.mark.parametrize("study", [FOUR, TWO, RECIPE], ids=["four", "two", "none"])
def test_the_total_is_exact_and_every_training_of_a_round_is_done_once(
    study: Study, n_trials: int, workers: int
) -> None:
    trials = run(study, n_trials, workers)
    assert len(trials) == n_trials
    for trainings in rounds_of(trials).values():
        places = [trial.user_attrs["place"] for trial in trainings]
        assert places == list(range(len(places)))
        (plan,) = [trial.user_attrs["round_plan"] for trial in trainings if "round_plan" in trial.user_attrs] or [None]
        if plan is not None:
            assert [planned["arm"] for planned in plan["trainings"]] == [
                trial.user_attrs["level"] for trial in trainings
            ]


@pytest.mark.parametrize("study", [FOUR, RECIPE], ids=["comparing", "tuning"])
def test_a_study_goes_on_from_wherever_it_was_interrupted(study: Study) -> None:
    whole = run(study, 30)
    played = optuna.create_study(direction="maximize")
    for number in range(1, 31):  # each trial by a process that has just begun, which knows the limit alone
        policy = Policy(study, 0)
        trial_id = begin(played, policy, StoppingCriteria(30))
        for step in range(1, policy.planned_evaluations + 1):
            played._storage.set_trial_intermediate_value(trial_id, step, step / 10)
        end(played, trial_id)
        assert played.get_trials()[-1].params == whole[number - 1].params
        assert played.get_trials()[-1].user_attrs == whole[number - 1].user_attrs


def test_trials_that_are_added_later_are_all_of_rounds() -> None:
    played = optuna.create_study(direction="maximize")
    run(FOUR, 30, into=played)
    more = run(FOUR, 45, into=played)[30:]
    assert all("round" in trial.user_attrs for trial in more)
    numbers = [trial.user_attrs["round"] for trial in more]
    assert numbers == sorted(numbers)


def test_a_decided_level_is_trained_no_more_and_the_others_get_its_share() -> None:
    played = optuna.create_study(direction="maximize")
    run(FOUR, 30, into=played)
    more = run(FOUR, 45, into=played, closed={"drop_rate = 0.7", "drop_rate = 0.2"})[30:]
    assert {trial.params["drop_rate"] for trial in more} == {0.0, 0.5}
    assert len(more) == 15
    closed = {f"drop_rate = {level}" for level in (0.2, 0.5, 0.7)}
    assert len(run(FOUR, 50, into=played, closed=closed)) == 45  # nothing is open: no trial would change the answer
    assert Policy(FOUR, 0).reached(StoppingCriteria(50), played.get_trials(), closed) == DECIDED


def test_a_training_that_fails_is_done_again_with_the_same_seed_and_judges_and_given_up_in_the_end() -> None:
    policy, played = Policy(TWO, 0), optuna.create_study(direction="maximize")
    limits = StoppingCriteria(8)
    for _ in range(2):
        end(played, begin(played, policy, limits))
    first = begin(played, policy, limits)
    end(played, first, TrialState.FAIL)
    again = begin(played, policy, limits)
    one, two = (played._storage.get_trial(number) for number in (first, again))
    assert one.user_attrs == two.user_attrs
    assert one.params == two.params
    other = played._storage.get_trial(begin(played, policy, limits))
    assert (other.user_attrs["round"], other.user_attrs["place"]) == (1, 1)
    end(played, other._trial_id)
    assert policy.rounds(played.get_trials()).complete() == [0]  # the second try runs
    end(played, again, TrialState.FAIL)
    assert policy.rounds(played.get_trials()).complete() == [0, 1]


def test_an_interrupted_training_waits_and_is_not_dealt_again() -> None:
    policy, played = Policy(TWO, 0), optuna.create_study(direction="maximize")
    begun = [begin(played, policy, StoppingCriteria(8)) for _ in range(4)]
    played._storage.set_trial_state_values(begun[2], TrialState.WAITING)
    next_ones = [played._storage.get_trial(begin(played, policy, StoppingCriteria(8))) for _ in range(2)]
    places = [(trial.user_attrs["round"], trial.user_attrs["place"]) for trial in next_ones]
    assert places == [(2, 0), (2, 1)]
    assert policy.rounds(played.get_trials()).complete() == []


# --- other limits -----------------------------------------------------------------------------------------------------


def test_epochs_are_divided_as_trials_are_and_a_round_that_began_is_finished() -> None:
    study = replace(FOUR, fixed={"epochs": 4})
    trials = run(study, 10**6, max_epochs=100.0)  # as long as 25 trainings
    searched = [trial for trial in trials if "round" not in trial.user_attrs]
    later = [trial for trial in trials if trial.user_attrs.get("round", 0) > 0]
    assert (4 + len(searched)) / len(trials) == pytest.approx(1 / 3, abs=0.05)
    assert 25 <= len(trials) <= 26
    assert Policy(study, 0).rounds(trials).complete() == list(range(1 + max(t.user_attrs["round"] for t in later)))


def test_few_epochs_are_the_first_round_and_rounds_alone() -> None:
    study = replace(TWO, fixed={"epochs": 4})
    trials = run(study, 10**6, max_epochs=32.0)
    assert [trial.user_attrs["round"] for trial in trials] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("study", [RECIPE, FOUR])
def test_a_command_whose_time_is_enough_for_no_other_round_ends(study: Study) -> None:
    """A search that went on would find what no round asks about."""
    study = replace(study, fixed={"epochs": 4})
    policy, trials = Policy(study, 0), run(study, 30)
    assert policy.rounds(trials).complete()[-1] > 0
    spent = epochs_spent(trials, policy.per_epoch)
    for trainings, reason in ((3, LACKS_TIME), (4, "")):
        limits = StoppingCriteria(10**6, expected_epochs=spent + 4 * trainings)
        assert policy.reached(limits, trials) == reason
        assert policy.reached(replace(limits, n_trials=31), trials) == ""  # so many were asked for
    trials[-1].state = TrialState.WAITING  # an interrupted training, without which its round counts for nothing
    assert policy.reached(StoppingCriteria(10**6, expected_epochs=spent + 4), trials) == ""
    assert policy.reached(StoppingCriteria(10**6, max_epochs=spent), trials) == ""
    before = [trial for trial in trials if not trial.user_attrs.get("round")]
    limits = StoppingCriteria(10**6, expected_epochs=epochs_spent(before, policy.per_epoch) + 4)
    assert policy.reached(limits, before) == ""


def test_patience_ends_the_search_and_the_rounds_follow() -> None:
    trials = run(replace(TWO, fixed={"epochs": 4}), 400, patience=5)
    searched = [trial for trial in trials if "round" not in trial.user_attrs]
    assert 5 <= len(searched) < 60
    assert 0.25 < (2 + len(searched)) / len(trials) < 0.42
    assert Policy(TWO, 0).reached(StoppingCriteria(400, patience=5), trials) == "--patience 5"


def test_a_search_trial_that_improves_after_the_rounds_began_does_not_lead_back_to_the_search() -> None:
    policy, played = Policy(TWO, 0), optuna.create_study(direction="maximize")
    limits = StoppingCriteria(400, patience=5)
    for _ in range(2):
        end(played, begin(played, policy, limits))
    late = begin(played, policy, limits)
    assert "round" not in played.get_trials()[-1].user_attrs
    while "round" not in played.get_trials()[-1].user_attrs or len(played.get_trials()) < 4:
        trial_id = begin(played, policy, limits)
        if "round" not in played.get_trials()[-1].user_attrs:
            played._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.1])
    n_trials = policy.shortened(limits, played.get_trials()).n_trials
    assert n_trials < 40
    played._storage.set_trial_state_values(late, TrialState.COMPLETE, [9.0])
    assert policy.shortened(limits, played.get_trials()).n_trials == n_trials
    for trial_id in [trial._trial_id for trial in played.get_trials() if not trial.state.is_finished()]:
        end(played, trial_id)
    while not policy.reached(limits, played.get_trials()):
        end(played, begin(played, policy, limits))
    assert len(played.get_trials()) == n_trials
    assert policy.reached(limits, played.get_trials()) == "--patience 5"


# --- other studies ----------------------------------------------------------------------------------------------------


def test_rounds_of_a_study_that_compares_nothing_are_of_its_finalists_and_the_baseline() -> None:
    trials = run(RECIPE, 30)
    later = [trial for trial in trials if trial.user_attrs.get("round", 0) > 0]
    names = list(dict.fromkeys(trial.user_attrs["level"] for trial in later))
    assert names[0] == "baseline"
    assert len(names) == 4
    for name in names[1:]:
        number = int(name.removeprefix("trial "))
        assert {tuple(trial.params.items()) for trial in later if trial.user_attrs["level"] == name} == {
            tuple(trials[number].params.items())
        }
    values = sorted((toy(trial.params) for trial in trials if "round" not in trial.user_attrs), reverse=True)
    assert max(toy(trial.params) for trial in later) >= values[2]


def test_every_factor_of_several_is_compared_with_the_baseline_alone() -> None:
    study = asking(augment=Subset("flip", "blur"), drop_rate=Float(0.0, 0.8))
    policy = Policy(study, 0)
    names = [arm.name for arm in policy.arms]
    assert names[:3] == ["baseline", "augment.flip = True", "augment.blur = True"]
    assert len(names) == 3 + 3  # four bins of the range
    params = policy.first_round.trainings[1].params
    assert (params["augment.flip"], params["augment.blur"], params["drop_rate"]) == (True, False, 0.0)
    trials = run(replace(study, sampler=Sampler("random")), 14)
    assert len(trials) == 14


def test_a_study_of_an_earlier_version_goes_on_with_rounds_if_there_is_room() -> None:
    played = optuna.create_study(direction="maximize")
    policy = Policy(FOUR, 0)
    for _ in range(20):
        end(played, begin(played, policy))
    old = optuna.create_study(direction="maximize")
    for trial in played.get_trials():  # without rounds
        trial.user_attrs = {"role": "baseline"} if trial.number == 0 else {}
        old.add_trial(trial)
    assert [trial.user_attrs.get("round") for trial in run(FOUR, 26, into=old)[20:]] == [None] * 6
    more = run(FOUR, 40, into=old)[26:]
    assert [trial.user_attrs.get("round") for trial in more] == [0] * 4 + [1] * 5 + [2] * 5


def test_a_copy_with_another_level_trains_what_its_first_round_lacks() -> None:
    played = optuna.create_study(direction="maximize")
    run(TWO, 2, into=played)
    wider, grown = optuna.create_study(direction="maximize"), Policy(FOUR, 0)
    for trial in played.get_trials():  # as storage.copying copies them
        facts = {"params": trial.params, "distributions": grown.distributions, "user_attrs": trial.user_attrs}
        wider.add_trial(create_trial(value=trial.value, **facts))
    assert [trial.params["drop_rate"] for trial in run(FOUR, 12, into=wider)[2:4]] == [0.2, 0.5]
    assert grown.rounds(wider.get_trials()).complete() == [0, 1]


def test_the_judges_of_a_round_are_the_next_that_can_judge() -> None:
    odd = Policy(FOUR, 0, can_judge=lambda number: number % 2 == 1)
    assert [odd._judges_of(number) for number in (1, 2, 3)] == [1, 3, 5]
    none = Policy(FOUR, 0, can_judge=lambda number: False)
    assert none._judges_of(2) == 0
    second = Policy(replace(FOUR, fixed={"judge_round": 2}), 0)
    assert [second._judges_of(number) for number in (1, 2)] == [1, 3]
    assert second.first_round.judges == 2


def test_no_training_of_a_round_is_ever_pruned() -> None:
    policy, played = Policy(FOUR, 0), optuna.create_study(direction="maximize")
    trial = played._storage.get_trial(begin(played, policy, StoppingCriteria(12)))
    assert policy.is_never_pruned(trial)
    assert LR.low <= trial.params["lr"] <= LR.high


# --- the plan of a study ----------------------------------------------------------------------------------------------


def check_plan(study: Study, n_trials: int, into: optuna.Study) -> tuple[int, int, int]:
    """What the plan says, which is what then happens: (round 0, search, rounds). A search that is still to come may be
    shorter, if its trials cost more than expected."""
    before = into.get_trials()
    found = Policy(study, 0).phases_within(StoppingCriteria(n_trials), before)
    slack = 0 if any(trial.user_attrs.get("round") for trial in before) else 5
    trials = run(study, n_trials, into=into)
    counted = Counter(min(trial.user_attrs.get("round", -1), 1) for trial in trials)
    told = (found.first, found.search, found.rounds)
    assert told[0] == counted[0]
    assert abs(told[1] - counted[-1]) <= slack
    assert sum(told) == n_trials
    return told


@pytest.mark.parametrize("study", [FOUR, TWO], ids=["four", "two"])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 20), (8, 50), (12, 15), (30, 33), (30, 60)])
def test_the_plan_of_a_study_that_goes_on_is_what_happens(study: Study, before: int, after: int) -> None:
    played = optuna.create_study(direction="maximize")
    check_plan(study, before, played)
    check_plan(study, after, played)


@pytest.mark.parametrize("n_trials", range(1, 12))
def test_the_plan_of_a_short_study_that_compares_nothing_is_what_happens(n_trials: int) -> None:
    """Of 4 trials two were once of a round that the plan had left out."""
    told = check_plan(RECIPE, n_trials, optuna.create_study(direction="maximize"))
    trials = run(RECIPE, n_trials)
    assert bool(told[2]) == any(trial.user_attrs.get("round") for trial in trials)


@pytest.mark.parametrize("study", [FOUR, TWO, RECIPE], ids=["four", "two", "none"])
def test_the_plan_of_a_new_study_is_the_phases(study: Study) -> None:
    policy = Policy(study, 0)
    for n_trials in range(1, 70):
        assert policy.phases_within(StoppingCriteria(n_trials)) == policy.phases(StoppingCriteria(n_trials))


def test_all_trials_that_are_added_to_a_study_with_rounds_are_planned_for_rounds() -> None:
    played = optuna.create_study(direction="maximize")
    assert check_plan(TWO, 8, played) == (2, 0, 6)
    assert check_plan(TWO, 50, played) == (2, 0, 48)
    decided = Policy(TWO, 0).phases_within(StoppingCriteria(60), played.get_trials(), ["drop_rate = 0.7"])
    assert (decided.first, decided.search, decided.rounds) == (2, 0, 48)


def test_the_plan_of_a_study_without_rounds_depends_on_the_room_that_is_left() -> None:
    old = optuna.create_study(direction="maximize")
    for trial in run(FOUR, 20):
        trial.user_attrs = {}
        old.add_trial(trial)
    policy, trials = Policy(FOUR, 0), old.get_trials()
    little, much = (policy.phases_within(StoppingCriteria(n_trials), trials) for n_trials in (26, 40))
    assert (little.first, little.search, little.rounds) == (0, 26, 0)
    assert (much.first, much.search, much.rounds) == (4, 20, 16)
    within = policy.phases_within(StoppingCriteria(40, max_epochs=1.0), trials)
    assert (within.first, within.search, within.rounds) == (0, 20, 0)
