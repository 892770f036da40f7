"""Trials handed out to workers; no training."""

import time
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

import search.storage.queue
from maskcls.system.errors import UserError
from search.database.connect import open_storage
from search.database.study_lock import exclusive
from search.policy.draft import Draft
from search.policy.stopping import StoppingCriteria, count_finished, epochs_spent, trials_since_best
from search.storage.failures import CRASH, OUT_OF_MEMORY
from search.storage.outcomes import fail_trial, finish
from search.study.attributes import IN_VAIN, MOVED_TO, REPLICATE, ROLE, WORKER
from tests.helpers.queue import MYSELF, complete, start, states, take, taken
from tests.helpers.search import DROPOUT

WORKER_OF_MANY = """
import random, sys, time
from optuna.trial import TrialState
from tests.helpers.search import DROPOUT
from search.storage.failures import CRASH
from search.policy.stopping import StoppingCriteria, reached
from search.policy.policy import Policy
from search.system.processes import describe_myself
from search.database.connect import load_study, open_storage
from search.storage.outcomes import fail_trial, finish
from search.storage.queue import next_trial
study = load_study(open_storage(sys.argv[1], create=False), "s")
policy, limits, me = Policy(DROPOUT, 0), StoppingCriteria(12), describe_myself("cpu.0")
while not reached(limits, study.get_trials(deepcopy=False), 1):
    trial = next_trial(study, policy, limits, me)
    if trial is None:
        time.sleep(0.05)
    elif random.random() < 0.2:
        fail_trial(study, trial, CRASH, "cursed", me)
    else:
        finish(study, trial, TrialState.COMPLETE, 0.5)
"""


def test_a_new_trial_is_stored_whole_with_the_name_of_who_runs_it(study: optuna.Study) -> None:
    trial = taken(study)
    (stored,) = study.get_trials()
    assert stored.state == TrialState.RUNNING
    assert stored.params == DROPOUT.baseline == trial.params
    of_round = {"role": "round", "round": 0, "place": 0, "level": "drop_rate = 0.0", "judge_round": 0}
    assert stored.user_attrs == {**of_round, WORKER: MYSELF.to_json()}


def test_no_worker_takes_a_trial_of_a_study_that_was_copied_to_another_database(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_trial(study, taken(study), CRASH, "once", MYSELF)
    real = search.storage.queue._draft

    def copied_meanwhile(*arguments: Any, **options: Any) -> Draft | None:
        draft = real(*arguments, **options)
        study.set_user_attr(MOVED_TO, {"storage": "postgresql://host/db", "name": "s"})
        return draft

    with monkeypatch.context() as patch:
        patch.setattr(search.storage.queue, "_draft", copied_meanwhile)
        with pytest.raises(UserError, match="was copied to postgresql://host/db as 's' and continues there"):
            take(study)
    assert states(study) == ["WAITING"]
    with pytest.raises(UserError, match="continues there"):  # also where nothing is left to take
        take(study, StoppingCriteria(0))


def test_no_more_trials_begin_than_there_are_places(study: optuna.Study) -> None:
    limits = StoppingCriteria(3)
    one, two = taken(study, limits), taken(study, limits)
    finish(study, one, TrialState.COMPLETE, 0.5)
    three = taken(study, limits)
    assert take(study, limits) is None
    assert fail_trial(study, two, OUT_OF_MEMORY, "no more", MYSELF) == TrialState.FAIL
    four = taken(study, limits)  # the failed one's place
    for trial in (three, four):
        finish(study, trial, TrialState.PRUNED, 0.1)
    assert take(study, limits) is None
    assert count_finished(study.get_trials()) == 3


def test_four_workers_end_with_exactly_as_many_trials_as_asked_for(study: optuna.Study, url: str) -> None:
    workers = [start(WORKER_OF_MANY, url) for _ in range(4)]
    assert [worker.wait(timeout=120) for worker in workers] == [0] * 4
    assert count_finished(study.get_trials()) == 12
    assert not {"RUNNING", "WAITING"} & set(states(study))
    done = [trial.user_attrs for trial in study.get_trials() if trial.state == TrialState.COMPLETE]
    dealt = [(facts["round"], facts["place"]) for facts in done if "round" in facts]
    assert len(dealt) == len(set(dealt)) >= 10  # each training of a round once, whoever crashed
    assert sum("round_plan" in facts for facts in done) == len({number for number, _ in dealt} - {0})


def test_what_somebody_enqueued_is_run_with_the_missing_parameters_filled_in(study: optuna.Study) -> None:
    study.enqueue_trial({"lr": 0.05, "drop_rate": 0.31})  # .31 is no level
    trial = taken(study)
    assert trial.params["lr"] == 0.05
    assert trial.params["drop_rate"] in (0.0, 0.5, 0.7)
    assert 1e-4 <= trial.params["weight_decay"] <= 1
    assert trial.user_attrs[IN_VAIN] == "drop_rate=0.31 not within 0.0 | 0.5 | 0.7"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"lr": 99.0}, "lr=99.0 not within "),
        ({"lr": "0.05"}, None),
        ({"lr": "much"}, "lr='much' not within "),
        ({"lr": [1]}, "lr=[1] not within "),
        ({"learning_rate": 0.05}, "learning_rate=0.05: no such parameter"),
    ],
)
def test_what_is_enqueued_and_cannot_be_had_is_said(
    asked: dict[str, Any], said: str | None, study: optuna.Study
) -> None:
    study.enqueue_trial(asked)
    trial = taken(study)
    assert 0 < trial.params["lr"] < 99
    if said is None:
        assert IN_VAIN not in trial.user_attrs
    else:
        assert trial.user_attrs[IN_VAIN].startswith(said)


def test_a_waiting_trial_with_parameters_that_cannot_be_had_ends_and_says_so(study: optuna.Study) -> None:
    wide = FloatDistribution(1e-6, 99, log=True)
    study.add_trial(create_trial(state=TrialState.WAITING, params={"lr": 50.0}, distributions={"lr": wide}))
    assert taken(study).number == 1
    first = study.get_trials()[0]
    assert first.state == TrialState.FAIL
    assert "lr=50.0 not within" in first.user_attrs["failures"][0]["error"]


def test_a_crashed_trial_waits_until_the_others_have_had_their_turn(study: optuna.Study) -> None:
    limits = StoppingCriteria(3)
    assert fail_trial(study, taken(study, limits), CRASH, "cursed", MYSELF) == TrialState.WAITING
    order = []
    for _ in range(3):
        trial = taken(study, limits)
        order.append(trial.number)
        finish(study, trial, TrialState.COMPLETE, 0.5)
    assert order == [1, 2, 0]


def test_epochs_are_counted_over_all_trials_and_limit_new_ones(study: optuna.Study) -> None:
    complete(study, evaluations=4)
    interrupted = taken(study)
    interrupted.report(0.5, 1)
    assert epochs_spent(study.get_trials(), 2) == 2.5
    assert take(study, StoppingCriteria(100, max_epochs=2.5)) is None
    assert take(study, StoppingCriteria(100, max_epochs=2.6)) is not None


def test_patience_counts_trials_since_the_last_better_best() -> None:
    def ended(values: Sequence[float]) -> list[FrozenTrial]:
        found = []
        for number, value in enumerate(values):
            trial = optuna.trial.create_trial(
                value=value,
                params={"lr": number / 100},
                distributions={"lr": optuna.distributions.FloatDistribution(0, 1)},
            )
            trial.number = number
            found.append(trial)
        return found

    assert trials_since_best(ended([0.1, 0.5, 0.4, 0.3])) == 2
    assert trials_since_best(ended([0.1, 0.5, 0.4, 0.51])) == 0
    again = ended([0.1, 0.5, 0.4, 0.51, 0.3])
    again[4].params = again[0].params  # .1 and .3: a noise of .14
    assert trials_since_best(again) == 1  # the same setting with the same seed says nothing of noise
    again[4].set_user_attr("seed", 1)
    assert trials_since_best(again) == 3


def test_only_one_at_a_time_decides_about_a_study(study: optuna.Study, url: str) -> None:
    script = (
        "import sys\nfrom search.database.connect import *\nfrom search.database.study_lock import exclusive\n"
        "with exclusive(open_storage(sys.argv[1], False), 's'): print('in')"
    )
    with exclusive(open_storage(url, create=False), "s"):
        pass
    holder = start(script + "; sys.stdout.flush(); import time; time.sleep(100)", url)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    other = start(script, url)
    time.sleep(1)
    assert other.poll() is None
    holder.kill()
    assert other.wait(timeout=30) == 0
    holder.wait()


def test_replicates_are_no_news_for_patience() -> None:
    assert trials_since_best([create_trial(value=0.5, user_attrs={ROLE: REPLICATE}) for _ in range(2)]) == 0
