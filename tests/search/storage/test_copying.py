"""A copy of a study (--from) has of every trial that runs meanwhile all files of one evaluation."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

import search.storage.copying
from maskcls.run import checkpoint
from maskcls.run.checkpoint import STAGED, EvaluationStore
from maskcls.run.record import PREDICTIONS, RECORD, STATE, WEIGHTS, Record, matches
from maskcls.run.result import Evaluation
from maskcls.scoring.metrics import Scores
from maskcls.system.files import link
from search.database.connect import create_study, default_url, open_storage
from search.storage.copying import copy_trials
from search.storage.looks import read_looks
from search.study.study import Choice
from tests.helpers.report import make_study, play_rounds

IDENTITY = {"data": "0123abcd"}


def evaluation(step: int) -> Evaluation:
    return Evaluation(step, Scores(0.1 * step, 0.5, 1.0, (), {}), 1.0, 100.0, 1.0, 0.5)


def evaluate(running: EvaluationStore, step: int) -> None:
    """Keep an evaluation that is the best so far."""
    contents = {name: f"{name} of {step}".encode() for name in (WEIGHTS, PREDICTIONS, STATE)}
    running.put_in_place(running.stage(map(evaluation, range(1, step + 1)), contents))


def opened(folder: Path) -> Record | None:
    """As the copy's trial opens it."""
    return EvaluationStore(folder, nullcontext, IDENTITY, 4).recover(lambda record: record)


@pytest.fixture
def running(tmp_path: Path) -> EvaluationStore:
    """A trial after its first evaluation."""
    folder = tmp_path / "trial-0000"
    folder.mkdir()
    (folder / "config.toml").write_text("seed = 0\n")
    made = EvaluationStore(folder, nullcontext, IDENTITY, 4)
    evaluate(made, 1)
    return made


def after(calls: int, happens: Callable[[], None]) -> Callable[[Path, Path], None]:
    """``link``, before whose call of this number something happens."""
    numbers: Iterator[int] = iter(range(1000))

    def linking(source: Path, target: Path) -> None:
        if next(numbers) == calls:
            happens()
        link(source, target)

    return linking


def check_is_of_one(copy: Path, steps: set[int]) -> None:
    record = opened(copy)
    assert record is not None
    assert len(record.evaluations) in steps
    assert set(record.files) == {WEIGHTS, PREDICTIONS, STATE}
    for name, stamp in record.files.items():
        assert matches(copy / name, stamp)
        assert (copy / name).read_text() == f"{name} of {len(record.evaluations)}"
    assert not [path.name for path in copy.iterdir() if STAGED.fullmatch(path.name)]
    assert (copy / "config.toml").read_text() == "seed = 0\n"


@pytest.mark.parametrize("calls", range(5))
def test_an_evaluation_that_is_kept_meanwhile_leaves_no_mixture(
    running: EvaluationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    monkeypatch.setattr(search.storage.copying, "link", after(calls, lambda: evaluate(running, 2)))
    search.storage.copying._copy_folder(running.folder, tmp_path / "copy", is_finished=False)
    check_is_of_one(tmp_path / "copy", {1, 2})
    check_is_of_one(running.folder, {2})  # what is done to the copy is not done to the original


@pytest.mark.parametrize("calls", range(5))
@pytest.mark.parametrize("moves", range(4))
def test_files_that_have_not_got_their_names_yet_are_brought_along(
    running: EvaluationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int, moves: int
) -> None:
    left = moves

    def rename(source: Path, target: Path) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        source.replace(target)

    def half() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "rename", rename)
            with pytest.raises(KeyboardInterrupt):
                evaluate(running, 2)

    monkeypatch.setattr(search.storage.copying, "link", after(calls, half))
    search.storage.copying._copy_folder(running.folder, tmp_path / "copy", is_finished=False)
    check_is_of_one(tmp_path / "copy", {1, 2})


@pytest.mark.parametrize("calls", range(7))
def test_files_that_vanish_meanwhile_are_left_out(
    running: EvaluationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    parts = [running.folder / f".{number * 32}.{name}" for number, name in (("0", RECORD), ("1", WEIGHTS))]
    for part in parts:
        part.touch()

    def vanish() -> None:
        for part in parts:
            part.unlink()

    monkeypatch.setattr(search.storage.copying, "link", after(calls, vanish))
    search.storage.copying._copy_folder(running.folder, tmp_path / "copy", is_finished=False)
    check_is_of_one(tmp_path / "copy", {1})


def test_files_that_are_of_no_evaluation_are_not_gone_on_from(running: EvaluationStore, tmp_path: Path) -> None:
    (running.folder / STATE).write_text("harmed")
    search.storage.copying._copy_folder(running.folder, tmp_path / "copy", is_finished=False)
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"config.toml"}
    assert (running.folder / STATE).read_text() == "harmed"
    assert opened(tmp_path / "copy") is None


def test_a_trial_that_is_over_is_copied_without_the_weights_that_were_swept(
    running: EvaluationStore, tmp_path: Path
) -> None:
    for name in (WEIGHTS, STATE):
        (running.folder / name).unlink()
    search.storage.copying._copy_folder(running.folder, tmp_path / "copy", is_finished=True)
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"config.toml", RECORD, PREDICTIONS}


@pytest.mark.parametrize(
    ("levels", "baseline", "shares"),
    [
        ((0.0, 0.5), 0.0, [0.5, 2 / 3]),  # a copy for another choice of what is tuned
        ((0.0, 0.5, 0.7), 0.0, [0.5, 1.0]),  # the next look is the first of a later horizon
        ((0.0, 0.5), 0.5, []),  # all is compared with something else
    ],
)
def test_a_copy_has_spent_what_the_looks_before_it_spent(
    levels: tuple[float, ...], baseline: float, shares: list[float], tmp_path: Path, synthetic_folder: Path
) -> None:
    played = make_study(tmp_path, synthetic_folder, trials=False)
    play_rounds(played, {0.0: 0.8, 0.5: 0.3}, 4)
    play_rounds(played, {0.0: 0.7, 0.5: 0.6}, 4, own_lr={0.0: 1e-2, 0.5: 3e-3})
    copy = create_study(open_storage(default_url(tmp_path), create=False), "copy", {})
    study = replace(
        played.stored.study,
        scientific={"drop_rate": Choice(*levels)},
        baseline={**played.stored.study.baseline, "drop_rate": baseline},
    )
    copy_trials(played.study, copy, study, tmp_path)
    before, after = read_looks(played.study)[1:], read_looks(copy)[1:]
    assert [look.share for look in after] == pytest.approx(shares)
    assert [look.levels for look in after] == [look.levels for look in before][: len(after)]
    own = read_looks(played.study, own_best=True)
    assert [look.levels for look in read_looks(copy, own_best=True)] == [look.levels for look in own if shares]
