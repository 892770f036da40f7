"""search.status: what a person reads, what a script reads, and ghosts told from the living."""

import ast
import inspect
import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState

import search.findings.documents
import search.status
from search.database.connect import GRACE_SECONDS, backend_of, create_study, default_url, open_storage
from search.storage.failures import CRASH, DIVERGED
from search.study.attributes import FAILURES, INTERRUPTIONS, WORKER
from search.study.record import KEY, Stored
from search.study.space import distributions
from search.system.processes import describe_myself
from tests.helpers.search import TOY_STUDY, complain
from tests.helpers.training import run

STORED = Stored(TOY_STUDY, "synthetic", "0123abcd", {"source": "scratch"}, "scratch", "auto", False, 0)

IMPORTS = """
import sys
sys.argv = ["status", "--runs", sys.argv[1], "--study", "toy"]
from maskcls.system.console import run_command
from search.status import main
try:
    run_command(main)
finally:
    print(sorted({"torch", "timm", "torchvision", "sklearn"} & sys.modules.keys()))
"""


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return create_study(open_storage(default_url(tmp_path), create=True), "toy", {KEY: STORED.to_json()})


def add(
    study: optuna.Study, state: TrialState, value: float | None = None, lr: float = 1e-2, steps: int = 0, **attrs: Any
) -> FrozenTrial:
    """A trial of the study with so many evaluations of .1, .2 and so on."""
    study.add_trial(
        optuna.trial.create_trial(
            state=state,
            value=value,
            params={"drop_rate": 0.0, "lr": lr},
            distributions=distributions(TOY_STUDY.space),
            intermediate_values={step: step / 10 for step in range(1, steps + 1)},
            user_attrs=attrs,
        )
    )
    return study.get_trials()[-1]


def play(study: optuna.Study) -> None:
    """A baseline twice, a better trial, one that diverged, one that crashed for good, one that waits after a crash."""
    add(study, TrialState.COMPLETE, 0.50, steps=4, role="baseline", evaluations_planned=4)
    add(study, TrialState.COMPLETE, 0.54, steps=4, role="replicate", seed=1)
    add(study, TrialState.COMPLETE, 0.60, lr=5e-2, steps=4)
    add(study, TrialState.PRUNED, None, lr=9e-2, failure_kind=DIVERGED, error="The loss is not finite.")
    crashes = [{"kind": CRASH, "error": f"RuntimeError: {text}", "when": when} for text, when in (("a", 9), ("b", 7))]
    add(study, TrialState.FAIL, None, lr=8e-2, failure_kind=CRASH, **{FAILURES: crashes})
    add(study, TrialState.WAITING, lr=3e-2, **{FAILURES: crashes[1:], INTERRUPTIONS: 2})


def told(capsys: pytest.CaptureFixture[str], runs: Path, *words: str) -> str:
    capsys.readouterr()
    assert run(search.status.main, "--runs", runs, *words) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], runs: Path, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(capsys, runs, "--json", *words))
    return found


def test_all_studies_are_a_table_with_a_row_each(
    study: optuna.Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(study)
    create_study(backend_of(study), "theirs", {})
    lines = told(capsys, tmp_path).splitlines()
    titles, theirs, ours = (" ".join(line.split()) for line in lines)
    assert titles == "study complete pruned running waiting failed best F1 trial last event question"
    assert theirs == "theirs 0 0 0 0 0 - - never - (not made by search.run)"
    assert ours.startswith("toy 3 1 0 1 1 0.6000 2 ")
    assert ours.endswith("Does dropout help?")
    assert {line.index("  " + word) for line, word in zip(lines, ("question", "- (not", "Does"), strict=True)} == {
        lines[0].index("  question")
    }


def test_a_study_is_shown_from_its_question_to_its_failures(
    study: optuna.Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(study)
    shown = told(capsys, tmp_path, "--study", "toy")
    for line in (
        "Study toy: Does dropout help?",
        "  trials      3 complete, 1 pruned, 0 running, 1 waiting, 1 failed",
        "  best        trial 2: macro F1 0.6000  drop_rate=0 lr=0.05",
        "  baseline    trial 0: macro F1 0.5000  drop_rate=0 lr=0.01  (mean of 2 runs 0.5200)",
        "  incumbent   trial 2, one run: macro F1 0.6000  drop_rate=0 lr=0.05",
        "  noise       0.0283 from training seed to training seed (standard deviation, 1 repeated run)",
        "  spent       6 epochs",
        "Nothing is running.",
        "Processes were stopped or died 2 times; such trials continue from their last evaluation.",
    ):
        assert line in shown.splitlines()
    rows = [" ".join(line.split()) for line in shown.splitlines() if line.startswith((DIVERGED, CRASH))]
    assert rows[0].startswith("crash 3 4, 5 ")
    assert rows[0].endswith("RuntimeError: a")  # the last one, by the clock
    assert rows[1].startswith("diverged 1 3 ")
    assert rows[1].endswith("The loss is not finite.")


def explained_fields() -> dict[str, list[str]]:
    """The fields of every class, each of which has a docstring below it."""
    tree = ast.parse(inspect.getsource(search.findings.documents))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    found: dict[str, list[str]] = {}
    for node in classes:
        assert ast.get_docstring(node)
        found[node.name] = []
        for entry, below in itertools.pairwise(node.body):
            if isinstance(entry, ast.AnnAssign):
                name = ast.unparse(entry.target)
                assert isinstance(below, ast.Expr), f"{node.name}.{name} is not explained"
                found[node.name].append(name)
    return found


def test_every_key_of_the_json_document_is_explained(
    study: optuna.Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(study)
    add(study, TrialState.RUNNING, steps=3, **{WORKER: describe_myself("cpu.0").to_json()})
    found = document(capsys, tmp_path, "--study", "toy")
    explained = explained_fields()
    assert list(found) == [
        *("storage", *explained["StudyOverview"]),
        *(name for name in explained["StudyStatus"] if name not in ("storage", "overview", "best")),
    ]
    for key, name in (("trials", "TrialCounts"), ("best", "TrialStatus"), ("noise", "NoiseStatus")):
        assert list(found[key]) == explained[name]
    assert list(found["baseline"]) == list(found["incumbent"]) == explained["ConfigurationStatus"]
    assert list(found["running"][0]) == explained["RunningTrial"]
    assert list(found["failures"][0]) == explained["FailureStatus"]
    assert found["trials"] == {"complete": 3, "pruned": 1, "running": 1, "waiting": 1, "failed": 1}
    assert found["best"] == {"trial": 2, "value": 0.6, "state": "complete", "values": {"drop_rate": 0.0, "lr": 0.05}}
    assert (found["baseline"]["runs"], found["baseline"]["mean"]) == ([0, 1], 0.52)
    assert found["incumbent"]["runs"] == [2]
    assert found["epochs"] == 7.5  # 3 x 4 and 3 evaluations, two an epoch
    assert found["interruptions"] == 2
    assert [(kind["kind"], kind["count"]) for kind in found["failures"]] == [(CRASH, 3), (DIVERGED, 1)]
    everything = document(capsys, tmp_path)
    assert list(everything) == explained["DatabaseOverview"]
    assert [one["name"] for one in everything["studies"]] == ["toy"]
    assert list(everything["studies"][0]) == explained["StudyOverview"]
    assert everything["studies"][0]["best"] == {"trial": 2, "value": 0.6}
    assert everything["storage"] == found["storage"] == f"sqlite:///{tmp_path}/studies.db"


def test_who_runs_what_where_and_who_is_gone(
    study: optuna.Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    me = describe_myself("cuda:1.0").to_json()
    add(study, TrialState.RUNNING, steps=3, **{WORKER: me})
    add(study, TrialState.RUNNING, **{WORKER: {**me, "started": -1}})
    add(study, TrialState.RUNNING, **{WORKER: None})
    far = add(study, TrialState.RUNNING, **{WORKER: {**me, "machine": "another", "host": "far", "pid": 7}})
    backend_of(study).record_heartbeat(far._trial_id)
    alive = document(capsys, tmp_path, "--study", "toy")["running"]
    assert [run["gone"] for run in alive] == [False, True, True, False]
    first = alive[0]
    assert (first["host"], first["pid"], first["slot"]) == (socket.gethostname(), os.getpid(), "cuda:1.0")
    assert (first["evaluation"], first["evaluations"], first["value"]) == (3, 4, 0.3)
    grow_old(study, far)
    assert document(capsys, tmp_path, "--study", "toy")["running"][3]["gone"]
    lines = told(capsys, tmp_path, "--study", "toy").splitlines()
    assert "  trials      0 complete, 0 pruned, 4 running (3 gone), 0 waiting, 0 failed" in lines
    row = next(line.split() for line in lines if line.startswith("    0  "))
    assert row[:5] == ["0", "3", "of", "4", "0.3000"]
    assert row[-1] == "alive"
    assert next(line for line in lines if line.startswith("    3  ")).endswith("gone")
    assert "3 running trials without a process" in told(capsys, tmp_path)
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING] * 4  # it only reads


def grow_old(study: optuna.Study, trial: FrozenTrial) -> None:
    """The trial's heartbeat was longer ago than anybody waits."""
    with backend_of(study).engine.begin() as connection:
        ago = f"-{GRACE_SECONDS + 10} seconds"
        statement = "UPDATE trial_heartbeats SET heartbeat = datetime('now', :ago) WHERE trial_id = :trial"
        connection.execute(sqlalchemy.text(statement), {"ago": ago, "trial": trial._trial_id})


def test_a_study_without_any_trial_is_shown_too(
    study: optuna.Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = told(capsys, tmp_path, "--study", "toy")
    assert "best        none yet" in shown
    assert "last event  never" in shown
    found = document(capsys, tmp_path, "--study", "toy")
    assert [found[key] for key in ("best", "baseline", "incumbent", "noise", "last_event")] == [None] * 5


def test_values_that_json_does_not_know_are_null(
    study: optuna.Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(study, TrialState.COMPLETE, float("inf"))
    assert document(capsys, tmp_path, "--study", "toy")["best"]["value"] is None


def test_brackets_in_a_question_are_no_markup_on_a_terminal(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study.set_user_attr(KEY, {**STORED.to_json(), "question": "Is [bold] good?"})
    monkeypatch.setattr("search.terminal.tables.is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "140")
    assert "Is [bold] good?" in told(capsys, tmp_path)


def test_a_narrow_terminal_has_no_room_for_the_questions(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(study)
    for module in ("search.terminal.tables", "search.terminal.status"):
        monkeypatch.setattr(f"{module}.is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    shown = told(capsys, tmp_path)
    assert "Does" not in shown
    assert "toy " in shown
    assert "0.6000" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_study_that_is_not_there_or_not_ours_is_one_line(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create_study(backend_of(study), "theirs", {})
    main, place = search.status.main, ("--runs", str(tmp_path))
    assert "Nearest: toy" in complain(monkeypatch, capsys, main, *place, "--study", "tyo")
    assert "was not made by search.run" in complain(monkeypatch, capsys, main, *place, "--study", "theirs")
    assert "There is no database" in complain(monkeypatch, capsys, main, "--runs", str(tmp_path / "none"))


def test_an_empty_database_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_storage(default_url(tmp_path), create=True)
    assert told(capsys, tmp_path) == f"No study is stored in sqlite:///{tmp_path}/studies.db yet.\n"
    assert document(capsys, tmp_path)["studies"] == []


def test_it_imports_nothing_that_takes_seconds(study: optuna.Study, tmp_path: Path) -> None:
    play(study)
    ended = subprocess.run([sys.executable, "-c", IMPORTS, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"
