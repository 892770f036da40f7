"""A team beside the best single model, repeat by repeat: on predictions that nobody trained."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from sklearn.metrics import f1_score

import search.delete
import search.status
from maskcls.scoring.predictions import Predictions
from maskcls.system.errors import UserError
from search.answer.confirmation import read_confirmation
from search.database.connect import create_study, default_url, load_study, open_storage
from search.findings.confirmation import team_sentence
from search.policy.confirmation import SINGLE, TEAM, Plan
from search.storage.looks import read_looks
from search.storage.pairs import confirmation_of
from search.storage.retention import trial_folder
from search.study.attributes import LOOKS
from search.study.record import KEY
from search.team.repeats import is_team_decided, outcome_of_team
from search.terminal.confirmation import show_confirmation_summary
from tests.helpers.confirmation import PEOPLE, confirming, judged, stored_as, train
from tests.helpers.search import TOY_STUDY
from tests.helpers.training import one_line, run

ALIKE = {"trial 0": 0.6, "trial 1": 0.6, "trial 2": 0.6}
"""As good alone, and wrong about different photos: together they are better."""


def test_a_planted_gain_is_found_and_is_that_of_the_mean_of_the_probabilities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (1, 3, 2)
    made, stored = judged(tmp_path, ALIKE, repeats=3, weights=weights)
    outcome = outcome_of_team(made, stored, tmp_path)
    assert outcome is not None
    expected = []
    for repeat in range(3):
        folders = [trial_folder(tmp_path / "toy-confirm-team", 3 * repeat + index) for index in range(3)]
        said = [Predictions.load(folder / "valid.npz") for folder in folders]
        mean_NK = np.average([np.exp(each.log_prob_NK.astype(float)) for each in said], axis=0, weights=weights)
        truth_N = said[0].label_N
        expected.append(f1_score(truth_N, mean_NK.argmax(1), labels=range(18), average="macro", zero_division=0))
    assert outcome.scores(TEAM) == pytest.approx(expected)
    singles = [trial.value for trial in made.get_trials() if trial.user_attrs["finalist"] == 0]
    assert outcome.scores(SINGLE) == pytest.approx(singles)
    assert outcome.judges == 3 * PEOPLE
    gain = outcome.look.levels[TEAM]
    assert gain.verdict == "better"
    assert gain.value == pytest.approx(fmean(expected) - fmean(singles))
    assert 0 < gain.low < gain.value < gain.high
    show_confirmation_summary(made, stored, tmp_path, None)
    told = capsys.readouterr().out
    assert "Confirmation of a team of toy: 3 of 3 repeats, 120 judges" in told
    assert f"Better: over 3 repeats, the team scores {gain.value:.3f} above trial 0 (95 % interval +" in told
    assert "120 people judged, none of whom had chosen the team or trial 0; a difference of 0." in told


def test_a_single_model_that_is_no_member_has_no_say_in_the_team(tmp_path: Path) -> None:
    skill = {"trial 0": 0.9, "trial 1": 0.5}
    made, stored = judged(tmp_path, skill, repeats=2, weights=(0, 1))
    outcome = outcome_of_team(made, stored, tmp_path)
    assert outcome is not None
    alone = [trial.value for trial in made.get_trials() if trial.user_attrs["finalist"] == 1]
    assert outcome.scores(TEAM) == pytest.approx(alone)
    assert outcome.look.levels[TEAM].verdict == "worse"


def test_a_team_that_predicts_as_the_single_model_gains_nothing(tmp_path: Path) -> None:
    outcome = outcome_of_team(*judged(tmp_path, ALIKE, repeats=3, weights=(50, 1, 1)), tmp_path)
    assert outcome is not None
    gain = outcome.look.levels[TEAM]
    assert gain.value == pytest.approx(0, abs=1e-12)
    assert gain.verdict == "open"  # three repeats are too few to exclude a gain of .05
    assert outcome.scores(TEAM) == outcome.scores(SINGLE)


def test_whoever_looks_again_spends_nothing_and_more_repeats_are_looked_at(tmp_path: Path) -> None:
    skill = {"trial 0": 0.6, "trial 1": 0.62}
    made, stored = judged(tmp_path, skill, repeats=4, weights=(0, 1), done=2)
    first = outcome_of_team(made, stored, tmp_path)
    again = outcome_of_team(made, stored, tmp_path)
    assert first is not None
    assert again is not None
    assert first.look == again.look == read_looks(made)[0]
    assert (first.look.share, first.look.horizon, first.look.trainings) == (0.5, 4.0, 4)
    assert not is_team_decided(made)
    train(made, stored, tmp_path, skill, (3, 4))
    last = outcome_of_team(made, stored, tmp_path)
    assert last is not None
    assert read_looks(made) == [first.look, last.look]
    assert (last.look.share, last.look.round, last.look.trainings) == (1.0, 4, 8)
    assert last.look.levels[TEAM].critical < first.look.levels[TEAM].critical  # little of the error rate early
    made.set_user_attr(LOOKS, [])
    only = outcome_of_team(made, stored, tmp_path)
    assert only is not None
    assert only.look.levels[TEAM].error == last.look.levels[TEAM].error
    assert only.look.levels[TEAM].critical < last.look.levels[TEAM].critical  # which had to leave some to the first


def test_what_is_decided_stays_so(tmp_path: Path) -> None:
    made, stored = judged(tmp_path, {"trial 0": 0.3, "trial 1": 0.9}, repeats=6, weights=(0, 1), done=4)
    first = outcome_of_team(made, stored, tmp_path)
    assert first is not None
    assert is_team_decided(made)
    train(made, stored, tmp_path, {"trial 0": 0.9, "trial 1": 0.3}, (5, 6))
    later = outcome_of_team(made, stored, tmp_path)
    assert later is not None
    assert later.look == first.look
    assert len(read_looks(made)) == 1


def test_only_whole_repeats_count_and_one_is_not_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, stored = judged(tmp_path, ALIKE, repeats=3, weights=(1, 1, 1), done=1)
    assert outcome_of_team(made, stored, tmp_path) is None
    show_confirmation_summary(made, stored, tmp_path, None)
    assert "No verdict yet: it needs 2 repeats that every model has finished." in capsys.readouterr().out
    assert team_sentence(made, stored) is None
    train(made, stored, tmp_path, {"trial 0": 0.6, "trial 1": 0.6}, (2,))  # its third model is not done yet
    assert outcome_of_team(made, stored, tmp_path) is None
    train(made, stored, tmp_path, ALIKE, (3,))
    outcome = outcome_of_team(made, stored, tmp_path)
    assert outcome is not None
    assert (outcome.look.trainings, outcome.look.round, outcome.look.share) == (4, 3, pytest.approx(2 / 3))


def test_a_member_that_diverged_or_has_no_predictions_here_leaves_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    whole = judged(tmp_path / "other", ALIKE, repeats=2, weights=(1, 1, 1))
    made, stored = judged(tmp_path, ALIKE, repeats=3, weights=(1, 1, 1), skip=[(2, 1)])
    with pytest.raises(UserError) as caught:
        outcome_of_team(made, stored, tmp_path)
    assert "trial 1 diverged in repeat 2, so nothing can be said of a team with it" in one_line(caught.value)
    show_confirmation_summary(made, stored, tmp_path, None)
    assert "No verdict: trial 1 diverged in repeat 2" in capsys.readouterr().out
    show_confirmation_summary(*whole, tmp_path / "elsewhere", None)
    assert "No verdict: The stored predictions of trial 0 (valid.npz) are not in" in capsys.readouterr().out


def test_judges_of_different_photos_are_told(tmp_path: Path) -> None:
    made, stored = judged(tmp_path, ALIKE, repeats=2, weights=(1, 1, 1))
    path = trial_folder(tmp_path / "toy-confirm-team", 4) / "valid.npz"
    said = Predictions.load(path)
    replace(said, path_N=said.path_N[::-1]).save(path)
    with pytest.raises(UserError) as caught:
        outcome_of_team(made, stored, tmp_path)
    assert "Trials 3 and 4 of one repeat were judged on different photos." in one_line(caught.value)


def test_a_plan_without_a_team_is_stored_as_before() -> None:
    plain, team = (Plan.of_document(confirming(weights=weights)) for weights in ((), (0, 2, 1)))
    assert "weights" not in plain.to_json()
    assert (plain.is_team, plain.suffix) == (False, "-confirm")
    assert team.to_json()["weights"] == [0, 2, 1]
    assert (team.is_team, team.suffix, team.weights) == (True, "-confirm-team", (0, 2, 1))


def both(runs: Path) -> None:
    """A study with a confirmation of either kind, each with its outcome."""
    for weights in ((), (1, 1, 1)):
        show_confirmation_summary(*judged(runs, ALIKE, repeats=3, weights=weights), runs, None)


def test_status_calls_it_by_its_name_with_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both(tmp_path)

    def status(*words: str) -> str:
        capsys.readouterr()
        assert run(search.status.main, "--runs", tmp_path, *words) == 0
        return capsys.readouterr().out

    listed = status()
    assert "Confirmation of a team of toy: Does dropout help?" in listed
    assert "Confirmation of toy: Does dropout help?" in listed
    shown = status("--study", "toy-confirm-team")
    assert "answer      Better: over 3 repeats, the team scores 0." in shown
    assert "9 complete" in shown
    assert "incumbent" not in shown
    assert "the team" not in status("--study", "toy")  # whose question it does not answer
    notes = load_study(open_storage(default_url(tmp_path), create=False), "toy-confirm-team")
    assert "Confirmation of a team of toy" in str(notes._storage.get_study_system_attrs(notes._study_id))


def test_the_two_confirmations_of_a_study_are_told_apart_and_deleted_each_or_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both(tmp_path)
    storage = open_storage(default_url(tmp_path), create=False)
    toy = load_study(storage, "toy")
    plain, team = confirmation_of(toy), confirmation_of(toy, team=True)
    assert plain is not None
    assert team is not None
    assert (plain.study_name, team.study_name) == ("toy-confirm", "toy-confirm-team")
    create_study(storage, "other", {KEY: stored_as(TOY_STUDY).to_json()})
    renamed = confirming(weights=(1, 1, 1))
    plan = {**(renamed.confirmation or {}), "of": "other"}
    create_study(storage, "other-confirm", {KEY: replace(renamed, confirmation=plan).to_json()})
    assert confirmation_of(load_study(storage, "other")) is None  # it is a team's, as somebody has called it
    outcome = read_confirmation(toy)
    assert outcome is not None
    assert run(search.delete.main, "--study", "toy-confirm-team", "--runs", tmp_path, "--yes") == 0
    assert read_confirmation(load_study(storage, "toy")) == outcome  # it is the other one's
    judged(tmp_path, ALIKE, repeats=2, weights=(1, 1, 1))
    capsys.readouterr()
    assert run(search.delete.main, "--study", "toy", "--runs", tmp_path, "--yes") == 0
    told = capsys.readouterr().out
    assert "Study toy-confirm-team is deleted.\nStudy toy-confirm is deleted.\nStudy toy is deleted.\n" in told
