"""What a worker proposes is drafted before its turn, and stands only where it may."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

import search.policy.policy
import search.storage.queue
from maskcls.system.lock import is_locked
from search.database.connect import load_study, open_storage
from search.database.study_lock import lock_of
from search.policy.draft import Draft, OutdatedDraftError
from search.policy.policy import ENDLESS, Policy
from search.policy.stopping import StoppingCriteria
from search.storage.outcomes import finish
from search.storage.queue import CROWD, next_trial
from tests.helpers.queue import MYSELF, taken
from tests.helpers.search import DROPOUT, play, toy

SAMPLED = 16
"""Trials after which the sampler proposes."""


def run_alone(study: optuna.Study, num_trials: int, limits: StoppingCriteria = ENDLESS) -> None:
    """So many trials more by one worker."""
    for _ in range(num_trials):
        trial = taken(study, limits)
        finish(study, trial, TrialState.COMPLETE, toy(trial.params))


def other_sees(study: optuna.Study, url: str, monkeypatch: pytest.MonkeyPatch, begin: int) -> list[Sequence[int]]:
    """From now on others begin ``begin`` trials between this worker's first draft and its turn; returns the entropy of
    every draft of this worker."""
    real, drafts, other = search.storage.queue._draft, list[Sequence[int]](), load_study(open_storage(url, False), "s")

    def draft(mine: optuna.Study, *words: Any, **options: Any) -> Draft | None:
        made = real(mine, *words, **options)
        if mine is study:
            drafts.append(() if made is None else made.entropy)
            for _ in range(begin if len(drafts) == 1 else 0):
                assert next_trial(other, Policy(DROPOUT, 0), ENDLESS, replace(MYSELF, machine="other")) is not None
        return made

    monkeypatch.setattr(search.storage.queue, "_draft", draft)
    return drafts


def test_one_worker_alone_proposes_what_it_would_have_proposed_without_drafts(study: optuna.Study) -> None:
    limits = StoppingCriteria(30)
    run_alone(study, 30, limits)
    trials = study.get_trials()
    for number, trial in enumerate(trials):
        proposal = Policy(DROPOUT, 0).propose(trials[:number], limits)
        assert trial.params == proposal.params
        assert {key: trial.user_attrs[key] for key in proposal.attributes} == proposal.attributes
    assert {trial.user_attrs.get("round") for trial in trials} >= {None, 0, 1}


def test_nobody_waits_for_a_sampler(study: optuna.Study, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_alone(study, SAMPLED)
    real, held = search.policy.policy.ask_sampler, []
    lock = lock_of(Path(str(open_storage(url, False).engine.url.database)))

    def ask(*words: Any) -> dict[str, Any]:
        held.append(is_locked(lock))
        return real(*words)

    monkeypatch.setattr(search.policy.policy, "ask_sampler", ask)
    taken(study)
    assert held == [False]


def test_a_draft_that_others_have_outdated_is_made_again(
    study: optuna.Study, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_alone(study, SAMPLED)
    drafts = other_sees(study, url, monkeypatch, begin=1)
    trial = taken(study)
    assert [len(entropy) for entropy in drafts] == [0, 1]
    others = [other.params for other in study.get_trials() if other.number != trial.number]
    assert trial.params not in others
    assert trial.number == SAMPLED + 1


@pytest.mark.parametrize(("running", "drafts_made"), [(CROWD - 1, [0, 1]), (CROWD, [1])])
def test_in_a_crowd_the_first_draft_has_numbers_of_the_worker_own(
    study: optuna.Study, url: str, monkeypatch: pytest.MonkeyPatch, running: int, drafts_made: list[int]
) -> None:
    run_alone(study, SAMPLED)
    for _ in range(running):
        taken(study)
    drafts = other_sees(study, url, monkeypatch, begin=1)
    trial = taken(study)
    assert [len(entropy) for entropy in drafts] == drafts_made
    assert trial.params not in [other.params for other in study.get_trials() if other.number != trial.number]


def test_with_few_trials_running_the_proposals_are_those_of_the_seed(study: optuna.Study) -> None:
    run_alone(study, SAMPLED)
    for number in range(SAMPLED, SAMPLED + CROWD):
        before = study.get_trials()
        assert taken(study).params == Policy(DROPOUT, 0).propose(before, ENDLESS).params, number


def test_the_levels_are_dealt_by_the_trials_that_there_are_in_the_turn(
    study: optuna.Study, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_alone(study, SAMPLED)
    other_sees(study, url, monkeypatch, begin=2)
    taken(study)
    levels = [trial.params["drop_rate"] for trial in study.get_trials() if "round" not in trial.user_attrs]
    counts = [levels.count(level) for level in (0.0, 0.5, 0.7)]
    assert max(counts) - min(counts) <= 1


def test_no_training_of_a_round_is_dealt_twice_and_the_total_stays_exact(
    study: optuna.Study, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = other_sees(study, url, monkeypatch, begin=2)
    taken(study, StoppingCriteria(3))
    assert [trial.user_attrs["place"] for trial in study.get_trials()] == [0, 1, 2]
    assert len(drafts) == 1  # what is owed need not be drafted
    drafts.clear()
    assert next_trial(study, Policy(DROPOUT, 0), StoppingCriteria(3), MYSELF) is None


def test_whoever_is_outdated_again_and_again_proposes_in_its_turn(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_alone(study, SAMPLED)

    def outdate(self: Draft, *_: Any) -> None:
        if self.is_finished:
            raise OutdatedDraftError

    monkeypatch.setattr(Draft, "check_is_new", outdate)
    before = [trial.number for trial in study.get_trials()]
    assert taken(study).number == len(before)


def test_a_draft_with_its_own_entropy_stands_unless_another_has_drawn_the_same() -> None:
    trials: list[FrozenTrial] = play(DROPOUT, SAMPLED, toy).get_trials()
    policy = Policy(DROPOUT, 0)
    draft, same = Draft(trials, (1,)), Draft(trials)
    proposed, usual = policy.propose(trials, draft=draft), policy.propose(trials, draft=same)
    assert proposed.params != usual.params
    draft.is_finished = same.is_finished = True
    more = play(DROPOUT, SAMPLED + 1, toy).get_trials()
    assert more[-1].params == usual.params
    assert policy.propose(more, draft=draft).params["lr"] == proposed.params["lr"]
    with pytest.raises(OutdatedDraftError):
        policy.propose(more, draft=same)
    more[-1].params = dict(proposed.params)
    with pytest.raises(OutdatedDraftError):
        policy.propose(more, draft=draft)


def test_no_library_is_loaded_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    trials: list[FrozenTrial] = play(DROPOUT, 6, toy).get_trials()
    policy, draft = Policy(DROPOUT, 0), Draft(trials)
    assert "role" not in policy.propose(trials, draft=draft).attributes  # a point that fills the space
    draft.is_finished = True
    policy.propose(trials, draft=draft)
    monkeypatch.delitem(sys.modules, "scipy.stats")
    with pytest.raises(OutdatedDraftError):
        policy.propose(trials, draft=draft)
