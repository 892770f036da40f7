"""What the commands make of a study with rounds: its status, its recipe as a file, and more rounds."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import search.confirm
import search.export
import search.status
import search.supervisor.start_confirmation
from maskcls.config import load_config
from search.findings.evidence import answer_of
from search.findings.recipe import find_recipe
from search.page.blocks import Code, Table
from search.page.build import make_report
from search.policy.stopping import DECIDED, LACKS_TIME, StoppingCriteria, count_finished
from search.storage.final_test import FinalTest
from search.storage.retention import trial_folder
from search.study.attributes import TEST
from search.study.record import KEY
from search.supervisor.conclusion import conclude
from search.supervisor.launch import Launch
from search.supervisor.pool import WorkerPool
from search.supervisor.start import _is_done
from search.supervisor.start_rounds import _say_target
from search.supervisor.supervisor import Supervisor
from search.worker.messages import NOTHING_LEFT, STOPPED, Outcome
from tests.helpers.report import Played, make_study, play_rounds
from tests.helpers.search import order_for
from tests.helpers.training import run


def asked(folder: Path, photos: Path, right: dict[float, float], rounds: int = 5) -> Played:
    played = make_study(folder, photos)
    play_rounds(played, right, rounds)
    return played


def test_status_shows_the_verdict_and_the_best_of_the_search(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = asked(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9})
    told = answer_of(played.study, played.stored, tmp_path).sentences[0]
    assert run(search.status.main, "--study", "toy", "--runs", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  answer      {told}" in lines
    best = "  best        of the search, trial"  # the rounds have another best recipe
    assert any(line.startswith((f"{best} 1:", f"{best} 16:")) for line in lines)
    assert run(search.status.main, "--study", "toy", "--runs", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["answer"] == told


def test_the_recipe_with_the_best_score_to_expect_is_exported_with_that_score(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = asked(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9})
    found = answer_of(played.study, played.stored, tmp_path)
    assert found.rounds is not None
    assert found.winner is not None
    best = found.rounds.sides[1]
    assert run(search.export.main, "--study", "toy", "-o", tmp_path / "it.toml", "--runs", tmp_path) == 0
    config, origin = load_config(tmp_path / "it.toml")
    assert (config.drop_rate, config.judge_round, config.seed) == (0.5, 3, 3)
    values = [trial.value or 0.0 for trial in played.study.get_trials() if trial.number in best.trials[1:]]
    assert origin["value"] == max(values) > values[-1]
    assert (origin["expected_macro_f1"], origin["level"]) == (found.winner.expected, "drop_rate = 0.5")
    told = capsys.readouterr().out
    assert f"expect macro F1 {found.winner.expected:.4f} (5 trainings)" in told
    assert "judges of round 3" in told


def test_the_screen_and_the_export_name_the_same_trial(tmp_path: Path, synthetic_folder: Path) -> None:
    played = asked(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9})
    rounds = answer_of(played.study, played.stored, tmp_path).rounds
    assert rounds is not None
    later = [trial for trial in played.study.get_trials() if trial.number in rounds.sides[1].trials[1:]]
    worst, *_, second, best = (trial.number for trial in sorted(later, key=lambda trial: trial.value or 0.0))
    tested = FinalTest(worst, "macro_f1", 0.5, None, None, 0.5, 40, 5, 0.0)
    for trial, attribute in ((worst, tested.to_json()), (best, None)):  # the one that was tested stays the one to use
        played.study.set_user_attr(TEST, attribute)
        shown = answer_of(played.study, played.stored, tmp_path).winner
        assert shown is not None
        assert shown.trial == find_recipe(played.study, None, tmp_path).trial.number == trial
    (trial_folder(tmp_path / "toy", best) / "valid.npz").unlink()
    winner = answer_of(played.study, played.stored, tmp_path).winner
    assert winner is not None
    assert winner.trial == find_recipe(played.study, None, tmp_path).trial.number == second
    shutil.rmtree(tmp_path / "toy")  # from the database alone
    assert find_recipe(played.study, None, tmp_path).trial.number == best


def test_before_the_first_look_the_best_of_the_search_is_exported(tmp_path: Path, synthetic_folder: Path) -> None:
    asked(tmp_path, synthetic_folder, {0.0: 0.99, 0.5: 0.4}).study.set_user_attr("looks", [])
    assert run(search.export.main, "--study", "toy", "-o", tmp_path / "it.toml", "--trial", 20, "--runs", tmp_path) == 0
    assert "expected_macro_f1" not in load_config(tmp_path / "it.toml")[1]


def test_confirm_adds_rounds_of_what_is_open(
    tmp_path: Path,
    synthetic_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    played = asked(tmp_path, synthetic_folder, {0.0: 0.7, 0.5: 0.72}, 4)
    orders = []

    def note(self: Supervisor) -> int:
        orders.append(self.command.order)
        return 0

    monkeypatch.setattr(Supervisor, "run", note)
    monkeypatch.setattr(WorkerPool, "start", lambda *_: None)
    monkeypatch.setattr(WorkerPool, "start_others", lambda *_: None)
    options = ("--study", "toy", "--repeats", 3, "--runs", tmp_path, "--device", "cpu")
    assert run(search.confirm.main, *options) == 0
    (order,) = orders
    assert (order.name, order.plan, order.confirms, order.requested.seed) == ("toy", True, True, 0)
    assert order.limits == StoppingCriteria(14 + 8 + 3 * 2)
    assert "3 more rounds of toy: 6 trainings to go." in capsys.readouterr().out
    play_rounds(played, {0.0: 0.7, 0.5: 0.72}, 1)  # two trainings more, and the same command
    assert run(search.confirm.main, *options) == 0
    assert orders[1].limits == order.limits
    assert "3 more rounds of toy: 4 trainings to go." in capsys.readouterr().out
    play_rounds(played, {0.0: 0.7, 0.5: 0.72}, 2)  # they are done
    assert run(search.confirm.main, *options) == 0
    assert orders[2].limits == StoppingCriteria(14 + 8 + 2 * 3 * 2)


def test_confirm_adds_rounds_with_each_level_at_its_own_best(
    tmp_path: Path,
    synthetic_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also of what is decided at the common setting, which is another question."""
    played = asked(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9}, 5)
    orders = []

    def note(self: Supervisor) -> int:
        orders.append(self.command.order)
        return 0

    monkeypatch.setattr(Supervisor, "run", note)
    monkeypatch.setattr(WorkerPool, "start", lambda *_: None)
    monkeypatch.setattr(WorkerPool, "start_others", lambda *_: None)
    options = ("--study", "toy", "--repeats", 3, "--own-best", "--runs", tmp_path, "--device", "cpu")
    assert run(search.confirm.main, *options) == 0
    assert orders[0].limits == StoppingCriteria(14 + 10 + 3 * 2, own_best=True)
    assert "3 more rounds of toy, each level at its own best: 6 trainings to go." in capsys.readouterr().out
    play_rounds(played, {0.0: 0.7, 0.5: 0.72}, 2, own_lr={0.0: 1e-2, 0.5: 3e-3})
    assert run(search.confirm.main, *options) == 0  # gone on with
    assert orders[1].limits == orders[0].limits
    assert "more_rounds" not in played.study.user_attrs
    play_rounds(played, {0.0: 0.3, 0.5: 0.95}, 4, own_lr={0.0: 1e-2, 0.5: 3e-3}, end=4)
    assert run(search.confirm.main, *options) == 0
    assert "Nothing is open any more: every difference is decided." in capsys.readouterr().out
    assert len(orders) == 2


def test_own_best_is_refused_where_no_level_has_a_best_setting(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(name: str) -> str:
        assert run(search.confirm.main, "--study", name, "--own-best", "--runs", tmp_path, "--device", "cpu") == 2
        return capsys.readouterr().err

    make_study(tmp_path, synthetic_folder)
    assert "--own-best adds rounds, and toy has none." in refused("toy")
    unsearched = make_study(tmp_path, synthetic_folder, name="short", trials=False)
    play_rounds(unsearched, {0.0: 0.7, 0.5: 0.72}, 3)
    assert "short has no complete trial of a search" in refused("short")
    begun = make_study(tmp_path, synthetic_folder, name="begun")
    play_rounds(begun, {0.0: 0.7, 0.5: 0.72}, 1)
    assert "those of begun have no answer yet" in refused("begun")
    nothing = make_study(tmp_path, synthetic_folder, name="nothing")
    play_rounds(nothing, {0.0: 0.7, 0.5: 0.72}, 3)
    fixed = {**nothing.stored.study.fixed, "lr": 1e-2}
    study = replace(nothing.stored.study, nuisance={}, fixed=fixed, baseline={"drop_rate": 0.0}, is_stored=True)
    nothing.study.set_user_attr(KEY, replace(nothing.stored, study=study).to_json())
    assert "nothing tunes nothing" in refused("nothing")
    study = replace(nothing.stored.study, scientific={}, nuisance=nothing.stored.study.space, is_stored=True)
    nothing.study.set_user_attr(KEY, replace(nothing.stored, study=study).to_json())
    assert "nothing compares no levels" in refused("nothing")


def test_the_report_has_both_kinds_of_rounds_and_their_command(tmp_path: Path, synthetic_folder: Path) -> None:
    played = asked(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9})
    play_rounds(played, {0.0: 0.8, 0.5: 0.3}, 4, own_lr={0.0: 1e-2, 0.5: 3e-3})
    report = make_report(played.material())
    captions = [block.caption for block in report.lead if isinstance(block, Table)]
    assert captions == ["At one common setting", "With each at its own best"]
    (section,) = [section for section in report.sections if section.title == "The rounds"]
    common, own = (block for block in section.blocks if isinstance(block, Table))
    assert [row[0] for row in common.rows] == ["0", "1", "2", "3", "4"]
    assert [row[0] for row in own.rows] == ["5", "6", "7", "8"]
    assert own.rows[0][-1] == "drop_rate = 0.0 at lr = 0.01; drop_rate = 0.5 at lr = 0.003"
    (commands,) = [section for section in report.sections if section.title == "How to reproduce it"]
    (code,) = [block for block in commands.blocks if isinstance(block, Code)]
    done = count_finished(played.study.get_trials())
    assert f"--n-trials {done - 8}" in code.text
    assert "python -m search.confirm --study toy --own-best --repeats 4" in code.text


def test_confirm_adds_rounds_to_a_study_that_has_gone_on_since_its_confirmation(
    tmp_path: Path,
    synthetic_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked(tmp_path, synthetic_folder, {0.0: 0.7, 0.5: 0.72}, 4)
    monkeypatch.setattr(search.supervisor.start_confirmation, "find_confirmation", lambda storage, name: storage)
    monkeypatch.setattr(Supervisor, "run", lambda supervisor: 0)
    monkeypatch.setattr(WorkerPool, "start", lambda *_: None)
    monkeypatch.setattr(WorkerPool, "start_others", lambda *_: None)
    assert run(search.confirm.main, "--study", "toy", "--runs", tmp_path, "--device", "cpu") == 0
    assert "5 more rounds of toy: 10 trainings to go." in capsys.readouterr().out


def test_more_trainings_of_a_study_in_its_search_are_said_to_be_of_the_search(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = make_study(tmp_path, synthetic_folder)
    done = count_finished(played.study.get_trials())
    _say_target(played.study, played.stored, 20, StoppingCriteria(done + 40))
    assert capsys.readouterr().out == (
        "20 more rounds of toy: 40 trainings to go, 4 of them of the search, which has not ended.\n"
    )
    _say_target(played.study, played.stored, 1, StoppingCriteria(done + 2, own_best=True))
    assert capsys.readouterr().out == "1 more round of toy, each level at its own best: 2 trainings to go.\n"


def test_the_last_look_is_made_at_the_end_or_by_the_next_command(tmp_path: Path, synthetic_folder: Path) -> None:
    played = asked(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9})
    launch = Launch(tmp_path, None, "cpu", None, False, None, 60)
    done = count_finished(played.study.get_trials())
    earlier = played.study.user_attrs["looks"][:-1]
    played.study.set_user_attr("looks", earlier)
    assert _is_done("toy", played.stored, launch, StoppingCriteria(done))
    looks = played.study.user_attrs["looks"]
    assert [look["round"] for look in looks[-2:]] == [3, 4]
    assert looks[:-1] == earlier
    played.study.set_user_attr("looks", earlier)
    order = replace(order_for(tmp_path, done), since=0.0)
    assert conclude(played.study, None, Outcome(STOPPED), "Ctrl-C", order, lambda study, stored: None) == 0
    assert played.study.user_attrs["looks"] == looks


def test_the_next_command_also_makes_the_look_at_rounds_at_its_own_best(tmp_path: Path, synthetic_folder: Path) -> None:
    played = asked(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9})
    play_rounds(played, {0.0: 0.7, 0.5: 0.72}, 3, own_lr={0.0: 1e-2, 0.5: 3e-3})
    common, own = played.study.user_attrs["looks"], played.study.user_attrs["own_looks"]
    played.study.set_user_attr("own_looks", own[:-1])
    launch = Launch(tmp_path, None, "cpu", None, False, None, 60)
    assert _is_done("toy", played.stored, launch, StoppingCriteria(count_finished(played.study.get_trials())))
    assert [look["round"] for look in played.study.user_attrs["own_looks"]] == [look["round"] for look in own]
    assert played.study.user_attrs["looks"] == common


def test_a_study_that_is_decided_needs_no_more_trials(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = asked(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9})
    launch, limits = Launch(tmp_path, None, "cpu", None, False, None, 60), StoppingCriteria(100)
    done = count_finished(played.study.get_trials())
    told = f"Every difference is decided: {100 - done} of 100 trials were not needed."
    assert _is_done("toy", played.stored, launch, limits)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == told
    assert lines[1].startswith("Better: drop_rate = 0.5 scores")
    order = replace(order_for(tmp_path, 100), limits=limits)
    outcome = Outcome(NOTHING_LEFT, DECIDED)
    assert conclude(played.study, None, outcome, "", order, lambda study, stored: None) == 0
    assert capsys.readouterr().out.strip() == told
    played.study.set_user_attr("looks", [])
    assert not _is_done("toy", played.stored, launch, limits)


def test_a_command_whose_time_has_no_room_for_a_round_says_how_to_go_on(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = asked(tmp_path, synthetic_folder, {0.0: 0.7, 0.5: 0.72})
    done = count_finished(played.study.get_trials())
    order, outcome = order_for(tmp_path, 100), Outcome(NOTHING_LEFT, LACKS_TIME)
    summarized = []
    assert conclude(played.study, None, outcome, "", order, lambda *each: summarized.append(each)) == 0
    assert capsys.readouterr().out == (
        f"\nThe time that is left is too short for another round, at {done} of 100 trials. A larger --timeout continues"
        " the study.\n"
    )
    assert len(summarized) == 1


def test_confirm_adds_nothing_to_what_is_decided(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(tmp_path, synthetic_folder, {0.0: 0.4, 0.5: 0.9})
    assert run(search.confirm.main, "--study", "toy", "--runs", tmp_path, "--device", "cpu") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Nothing is open any more: every difference is decided."
    assert lines[1].startswith("Better: drop_rate = 0.5 scores")
