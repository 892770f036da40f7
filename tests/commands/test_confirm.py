"""search.confirm: who is trained again, in which order, and what comes of it; its trials here are not trained."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

import search.confirm
import search.delete
import search.export
import search.run
import search.status
from maskcls.config import change
from maskcls.data.dataset import Table, with_judges
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from search.answer.confirmation import outcome_of, read_confirmation
from search.database.connect import create_study, default_url, has_study, load_study, open_storage
from search.findings.confirmation import confirmed_sentences
from search.policy import warm_starts
from search.policy.confirmation import ConfirmationPolicy, Plan, policy_of, training_of
from search.policy.finalists import choose_finalists
from search.storage.folder import claim
from search.storage.pairs import search_of
from search.study.attributes import WORKER
from search.study.record import KEY, Stored, read_stored
from search.study.space import distributions, params_of
from search.study.study import Choice, Float, Study, Subset
from search.system.processes import describe_myself
from search.terminal.confirmation import show_confirmation_summary
from search.worker.create_confirmation import check_repeats, find_confirmation, make_document, store_confirmation
from tests.helpers.confirmation import PEOPLE, confirming, judged, past, stored_as
from tests.helpers.search import TOY_STUDY, asking, complain
from tests.helpers.training import one_line, run

DROPOUT = asking(drop_rate=Choice(0.0, 0.5, 0.7))
"""Baseline: drop_rate 0, lr 1e-4, weight decay .1."""

C, P, X, R = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING


def chosen(study: Study, made: optuna.Study, top: int) -> dict[str, tuple[int, ...]]:
    """The finalists and their trials."""
    return {found.name: found.trials for found in choose_finalists(made.get_trials(), stored_as(study), top, "toy")}


def test_the_best_setting_of_each_level_goes_first_then_the_next_best() -> None:
    made = past(
        DROPOUT,
        ({}, 0.5),
        ({"drop_rate": 0.5, "lr": 2e-4}, 0.4),
        ({"drop_rate": 0.5, "lr": 3e-4}, 0.45),
        ({"drop_rate": 0.7}, 0.6),
        ({"drop_rate": 0.7, "lr": 2e-4}, 0.59),
        ({"lr": 2e-4}, 0.3),
    )
    expected = {"baseline": (0,), "drop_rate = 0.7": (3,), "drop_rate = 0.5": (2,)}
    assert chosen(DROPOUT, made, 2) == expected  # the baseline is its level's best, and takes no place
    assert list(chosen(DROPOUT, made, 2)) == ["baseline", "drop_rate = 0.7", "drop_rate = 0.5"]
    assert chosen(DROPOUT, made, 1) == {"baseline": (0,), "drop_rate = 0.7": (3,)}
    assert list(chosen(DROPOUT, made, 3)) == [
        "baseline",
        "drop_rate = 0.7 (trial 3)",
        "drop_rate = 0.5",
        "drop_rate = 0.7 (trial 4)",
    ]
    assert len(chosen(DROPOUT, made, 9)) == 6


def test_a_setting_counts_by_the_mean_of_its_complete_runs() -> None:
    made = past(DROPOUT, ({}, 0.5), ({"drop_rate": 0.5}, 0.9), ({"drop_rate": 0.5}, 0.1), ({"drop_rate": 0.7}, 0.6))
    past(DROPOUT, ({"drop_rate": 0.5, "lr": 2e-4}, 0.95), state=P, into=made)
    past(DROPOUT, ({}, 0.4), into=made)
    assert chosen(DROPOUT, made, 9) == {"baseline": (0, 5), "drop_rate = 0.7": (3,), "drop_rate = 0.5": (1, 2)}


def test_one_of_the_baselines_level_that_is_better_is_told_from_it() -> None:
    made = past(DROPOUT, ({}, 0.5), ({"lr": 2e-4}, 0.6))
    assert chosen(DROPOUT, made, 3) == {"baseline": (0,), "drop_rate = 0.0 (trial 1)": (1,)}


def test_without_scientific_knobs_the_best_settings_are_called_by_their_trials() -> None:
    study = asking()
    made = past(study, ({}, 0.5), ({"lr": 2e-4}, 0.3), ({"lr": 3e-4}, 0.7), ({"lr": 4e-4}, 0.6))
    assert list(chosen(study, made, 2)) == ["baseline", "trial 2", "trial 3"]


def test_levels_of_several_factors_are_combinations_with_names_for_people() -> None:
    study = asking(augment=Subset("flip", "cutmix"), warmup_share=Float(0.0, 0.8))
    made = past(
        study,
        ({}, 0.1),
        ({"augment": ("flip",)}, 0.2),
        ({"augment": ("flip", "cutmix"), "warmup_share": 0.5}, 0.4),
        ({"augment": ("flip", "cutmix"), "warmup_share": 0.55}, 0.3),
    )
    assert list(chosen(study, made, 2)) == [
        "baseline",
        "augment = flip+cutmix, warmup_share from 0.4 to 0.6",
        "augment = flip, warmup_share from 0 to 0.2",
    ]


@pytest.mark.parametrize("runs", [[], [({}, 0.5)]])
def test_nothing_but_the_baseline_is_refused(runs: Sequence[tuple[dict[str, Any], float]]) -> None:
    with pytest.raises(UserError) as caught:
        chosen(DROPOUT, past(DROPOUT, *runs), 3)
    assert "nothing to confirm" in one_line(caught.value)


def propose(policy: ConfirmationPolicy, made: list[FrozenTrial], state: TrialState = C) -> FrozenTrial:
    proposal = policy.propose(made)
    trial = create_trial(
        state=state,
        value=0.5 if state == C else None,
        params=proposal.params,
        distributions=policy.distributions,
        user_attrs=proposal.attributes,
    )
    trial.number = len(made)
    made.append(trial)
    return trial


def test_every_finalist_is_trained_once_a_repeat() -> None:
    policy = policy_of(confirming())
    assert isinstance(policy, ConfirmationPolicy)
    made: list[FrozenTrial] = []
    for _ in range(9):
        propose(policy, made)
    assert [training_of(trial) for trial in made] == [(repeat, index) for repeat in (1, 2, 3) for index in (0, 1, 2)]
    assert [trial.params["lr"] for trial in made] == pytest.approx([0.01, 0.02, 0.03] * 3)
    assert len({trial.user_attrs["seed"] for trial in made}) == 9
    again: list[FrozenTrial] = []
    for _ in range(12):  # whoever asks for more repeats gets these and others after them
        propose(ConfirmationPolicy(confirming(repeats=9)), again)
    assert [trial.user_attrs for trial in again[:9]] == [trial.user_attrs for trial in made]
    assert training_of(again[11]) == (4, 2)


def test_a_training_that_failed_for_good_is_done_again_and_one_that_diverged_is_not() -> None:
    policy, made = ConfirmationPolicy(confirming()), list[FrozenTrial]()
    for state in (C, X, P, R):
        propose(policy, made, state)
    assert [training_of(trial) for trial in made] == [(1, 0), (1, 1), (1, 1), (1, 2)]
    assert made[1].user_attrs["seed"] == made[2].user_attrs["seed"]


def test_nothing_stops_a_training_early() -> None:
    policy = ConfirmationPolicy(confirming())
    assert policy.should_continue(optuna.create_study(), propose(policy, []), 4)
    assert not any(policy.may_stop_at(step, 4) for step in range(1, 5))


def test_a_planted_difference_is_confirmed_and_comes_back_from_the_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, stored = judged(tmp_path, {"baseline": 0.5, "good": 0.8, "alike": 0.5}, repeats=4)
    outcome = outcome_of(made, stored, tmp_path)
    assert outcome is not None
    baseline, good, alike = outcome.finalists
    assert (outcome.study, outcome.winner, outcome.repeats, outcome.planned) == ("toy-confirm", 1, 4, 4)
    assert outcome.judges == 4 * PEOPLE
    assert baseline.against is None
    assert good.against is not None
    assert alike.against is not None
    assert good.against.verdict == "better"
    assert good.against.value == pytest.approx(fmean(good.scores) - fmean(baseline.scores))
    assert good.against.low < good.against.value < good.against.high
    assert alike.against.verdict == "not distinguishable"
    assert good.scores == tuple(trial.value for trial in made.get_trials() if trial.user_attrs["finalist"] == 1)
    first, second = confirmed_sentences(outcome, MASK_TASK.unit)
    assert first.startswith("Better: over 4 fresh trainings each, good scores 0.")
    assert "160 people judged, none of whom had chosen a finalist" in second
    show_confirmation_summary(made, stored, tmp_path, None)
    told = capsys.readouterr().out
    assert f"{first}\n{second}\ngood has the best mean: search.export writes it." in told
    search_ = load_study(open_storage(default_url(tmp_path), create=False), "toy")
    assert read_confirmation(search_) == outcome
    notes = json.dumps(search_._storage.get_study_system_attrs(search_._study_id))
    assert "Better: over 4 fresh trainings each, good scores" in notes


def test_equal_ones_are_not_told_apart_and_it_says_what_would_have_been_found(tmp_path: Path) -> None:
    outcome = outcome_of(*judged(tmp_path, {"baseline": 0.5, "alike": 0.5}, repeats=3), tmp_path)
    assert outcome is not None
    against = outcome.finalists[1].against
    assert against is not None
    first, second = confirmed_sentences(outcome, MASK_TASK.unit)
    assert first.startswith("Not distinguishable: over 3 fresh trainings each, alike scores")
    assert f"a difference of {against.minimum_detectable_effect:.3f} would be found four times in five" in second


def test_a_baseline_that_leads_is_not_beaten(tmp_path: Path) -> None:
    outcome = outcome_of(*judged(tmp_path, {"baseline": 0.9, "poor": 0.3}, repeats=3), tmp_path)
    assert outcome is not None
    assert outcome.winner == 0
    assert outcome.finalists[1].against is not None
    assert outcome.finalists[1].against.verdict == "worse"
    assert confirmed_sentences(outcome, MASK_TASK.unit)[0].startswith("Worse: over 3 fresh trainings each, poor scores")


def test_a_single_task_is_judged_on_its_own_classes(tmp_path: Path) -> None:
    made, stored = judged(tmp_path, {"baseline": 0.4, "good": 0.9}, repeats=4, task="mask")
    outcome = outcome_of(made, stored, tmp_path)
    assert outcome is not None
    assert outcome.finalists[1].against is not None
    assert outcome.finalists[1].against.verdict == "better"
    assert outcome.finalists[0].scores[0] == pytest.approx(made.get_trials()[0].value)


def test_only_whole_repeats_count_and_one_is_not_enough(tmp_path: Path) -> None:
    made, stored = judged(tmp_path, {"baseline": 0.5, "good": 0.8}, repeats=3)
    trials = made.get_trials()
    first, two = optuna.create_study(study_name="toy-confirm"), optuna.create_study(study_name="toy-confirm")
    first.add_trials(trials[:3])
    two.add_trials([*trials[:2], replace_state(trials[2]), *trials[3:]])
    assert outcome_of(first, stored, tmp_path) is None
    outcome = outcome_of(two, stored, tmp_path)
    assert outcome is not None
    assert (outcome.repeats, outcome.planned, outcome.judges) == (2, 3, 2 * PEOPLE)


def replace_state(trial: FrozenTrial) -> FrozenTrial:
    trial.state, trial.values, trial.datetime_complete = TrialState.WAITING, None, None
    return trial


def test_a_finalist_that_diverged_is_judged_no_further(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, stored = judged(tmp_path, {"baseline": 0.5, "wild": 0.9, "good": 0.7}, repeats=3, skip=[(2, 1)])
    outcome = outcome_of(made, stored, tmp_path)
    assert outcome is not None
    assert (outcome.repeats, outcome.winner) == (3, 2)
    assert outcome.finalists[1].diverged == (2,)
    assert outcome.finalists[1].against is None
    show_confirmation_summary(made, stored, tmp_path, None)
    assert "diverged in repeat 2" in capsys.readouterr().out


def test_without_a_baseline_there_is_no_verdict(tmp_path: Path) -> None:
    outcome = outcome_of(*judged(tmp_path, {"baseline": 0.5, "good": 0.7}, repeats=2, skip=[(1, 0)]), tmp_path)
    assert outcome is not None
    assert "No verdict: " in confirmed_sentences(outcome, MASK_TASK.unit)[0]
    assert "trainings of the baseline diverged" in confirmed_sentences(outcome, MASK_TASK.unit)[0]


def test_predictions_that_are_elsewhere_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, stored = judged(tmp_path, {"baseline": 0.5, "good": 0.7}, repeats=2)
    show_confirmation_summary(made, stored, tmp_path / "elsewhere", None)
    assert "No verdict: The stored predictions of trial 0 (valid.npz) are not in" in capsys.readouterr().out


def test_export_prefers_the_confirmed_winner_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skill = {"baseline": 0.4, "good": 0.9, "flattered": 0.5}  # the last one is the search's best trial
    show_confirmation_summary(*judged(tmp_path, skill, repeats=3), tmp_path, None)

    def export(*words: object) -> str:
        capsys.readouterr()
        assert run(search.export.main, "--study", "toy", "-o", tmp_path / "it.toml", "--runs", tmp_path, *words) == 0
        return capsys.readouterr().out

    told = export()
    assert "trial 1 of toy" in told
    assert "good, the best of the finalists over 3 repeats of toy-confirm: mean F1 0." in told
    assert "better than the baseline" in told
    assert "confirmed_mean = 0." in (tmp_path / "it.toml").read_text()
    told = export("--trial", 2)
    assert "trial 2 of toy" in told
    assert "confirmed" not in told
    assert "confirmed" not in (tmp_path / "it.toml").read_text()


def test_status_lists_it_and_shows_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_confirmation_summary(*judged(tmp_path, {"baseline": 0.4, "good": 0.9}, repeats=4), tmp_path, None)

    def status(*words: str) -> str:
        capsys.readouterr()
        assert run(search.status.main, "--runs", tmp_path, *words) == 0
        return capsys.readouterr().out

    assert f"Confirmation of toy: {TOY_STUDY.question}" in status()
    assert "answer      Better: over 4 fresh trainings each, good scores" in status("--study", "toy")
    shown = status("--study", "toy-confirm")
    assert "8 complete" in shown
    assert "incumbent" not in shown
    found = json.loads(status("--study", "toy-confirm", "--json"))
    assert (found["confirms"], found["best"], found["noise"]) == ("toy", None, None)


def test_deleting_the_study_deletes_its_confirmation_and_that_alone_leaves_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_confirmation_summary(*judged(tmp_path, {"baseline": 0.4, "good": 0.9}, repeats=2), tmp_path, None)
    storage = open_storage(default_url(tmp_path), create=False)
    assert run(search.delete.main, "--study", "toy-confirm", "--runs", tmp_path, "--yes") == 0
    assert not (tmp_path / "toy-confirm").exists()
    assert read_confirmation(load_study(storage, "toy")) is None
    create_study(storage, "toy-confirm", {KEY: confirming().to_json()})
    create_study(storage, "toy-confirm-confirm", {KEY: stored_as(TOY_STUDY).to_json()})  # a search of that name
    capsys.readouterr()
    assert run(search.delete.main, "--study", "toy", "--runs", tmp_path, "--yes") == 0
    assert "Study toy-confirm is deleted.\nStudy toy is deleted.\n" in capsys.readouterr().out
    assert optuna.get_all_study_names(storage) == ["toy-confirm-confirm"]


def test_a_new_study_takes_no_warm_start_from_it(tmp_path: Path) -> None:
    judged(tmp_path, {"baseline": 0.4, "good": 0.9}, repeats=2)
    storage = open_storage(default_url(tmp_path), create=False)
    sources = {warm["from"] for warm in warm_starts.choose_warm_starts(storage, stored_as(TOY_STUDY), 100)}
    assert sources == {"known to work", "the best of toy"}


def begin(runs: Path, table: Table, top: int, repeats: int) -> Stored:
    """What the command stores, for the study ``toy`` of ``runs``."""
    storage = open_storage(default_url(runs), create=True)
    if not has_study(storage, "toy"):
        made = create_study(storage, "toy", {KEY: stored_as(TOY_STUDY, table.hash).to_json()})
        past(TOY_STUDY, ({}, 0.5), ({"drop_rate": 0.5}, 0.4), ({"lr": 0.02}, 0.6), into=made)
    toy = load_study(storage, "toy")
    requested = make_document(toy, read_stored(toy), find_confirmation(storage, "toy"), top, repeats)
    return read_stored(store_confirmation(storage, requested, runs))


def test_a_renamed_study_keeps_its_confirmation(tmp_path: Path, synthetic_table: Table) -> None:
    storage = open_storage(default_url(tmp_path), create=True)
    begin(tmp_path, synthetic_table, 1, 2)
    storage.delete_study(load_study(storage, "toy-confirm")._study_id)
    claim(load_study(storage, "toy"), tmp_path)
    begin(tmp_path, synthetic_table, 1, 2)
    old = load_study(storage, "toy")
    optuna.copy_study(from_study_name="toy", from_storage=storage, to_storage=storage, to_study_name="other")
    storage.delete_study(old._study_id)
    other = load_study(storage, "other")
    found = find_confirmation(storage, "other")
    assert found is not None
    assert found.study_name == "toy-confirm"
    store_confirmation(storage, make_document(other, read_stored(other), found, 1, 3), tmp_path)
    assert Plan.of_document(read_stored(found)).of == "other"
    assert Plan.of_document(read_stored(found)).repeats == 3
    again = search_of(found)
    assert again is not None
    assert again.study_name == "other"
    assert run(search.delete.main, "--study", "other", "--runs", tmp_path, "--yes") == 0
    assert optuna.get_all_study_names(storage) == []


def test_the_confirmation_of_a_deleted_study_is_not_that_of_the_next_of_its_name(
    tmp_path: Path, synthetic_table: Table
) -> None:
    storage = open_storage(default_url(tmp_path), create=True)
    for _ in range(2):
        made = create_study(storage, "toy", {KEY: stored_as(TOY_STUDY, synthetic_table.hash).to_json()})
        past(TOY_STUDY, ({}, 0.5), ({"drop_rate": 0.5}, 0.4), ({"lr": 0.02}, 0.6), into=made)
        claim(made, tmp_path)
        if has_study(storage, "toy-confirm"):
            with pytest.raises(UserError, match="'toy-confirm' confirms an earlier study of this name"):
                find_confirmation(storage, "toy")
        else:
            begin(tmp_path, synthetic_table, 1, 2)
            storage.delete_study(made._study_id)


def test_the_finalists_are_chosen_once_and_repeats_only_grow(
    tmp_path: Path, synthetic_table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = begin(tmp_path, synthetic_table, 2, 3)
    names = ["baseline", "drop_rate = 0.0 (trial 2)", "drop_rate = 0.5"]
    assert [found.name for found in Plan.of_document(stored).finalists] == names
    storage = open_storage(default_url(tmp_path), create=False)
    past(TOY_STUDY, ({"lr": 0.03}, 0.99), into=load_study(storage, "toy"))
    capsys.readouterr()
    later = begin(tmp_path, synthetic_table, 1, 5)
    told = capsys.readouterr().out
    assert "The finalists stay those of the first command (--top 2); to choose new ones, run `python -m" in told
    assert Plan.of_document(later) == replace(Plan.of_document(stored), repeats=5)
    assert Plan.of_document(begin(tmp_path, synthetic_table, 2, 2)).repeats == 5
    config = stored.baseline_config
    assert (config.keep, config.judge_round, config.epochs) == ("last", 0, TOY_STUDY.fixed["epochs"])


def test_nobody_who_chose_is_among_the_judges(tmp_path: Path, synthetic_table: Table) -> None:
    tables = check_repeats(synthetic_table, begin(tmp_path, synthetic_table, 2, 3), 5)
    photos = synthetic_table.photos
    chose = set(photos.loc[photos["split"] == "valid", "person"])
    judges = [set(found.photos.loc[found.photos["split"] == "valid", "person"]) for found in tables]
    assert set.union(*judges) == set(photos["person"]) - chose
    assert sum(map(len, judges)) == len(set.union(*judges))


@pytest.mark.parametrize(
    ("change_of", "hint"),
    [
        ({"split": "ffff"}, "are not those of the study: their split is "),
        ({"fixed": {"judge_round": 2}}, "only a study with judge_round=0 can be confirmed"),
    ],
)
def test_what_cannot_be_judged_is_refused(synthetic_table: Table, change_of: dict[str, Any], hint: str) -> None:
    stored = stored_as(TOY_STUDY, change_of.get("split", synthetic_table.hash))
    study = replace(TOY_STUDY, fixed={**TOY_STUDY.fixed, **change_of.get("fixed", {})})
    with pytest.raises(UserError) as caught:
        check_repeats(synthetic_table, replace(stored, study=study), 2)
    assert hint in one_line(caught.value)


def test_too_few_training_people_are_refused_before_anything_is_trained(synthetic_table: Table) -> None:
    photos = synthetic_table.photos
    few = photos[(photos["gender"] == 1) | (photos["split"] == "valid")].drop_duplicates("label")
    table = replace(synthetic_table, photos=few.assign(split=["train", *["valid"] * (len(few) - 1)]))
    with pytest.raises(UserError) as caught:
        check_repeats(table, stored_as(TOY_STUDY, table.hash), 5)
    assert "Repeat " in one_line(caught.value)
    with pytest.raises(UserError):
        with_judges(table, change(stored_as(TOY_STUDY).baseline_config, judge_round=5))


def test_what_cannot_be_confirmed_is_one_line(
    tmp_path: Path,
    synthetic_table: Table,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin(tmp_path, synthetic_table, 1, 2)
    storage = open_storage(default_url(tmp_path), create=False)
    document_of = stored_as(TOY_STUDY, synthetic_table.hash).to_json()
    create_study(storage, "fresh", {KEY: document_of})
    running = create_study(storage, "running", {KEY: document_of})
    past(TOY_STUDY, ({}, 0.5), ({"lr": 0.02}, 0.6), into=running)
    params = params_of(TOY_STUDY.space, TOY_STUDY.baseline)
    attributes = {WORKER: describe_myself("cpu.0").to_json()}
    space = distributions(TOY_STUDY.space)
    running.add_trial(create_trial(state=R, params=params, distributions=space, user_attrs=attributes))
    taken = create_study(storage, "taken", {KEY: document_of})
    past(TOY_STUDY, ({}, 0.5), ({"lr": 0.02}, 0.6), into=taken)
    create_study(storage, "taken-confirm", {KEY: document_of})

    def refused(name: str, *words: str) -> str:
        words = ("--study", name, "--runs", str(tmp_path), *words)
        return complain(monkeypatch, capsys, search.confirm.main, *words)

    assert "Nearest: toy" in refused("toyy")
    assert "is the confirmation of study 'toy'" in refused("toy-confirm")
    assert "nothing to confirm" in refused("fresh")
    assert "is running (trial 2 on" in refused("running")
    assert "needs the name 'taken-confirm', which a search has" in refused("taken")
    assert "--repeats" in refused("toy", "--repeats", "1")
    assert "There is no device cuda:9" in refused("toy", "--device", "cuda:9")
    assert "There is no folder nowhere" in refused("toy", "--data", "nowhere")
    told = complain(
        monkeypatch, capsys, search.export.main, "--study", "toy-confirm", "-o", "x", "--runs", str(tmp_path)
    )
    assert "is the confirmation of study 'toy'" in told


def test_a_study_that_was_made_anew_is_not_gone_on_with(tmp_path: Path, synthetic_table: Table) -> None:
    stored = begin(tmp_path, synthetic_table, 1, 2)
    storage = open_storage(default_url(tmp_path), create=False)
    past(TOY_STUDY, ({}, 0.5), into=load_study(storage, "toy-confirm"))
    other = replace(stored_as(TOY_STUDY, synthetic_table.hash), seed=3)
    with pytest.raises(UserError) as caught:
        make_document(load_study(storage, "toy"), other, find_confirmation(storage, "toy"), 1, 2)
    assert "confirms an earlier study of this name" in one_line(caught.value)
    assert Plan.of_document(stored).to_json() == stored.confirmation


def test_a_study_whose_confirmation_has_no_room_for_its_name_is_told_the_way_out(tmp_path: Path) -> None:
    storage, name = open_storage(default_url(tmp_path), create=True), "名" * 84
    create_study(storage, name, {})
    with pytest.raises(UserError, match=r"260 bytes are too many .* --name NEW --from OLD"):
        find_confirmation(storage, name)
