"""What a folder of a run holds after its process was killed at any moment, after its files were harmed, and after
another process took it over."""

import errno
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from maskcls.config import change, save_config
from maskcls.data.dataset import Dataset
from maskcls.model.classifier import build_model
from maskcls.model.inference import log_probs
from maskcls.run import checkpoint
from maskcls.run.checkpoint import STAGED, EvaluationStore
from maskcls.run.record import RECORD, STATE, WEIGHTS, read_record
from maskcls.run.result import Result
from maskcls.run.serialize import load_weights
from maskcls.scoring.metrics import score
from maskcls.scoring.predictions import Predictions
from maskcls.training.loop import Run, fit
from maskcls.training.reporter import silent
from maskcls.training.revision import REVISION
from maskcls.training.run_folder import train_into
from tests.helpers.training import CPU, TINY, Log, facts

CONFIG = change(TINY, batch_size=48, micro_batch=48, epochs=4, seed=1)
"""Four evaluations, the first and the third better than all before."""


def check_agrees(folder: Path, result: Result, data: Dataset) -> None:
    """The record, the predictions and the weights are all of the result's best evaluation."""
    record = read_record(folder)
    assert record is not None
    assert record.is_complete
    assert record.evaluations == result.history
    assert {name: stamp.evaluation for name, stamp in record.files.items()} == {
        WEIGHTS: result.best.step,
        "valid.npz": result.best.step,
    }
    stored = Predictions.load(folder / "valid.npz")
    assert score(stored.log_prob_NK, stored.label_N, "all") == result.best.scores
    model = build_model(CONFIG, None)
    load_weights(folder / WEIGHTS, model.weights())
    photos = torch.from_numpy(data.image_NCHW[data.valid.row_N])
    assert (log_probs(model, photos.split(4 * CONFIG.micro_batch), CONFIG) == stored.log_prob_NK).all()
    assert not [path.name for path in folder.iterdir() if STAGED.fullmatch(path.name)]
    assert not (folder / STATE).exists()


@contextmanager
def snapshots(folder: Path, into: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A copy of the folder as it is before each of its files is written, gets its name, or goes."""
    numbers = itertools.count()

    def copied_before(call: Callable[..., object]) -> Callable[..., object]:
        def copying(*given: Path, **options: object) -> object:
            if given[0].is_relative_to(folder) and (call is not unlink or given[0].exists()):
                shutil.copytree(folder, into / str(next(numbers)))
            return call(*given, **options)

        return copying

    unlink = Path.unlink
    with monkeypatch.context() as patch:
        for owner, name in ((checkpoint, "write_synced"), (checkpoint, "rename"), (Path, "unlink")):
            patch.setattr(owner, name, copied_before(getattr(owner, name)))
        yield


def other_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a run that goes on computes a little otherwise than the one that was cut off, as on a GPU."""
    real = Run.resume

    def resume(run: Run, store: EvaluationStore) -> None:
        real(run, store)
        with torch.no_grad():
            for value in run.model.parameters() if run.steps_done else ():
                value += 0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))

    monkeypatch.setattr(Run, "resume", resume)


def test_killed_at_any_moment_a_run_ends_with_files_of_one_evaluation(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, killed = tmp_path / "run", tmp_path / "killed"
    folder.mkdir()
    monkeypatch.setattr(checkpoint, "_sync_folder", lambda _: None)  # a lost disk cache cannot be tried here
    with snapshots(folder, killed, monkeypatch):
        undisturbed = fit(CONFIG, few_photos, device=CPU, folder=folder)
    check_agrees(folder, undisturbed, few_photos)
    assert len(list(killed.iterdir())) > 20
    other_bits(monkeypatch)
    for state in sorted(killed.iterdir(), key=lambda path: int(path.name)):
        known = read_record(state)
        result = fit(CONFIG, few_photos, device=CPU, folder=state)
        check_agrees(state, result, few_photos)
        if known is not None:  # what was told to somebody stays
            assert facts(result)[: len(known.evaluations)] == facts(undisturbed)[: len(known.evaluations)]


def test_killed_while_it_opens_a_folder_a_run_goes_on_all_the_same(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first, second = (tmp_path / name for name in ("run", "first", "second"))
    folder.mkdir()
    monkeypatch.setattr(checkpoint, "_sync_folder", lambda _: None)
    with snapshots(folder, first, monkeypatch):
        fit(CONFIG, few_photos, Log(until=2), device=CPU, folder=folder)
    half_way = max((path for path in first.iterdir() if (path / RECORD).exists()), key=lambda path: int(path.name))
    with snapshots(half_way, second, monkeypatch):
        fit(CONFIG, few_photos, Log(until=2), device=CPU, folder=half_way)
    other_bits(monkeypatch)
    for state in second.iterdir():
        check_agrees(state, fit(CONFIG, few_photos, device=CPU, folder=state), few_photos)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 0x80
    path.write_bytes(content)


HARM: dict[str, Callable[[Path], object]] = {
    "bits flipped": flipped,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "garbage": lambda path: path.write_bytes(b"garbage"),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *itertools.product((STATE, WEIGHTS, "valid.npz"), HARM),
        *((RECORD, harm) for harm in ("cut", "garbage", "empty")),
    ],
)
def test_a_run_with_a_damaged_file_says_so_and_begins_anew(
    few_photos: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, harm: str
) -> None:
    fit(CONFIG, few_photos, Log(until=2), device=CPU, folder=tmp_path)
    HARM[harm](tmp_path / name)
    log = Log()
    result = fit(CONFIG, few_photos, log, device=CPU, folder=tmp_path)
    told = capsys.readouterr().out
    assert f"its {name} is {'missing' if harm == 'gone' else 'damaged'}; the run starts again." in told
    assert facts(result) == facts(fit(CONFIG, few_photos, device=CPU))
    check_agrees(tmp_path, result, few_photos)


class GoneError(Exception):
    """Somebody else has the folder."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_who_has_lost_the_folder_changes_nothing_in_it(few_photos: Dataset, tmp_path: Path) -> None:
    fit(CONFIG, few_photos, Log(until=2), device=CPU, folder=tmp_path)
    before = contents(tmp_path)

    def lost() -> nullcontext[None]:
        if next(entered) == 0:  # when it opens the folder it is still its own
            return nullcontext()
        raise GoneError

    entered = itertools.count()
    log = Log()
    with pytest.raises(GoneError):
        fit(CONFIG, few_photos, log, device=CPU, folder=tmp_path, guard=lost)
    assert contents(tmp_path) == before
    assert [step for step, _ in log.heard] == [1, 2]  # and says nothing of an evaluation that is not kept

    def never() -> nullcontext[None]:
        raise GoneError

    with pytest.raises(GoneError):
        fit(change(CONFIG, lr=0.5), few_photos, device=CPU, folder=tmp_path, guard=never)
    assert contents(tmp_path) == before


def test_a_disk_that_is_full_for_any_file_is_an_error_of_the_system(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint.write_synced
    for name in (WEIGHTS, "valid.npz", STATE, RECORD):

        def full(path: Path, content: bytes, name: str = name) -> None:
            if path.name.endswith(name):
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            real(path, content)

        folder = tmp_path / name
        folder.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write_synced", full)
            with pytest.raises(OSError, match="No space left"):
                fit(CONFIG, few_photos, device=CPU, folder=folder)
        assert contents(folder) == {}
        assert facts(fit(CONFIG, few_photos, device=CPU, folder=folder)) == facts(fit(CONFIG, few_photos, device=CPU))


def test_a_state_made_from_other_things_is_not_gone_on_with(
    few_photos: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_from = {"weights": {"source": "folder", "resnet18": "0123"}, "versions": {"torch": "2"}, "study_id": "a"}
    fit(CONFIG, few_photos, Log(until=2), device=CPU, folder=tmp_path, made_from=made_from)
    for name, value in {"weights": {"source": "scratch"}, "versions": {"torch": "3"}, "study_id": "b"}.items():
        made_from[name] = value
        log = Log(until=2)
        fit(CONFIG, few_photos, log, device=CPU, folder=tmp_path, made_from=made_from)
        assert f"it belongs to another run (other {name}); the run starts again." in capsys.readouterr().out


@pytest.mark.parametrize("is_legacy", [False, True])
def test_a_package_whose_version_was_not_noted_is_no_reason_to_begin_anew(
    few_photos: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_legacy: bool
) -> None:
    before, now = {"versions": {"torch": "2"}}, {"versions": {"torch": "2", "pillow": "13"}, "revision": REVISION}
    if is_legacy:
        made_legacy(tmp_path, few_photos, until=2)
    else:
        fit(CONFIG, few_photos, Log(until=2), device=CPU, folder=tmp_path, made_from=before)
    save_config(tmp_path / "config.toml", CONFIG, before)
    train_into(tmp_path, CONFIG, few_photos, silent, origin=now, device=CPU, weight_file=None)
    assert "starts again" not in capsys.readouterr().out
    record = read_record(tmp_path)
    assert record is not None
    assert record.is_complete


# --- folders from before there were stamps ---------------------------------------------------------------------------


def made_legacy(folder: Path, data: Dataset, until: int) -> None:
    """A run's folder as it was written before: a plain history, and a state that says what it is of."""
    fit(CONFIG, data, Log(until=until), device=CPU, folder=folder)
    record = read_record(folder)
    assert record is not None
    history = [evaluation.to_dict() for evaluation in record.evaluations]
    (folder / RECORD).write_text(json.dumps(history))
    if (folder / STATE).exists():
        of = {"config": CONFIG.model_dump_json(exclude={"repeatable"}), "data": data.hash, "device": "cpu"}
        state = torch.load(folder / STATE, weights_only=True)
        torch.save({**state, "of": of, "history": history}, folder / STATE)


def test_a_folder_from_earlier_goes_on_to_the_same_bits(
    few_photos: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_legacy(tmp_path, few_photos, 2)
    result = fit(CONFIG, few_photos, device=CPU, folder=tmp_path)
    assert facts(result) == facts(fit(CONFIG, few_photos, device=CPU))
    assert "again" not in capsys.readouterr().out
    check_agrees(tmp_path, result, few_photos)


def test_a_folder_from_earlier_that_ended_is_not_trained_again(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_legacy(tmp_path, few_photos, 9)
    monkeypatch.setattr(Run, "step", lambda *_: pytest.fail("trained"))
    assert len(fit(CONFIG, few_photos, device=CPU, folder=tmp_path).history) == 4


@pytest.mark.parametrize(
    ("accident", "says"),
    [
        ("state lost", "its resume.pt is missing"),
        ("weights of a later evaluation", "its best.safetensors comes from a later evaluation than its resume.pt"),
        ("predictions of another", "its valid.npz does not come from evaluation"),
        ("state cut", "its resume.pt is damaged"),
        ("of another config", "it has another config, dataset or device"),
    ],
)
def test_a_folder_from_earlier_whose_files_do_not_agree_begins_anew(
    few_photos: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], accident: str, says: str
) -> None:
    made_legacy(tmp_path, few_photos, 2)
    config = CONFIG
    if accident == "state lost":
        (tmp_path / STATE).unlink()
    elif accident == "weights of a later evaluation":
        (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes())
    elif accident == "predictions of another":
        found = Predictions.load(tmp_path / "valid.npz")
        Predictions(found.path_N, found.person_N, found.label_N, -found.log_prob_NK).save(tmp_path / "valid.npz")
        (tmp_path / STATE).touch()
    elif accident == "state cut":
        HARM["cut"](tmp_path / STATE)
    else:
        config = change(CONFIG, lr=0.02)
    result = fit(config, few_photos, device=CPU, folder=tmp_path)
    assert says in capsys.readouterr().out
    assert facts(result) == facts(fit(config, few_photos, device=CPU))
