"""The photos held back for a test: nothing sees them before search.confirm has ended, and they are scored once."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

import maskcls.evaluate
import search.confirm
import search.export
import search.status
import search.supervisor.final_test
import search.supervisor.start_confirmation
import search.supervisor.start_rounds
import search.worker.create
import search.worker.final_test
from maskcls.config import load_config
from maskcls.data.dataset import Table, find_task, load_dataset, read_table, with_judges
from maskcls.data.split import split_hash
from maskcls.labels import Factor, LabelSpace
from maskcls.reading.source import SourceOptions
from maskcls.scoring.predictions import Predictions
from maskcls.system.errors import UserError
from search.database.connect import create_study, default_url, load_study, open_storage
from search.findings.documents import iso
from search.findings.evidence import answer_of
from search.findings.final_test import words_of_test
from search.findings.recipe import find_recipe
from search.page.answer import lead_blocks
from search.page.blocks import Text
from search.policy.confirmation import Plan
from search.policy.policy import Policy
from search.storage.copying import copy_trials
from search.storage.final_test import FinalTest, read_test, spend_test
from search.storage.folder import study_folder
from search.storage.retention import trial_folder
from search.study.record import KEY, Stored, is_fully_created
from search.supervisor.final_test import _find_test, show_test_plan
from search.supervisor.launch import Launch
from search.supervisor.start_rounds import _show_end
from search.system.processes import describe_myself
from search.terminal.confirmation import show_confirmation_plan
from search.terminal.photos import photo_lines
from search.worker.create import _of_test
from search.worker.final_test import score_test
from search.worker.job import Job
from search.worker.worker import take_trials
from tests.helpers.data.photos import save_table
from tests.helpers.report import make_study, play_rounds
from tests.helpers.search import TOY_STUDY, Watching, make_setup, order_for
from tests.helpers.training import run

TYPED = SourceOptions(table="meta.csv", path="image", labels=("diagnosis",), group="patient")
SIDES = {"train": 24, "valid": 12, "test": 11}
TRIALS = 2
PNG = b"\x89PNG\r\n\x1a\n"
"""How such a file begins."""


@dataclass(frozen=True)
class Trained:
    """A study of TRIALS trials, all photos for the test of which are unreadable."""

    runs: Path
    data: Path
    table: Table
    stored: Stored

    @property
    def launch(self) -> Launch:
        return Launch(self.runs, None, "cpu", 1)

    def end(self, n_trials: int = TRIALS, keep_test: bool = False) -> None:
        """What search.confirm does once it has made its rounds, or its workers have ended before."""
        storage = open_storage(default_url(self.runs), create=False)
        _show_end(load_study(storage, "toy"), self.stored, self.table, n_trials, self.launch, keep_test)

    def plan(self, keep_test: bool = False) -> None:
        """What search.confirm says of the test before its rounds."""
        storage = open_storage(default_url(self.runs), create=False)
        show_test_plan(load_study(storage, "toy"), self.table, keep_test)

    @property
    def test(self) -> FinalTest | None:
        return read_test(load_study(open_storage(default_url(self.runs), create=False), "toy"))


def photo(folder: Path, patient: int, number: int) -> Path:
    return folder / f"p{patient:02d}-{number}.png"


def save_photos(folder: Path, patients: Iterable[int]) -> None:
    """Those of these patients: red ones and blue ones."""
    for patient in patients:
        for number in range(2):
            noise = np.random.default_rng([patient, number]).integers(120, size=(32, 32, 3), dtype=np.uint8)
            noise[8:24, 8:24, 2 * (patient % 2)] += 120
            Image.fromarray(noise).save(photo(folder, patient, number))


def train(folder: Path) -> Trained:
    data, runs = folder / "photos", folder / "runs"
    data.mkdir()
    runs.mkdir()
    save_photos(data, range(sum(SIDES.values())))
    sides = [side for side, patients in SIDES.items() for _ in range(patients)]
    rows = [
        (photo(data, patient, number).name, ("red", "blue")[patient % 2], f"P{patient:02d}", side)
        for patient, side in enumerate(sides)
        for number in range(2)
    ]
    for name, _, _, side in rows:
        if side == "test":
            (data / name).write_bytes(PNG + bytes((data / name).stat().st_size - len(PNG)))
    save_table(data / "meta.csv", [("image", "diagnosis", "patient", "split"), *rows])
    task = find_task(data, TYPED)
    setup = make_setup(runs, read_table(data, make_setup(runs, Table(data, None, "")).baseline, "auto", task))  # type: ignore[arg-type]
    setup.stored = replace(setup.stored, data=str(data), task=task)
    storage = open_storage(default_url(runs), create=True)
    study = create_study(storage, "toy", {KEY: setup.stored.to_json()})
    job = Job(setup, study, Policy(TOY_STUDY, 0), Watching(), describe_myself("cpu.0"))
    take_trials(job, order_for(runs, TRIALS))
    return Trained(runs, data, setup.table, setup.stored)


@pytest.fixture(scope="module")
def unread(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trained, ended and looked at while no photo of the test could be read."""
    return train(tmp_path_factory.mktemp("unread"))


@pytest.fixture(scope="module")
def tested(unread: Trained) -> Trained:
    """The same once the photos are there and the test is scored."""
    save_photos(unread.data, range(36, 47))
    unread.end()
    return unread


def test_nothing_before_the_end_of_confirm_opens_a_photo_of_the_test(
    unread: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert unread.table.test is not None
    assert len(unread.table.test) == 22
    assert photo_lines(unread.table)[-1] == "22 photos of 11 patients for a test are held back"
    held_back = set(unread.table.test["path"])
    for number in range(8):
        config = make_setup(unread.runs, unread.table).baseline.model_copy(update={"judge_round": number})
        judged = with_judges(unread.table, config)
        assert not held_back & set(judged.photos["path"])
        dataset = load_dataset(judged, config, unread.runs / "cache")
        assert not held_back & {*dataset.train.path_N.tolist(), *dataset.valid.path_N.tolist()}
        assert len(dataset.image_NCHW) == 72
    study = load_study(open_storage(default_url(unread.runs), create=False), "toy")
    assert answer_of(study, unread.stored, unread.runs).test == ""
    assert run(search.status.main, "--study", "toy", "--runs", unread.runs) == 0
    assert "\n  test " not in capsys.readouterr().out
    assert run(search.status.main, "--study", "toy", "--runs", unread.runs, "--json") == 0
    assert json.loads(capsys.readouterr().out)["test"] is None
    assert run(search.export.main, "--study", "toy", "-o", unread.runs / "a.toml", "--runs", unread.runs) == 0
    assert "; test" not in capsys.readouterr().out
    assert not {"test_value", "test_photos"} & load_config(unread.runs / "a.toml")[1].keys()


def test_only_the_plan_of_search_run_says_what_will_become_of_the_test(
    unread: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """search.confirm says before its plan whether it scores them, as --keep-test and a spent test have it."""
    order = order_for(unread.runs, TRIALS)
    study = load_study(open_storage(default_url(unread.runs), create=False), "toy")
    held_back = "22 photos of 11 patients for a test are held back"

    def line(confirms: bool) -> str:
        return photo_lines(unread.table, _of_test(study, replace(order, confirms=confirms)))[-1]

    assert line(confirms=True) == held_back
    assert line(confirms=False) == f"{held_back}; search.confirm scores them once, at last"
    monkeypatch.setattr(search.worker.create, "read_test", lambda _: SimpleNamespace(trial=1))
    assert line(confirms=True) == held_back
    assert line(confirms=False) == f"{held_back}; spent on trial 1"


def test_a_test_that_cannot_be_scored_is_not_spent(unread: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    unread.end()
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("The test was not scored, and is not spent: 22 photos")
    weights = list((unread.runs / "toy").glob("*/best.safetensors"))
    for file in weights:
        file.rename(file.with_suffix(".away"))
    unread.end()
    told = capsys.readouterr().out.splitlines()[-1]
    number = load_study(open_storage(default_url(unread.runs), create=False), "toy").best_trial.number
    assert told == (
        f"The test was not scored, and is not spent: the weights of trial {number} are not in"
        f" {trial_folder(unread.runs / 'toy', number)}. Put them back there, or train them again by `python -m"
        f" search.export --study toy -o best.toml --runs {unread.runs}` and the command that it prints;"
        " maskcls.evaluate --people test then scores them."
    )
    for file in weights:
        file.with_suffix(".away").rename(file)
    other = replace(unread, table=replace(unread.table, hash="0123456789ab"))
    other.end()
    assert "spent: The photos, their labels or their sides have changed." in capsys.readouterr().out.splitlines()[-1]
    assert unread.test is None


def test_a_command_that_was_stopped_scores_no_test(unread: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(search.supervisor.start_rounds, "show_test", lambda *args: asked.append(args))
    study = load_study(open_storage(default_url(unread.runs), create=False), "toy")
    _show_end(study, unread.stored, unread.table, TRIALS + 1, unread.launch, False)
    assert asked == []
    _show_end(study, unread.stored, unread.table, TRIALS, unread.launch, False)
    assert len(asked) == 1


def test_plan_and_end_say_what_is_done_with_the_test(
    unread: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> list[str]:
        return [line for line in capsys.readouterr().out.splitlines() if " test" in line or "Test" in line]

    monkeypatch.setattr(search.supervisor.final_test, "_find_test", lambda *_: pytest.fail("scored"))
    unread.plan()
    unread.plan(keep_test=True)
    unread.end(TRIALS + 1)
    unread.end(keep_test=True)
    assert said() == [
        "Test: the 22 photos of 11 patients are scored, once, when all is decided or these rounds are done; --keep-test"
        " leaves them unseen.",
        "Test: the 22 photos of 11 patients stay unseen (--keep-test).",
        "The test was not scored, and is not spent: the 22 photos of 11 patients wait for the end of the rounds.",
        "The test was not scored, and is not spent: --keep-test keeps the 22 photos of 11 patients. search.confirm"
        " without it scores them.",
    ]
    assert unread.test is None
    without = replace(unread, table=replace(unread.table, test=None))
    without.plan()
    without.end(TRIALS + 1)
    without.end(keep_test=True)
    assert said() == []


@pytest.mark.parametrize("options", [(), ("--keep-test",)])
def test_confirm_leaves_the_test_to_a_command_without_keep_test(
    unread: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    """Here of a study that is decided; the plan of others is printed by the same option."""
    scored: list[object] = []
    monkeypatch.setattr(search.supervisor.final_test, "_find_test", lambda *args: scored.append(args))
    known = SimpleNamespace(looks=[1], is_open=False)
    monkeypatch.setattr(search.supervisor.start_rounds, "answer_of_rounds", lambda *_, **__: known)
    assert run(search.confirm.main, "--study", "toy", "--runs", unread.runs, "--device", "cpu", *options) == 0
    assert len(scored) == (not options)
    assert ("--keep-test keeps the 22 photos of 11 patients" in capsys.readouterr().out) == bool(options)


def test_the_plan_and_the_end_of_a_confirmation_in_its_own_study_say_that_the_test_stays_unseen(
    unread: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show_confirmation_plan(Plan("toy", (), 0, 2), unread.stored, unread.table, ())
    assert "            22 photos of 11 patients for a test are held back, and stay unseen\n" in capsys.readouterr().out
    monkeypatch.setattr(search.supervisor.start_confirmation, "show_confirmation_summary", lambda *_: None)
    study = load_study(open_storage(default_url(unread.runs), create=False), "toy")
    search.supervisor.start_confirmation._show_end(study, unread.stored, unread.table, unread.launch)
    assert capsys.readouterr().out == "The 22 photos of 11 patients held back for a test were not scored.\n"


def test_the_recommended_trial_is_scored_on_all_photos_of_the_test(tested: Trained) -> None:
    found = tested.test
    assert found is not None
    assert run(search.export.main, "--study", "toy", "-o", tested.runs / "b.toml", "--runs", tested.runs) == 0
    _, origin = load_config(tested.runs / "b.toml")
    assert (origin["trial"], origin["test_value"], origin["test_photos"]) == (found.trial, found.value, 22)
    kept = Predictions.load(trial_folder(tested.runs / "toy", found.trial) / "test.npz")
    assert tested.table.test is not None
    assert kept.path_N.tolist() == tested.table.test["path"].tolist()
    predicted_N = kept.log_prob_NK.argmax(1)
    assert found.value == pytest.approx(f1_score(kept.label_N, predicted_N, average="macro"))
    assert found.accuracy == pytest.approx(accuracy_score(kept.label_N, predicted_N))
    assert (found.metric, found.photos, found.groups) == ("macro_f1", 22, 11)


def test_everything_that_shows_the_study_shows_its_test(tested: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    found = tested.test
    assert found is not None
    said = f"macro F1 {found.value:.4f} ("
    ending = f"accuracy {found.accuracy:.3f}, by trial {found.trial} on 22 photos of 11 patients"
    assert run(search.status.main, "--study", "toy", "--runs", tested.runs) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  test ")]
    assert line.startswith(f"  test        {said}")
    assert line.endswith(f"{ending}, scored once")
    assert run(search.status.main, "--study", "toy", "--runs", tested.runs, "--json") == 0
    document = json.loads(capsys.readouterr().out)["test"]
    assert document == {**found.to_json(), "when": iso(found.when), "text": words_of_test(found, tested.stored.task)}
    assert list(document) == [*(field.name for field in fields(found)), "text"]
    study = load_study(open_storage(default_url(tested.runs), create=False), "toy")
    answer = answer_of(study, tested.stored, tested.runs)
    assert answer.test.startswith(f"Test, scored once: {said}")
    assert answer.test.endswith(f"{ending}.")
    assert Text(answer.test) in lead_blocks(answer)


def test_a_test_is_scored_once_even_if_another_trial_is_recommended_later(
    tested: Trained, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> FinalTest:
        raise AssertionError("scored again")

    monkeypatch.setattr(search.worker.final_test, "try_on_test", refuse)
    tested.end()
    found = tested.test
    assert found is not None
    assert "spent" not in capsys.readouterr().out
    tested.plan(keep_test=True)
    assert capsys.readouterr().out == f"Test: spent on trial {found.trial}; nothing is scored again.\n"
    study = load_study(open_storage(default_url(tested.runs), create=False), "toy")
    other = 1 - found.trial
    study.set_user_attr("test", replace(found, trial=other).to_json())  # as if it had been recommended then
    tested.end()
    spent = f"The test was spent on trial {other}; a new test, of trial {found.trial}, needs new photos."
    assert any(line.endswith(spent) for line in capsys.readouterr().out.splitlines())
    assert run(search.export.main, "--study", "toy", "-o", tested.runs / "c.toml", "--runs", tested.runs) == 0
    assert f"the test was spent on trial {other}, so a new one needs new photos" in capsys.readouterr().out
    assert "test_value" not in load_config(tested.runs / "c.toml")[1]
    study.set_user_attr("test", found.to_json())


def test_of_two_commands_that_score_at_once_the_second_keeps_nothing(tested: Trained) -> None:
    study = load_study(open_storage(default_url(tested.runs), create=False), "toy")
    first = read_test(study)
    assert first is not None

    def keep() -> None:
        raise AssertionError("kept")

    assert spend_test(study, replace(first, trial=1 - first.trial, value=0.1), keep) == first
    assert read_test(study) == first


def test_a_copy_of_the_study_has_the_spent_test(tested: Trained) -> None:
    storage = open_storage(default_url(tested.runs), create=False)
    study, copy = load_study(storage, "toy"), create_study(storage, "copy", {"grown_from": "toy"})
    copy_trials(study, copy, tested.stored.study, tested.runs)
    assert not is_fully_created(copy)  # a copy that is cut off here is made anew
    assert read_test(copy) == read_test(study) is not None
    copy.set_user_attr(KEY, tested.stored.to_json())
    assert (trial_folder(study_folder(copy, tested.runs), read_test(copy).trial) / "test.npz").is_file()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("people", "photos", "said"),
    [
        ("test", "22 photos of 11 patients", "Scoring the photos held back for a test of the dataset that the model"),
        ("valid", "24 photos of 12 patients", "scoring the held-out patients"),
        ("all", "72 photos of 36 patients", "22 photos held back for a test left out; --people test scores them"),
    ],
)
def test_evaluate_scores_the_test_for_whoever_asks(
    tested: Trained, capsys: pytest.CaptureFixture[str], people: str, photos: str, said: str
) -> None:
    found = tested.test
    assert found is not None
    model = trial_folder(tested.runs / "toy", found.trial)
    options = ("--model", model, "--data", tested.data, "--runs", tested.runs, "--device", "cpu")
    assert run(maskcls.evaluate.main, *options, "--people", people) == 0
    told = capsys.readouterr().out
    assert photos in told
    assert said in told
    assert (f"macro F1 {found.value!r} " in told) or people != "test"


def test_evaluate_refuses_a_test_where_no_photos_are_held_back(
    tested: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tested.test
    assert found is not None
    (tmp_path / "same").symlink_to(tested.data)
    lines = (tested.data / "meta.csv").read_text().replace(",test\n", ",valid\n")
    (tmp_path / "other.csv").write_text(lines)
    options = ("--data", tmp_path / "same", "--table", tmp_path / "other.csv", "--label", "diagnosis")
    model = trial_folder(tested.runs / "toy", found.trial)
    assert run(maskcls.evaluate.main, "--model", model, *options, "--people", "test", "--runs", tested.runs) == 2
    assert "holds no photos back for a test: no side of a split there is called test." in capsys.readouterr().err


def test_few_or_like_groups_have_no_interval() -> None:
    space = LabelSpace((Factor("class", ("a", "b")),))

    def predicted(groups: int, right: Callable[[int], bool]) -> FinalTest:
        label_N = np.arange(2 * groups) % 2
        called_N = np.array([label if right(number) else 1 - label for number, label in enumerate(label_N)])
        person_N = np.array([f"g{number // 2:02d}" for number in range(2 * groups)])
        log_prob_NK = np.log(np.where(np.eye(2)[called_N] > 0, 0.9, 0.1)).astype(np.float32)
        return score_test(Predictions(person_N, person_N, label_N, log_prob_NK), space, "accuracy", 3)

    enough = predicted(10, lambda number: number % 5 > 0)
    assert (enough.value, enough.metric, enough.trial, enough.groups) == (0.8, "accuracy", 3, 10)
    assert enough.low is not None
    assert enough.high is not None
    assert 0 <= enough.low < 0.8 < enough.high <= 1
    assert predicted(9, lambda number: number % 5 > 0).low is None
    assert predicted(10, lambda number: True).high is None


def test_the_hash_of_the_study_covers_the_photos_of_the_test(unread: Trained) -> None:
    assert unread.table.hash == unread.stored.split
    assert unread.table.hash != split_hash(unread.table.photos)


def test_data_without_a_test_says_nothing(unread: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    replace(unread, table=replace(unread.table, test=None)).end()
    assert "test" not in capsys.readouterr().out.splitlines()[-1].replace(str(unread.runs), "")


def test_without_the_weights_of_the_exported_training_the_best_other_one_of_its_recipe_is_scored(
    tmp_path: Path, synthetic_folder: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = make_study(tmp_path, synthetic_folder)
    play_rounds(played, {0.0: 0.4, 0.5: 0.9}, 5)
    study, trials, launch = played.study, played.study.get_trials(), Launch(tmp_path, None, "cpu", 1)
    table = replace(synthetic_table, test=synthetic_table.photos, hash=played.stored.split)
    asked: list[tuple[int, Path]] = []
    monkeypatch.setattr(search.worker.final_test, "try_on_test", lambda *args: asked.append((args[2], args[3])))
    recipe = find_recipe(study, None, tmp_path)
    assert recipe.side is not None
    worst, *_, second, best = sorted(recipe.side.trials[1:], key=lambda number: trials[number].value or 0.0)
    assert best == recipe.trial.number
    last = [trial.number for trial in trials if trial.user_attrs.get("round") == 4]
    (other,) = set(last) - set(recipe.side.trials)

    def score_with(*kept: int) -> int:
        """The number of the trial that is scored where the weights of these are kept."""
        for number in range(len(trials)):
            (trial_folder(tmp_path / "toy", number) / "best.safetensors").unlink(missing_ok=True)
        for number in kept:
            (trial_folder(tmp_path / "toy", number) / "best.safetensors").write_bytes(b"weights")
        _find_test(study, played.stored, launch, table)
        number, home = asked.pop()
        assert home == trial_folder(tmp_path / "toy", number)
        return number

    first = recipe.side.trials[0]
    assert score_with(best, second) == best
    assert score_with(worst, first, second, other) == second
    assert score_with(worst, first, other) == worst
    assert score_with(first, other) == first
    with pytest.raises(UserError, match=f"the weights of trial {best} are not in"):
        score_with(other)
    assert asked == []


def test_photos_that_are_gone_leave_the_test_unspent(
    unread: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone() -> Table:
        raise UserError("There is no folder.")

    study = create_study(open_storage(default_url(tmp_path), create=True), "toy", {KEY: unread.stored.to_json()})
    search.supervisor.start_rounds.show_test(study, unread.stored, unread.launch, gone, False)
    said = "Photos held back for a test, if there are any, were not scored: There is no folder.\n"
    assert capsys.readouterr().out == said
