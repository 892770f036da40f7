"""What a folder of a run holds after its process was killed at any moment, after its files were harmed, and after
another process took it over."""

import errno
import io
import itertools
import json
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from maskcls.config import LATER, change, save_config
from maskcls.data.augment import AUGMENTATIONS
from maskcls.data.dataset import Dataset
from maskcls.model.classifier import build_model
from maskcls.model.inference import log_probs, to_device
from maskcls.run import checkpoint
from maskcls.run.checkpoint import STAGED, EvaluationStore
from maskcls.run.record import RECORD, STATE, WEIGHTS, read_record
from maskcls.run.result import Result
from maskcls.run.serialize import load_state, load_weights, on_host
from maskcls.scoring.metrics import score
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK
from maskcls.training import loop
from maskcls.training.loop import DivergedError, Run, fit
from maskcls.training.numerics import resolve
from maskcls.training.reporter import silent
from maskcls.training.revision import REVISION
from maskcls.training.run_folder import train_into
from tests.helpers.training import CPU, TINY, Log, facts

CONFIG = change(TINY, batch_size=48, micro_batch=48, epochs=4, seed=1)
"""Four evaluations, the first and the third better than all before."""


WAYS = (
    *("a state each", "no state", "some states", "beside", "beside, no state", "beside, some states"),
    *("state at stops, no state", "state at stops, beside, no state", "state at stops, beside, some states"),
)
"""How evaluations are written: with which of them the state is, and whether the training goes on meanwhile; whether the
state is written when the run is stopped."""


class Sometimes(dict[str, float]):
    """RESUME_SECONDS for which every other evaluation, from the second, writes the state."""

    def __init__(self) -> None:
        self.seconds = itertools.cycle((math.inf, 0.0))

    def __getitem__(self, device: str) -> float:
        return next(self.seconds)


def write(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on evaluations are written in this one of WAYS."""
    monkeypatch.setattr(loop, "STOP_SECONDS", 0.0 if way.startswith("state at stops") else math.inf)
    if "beside" in way:
        monkeypatch.setattr(loop, "WRITES_BESIDE", ("cpu",))
    if way.endswith("no state"):
        monkeypatch.setattr(loop, "RESUME_SECONDS", {"cpu": math.inf})
    if way.endswith("some states"):
        monkeypatch.setattr(loop, "RESUME_SECONDS", Sometimes())


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
    assert score(stored.log_prob_NK, stored.label_N, MASK_TASK.space) == result.best.scores
    model = build_model(CONFIG, MASK_TASK.space, None)
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


@pytest.mark.parametrize("way", ["a state each", "some states", "beside, no state", "beside, some states"])
def test_killed_at_any_moment_a_run_ends_with_files_of_one_evaluation(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    write(way, monkeypatch)
    folder, killed = tmp_path / "run", tmp_path / "killed"
    folder.mkdir()
    monkeypatch.setattr(checkpoint, "_sync_folder", lambda _: None)  # a lost disk cache cannot be tried here
    with snapshots(folder, killed, monkeypatch):
        undisturbed = fit(CONFIG, few_photos, device=CPU, folder=folder)
    check_agrees(folder, undisturbed, few_photos)
    assert len(list(killed.iterdir())) > (20 if way == "a state each" else 14)
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


RANDOM = change(CONFIG, augment=AUGMENTATIONS, drop_rate=0.5)
"""With all that draws random numbers."""


@pytest.fixture(scope="module")
def undisturbed(few_photos: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a run of RANDOM that nobody stops, and its result."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, fit(RANDOM, few_photos, device=CPU, folder=folder)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stops", [(1,), (2,), (3,), (1, 3), (2, 3)])
def test_stopped_and_resumed_a_run_has_the_bits_of_the_undisturbed(
    undisturbed: tuple[Path, Result],
    few_photos: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    stops: tuple[int, ...],
) -> None:
    plain, result = undisturbed
    write(way, monkeypatch)
    for until in stops:
        log = Log(until)
        assert len(fit(RANDOM, few_photos, log, device=CPU, folder=tmp_path).history) == until
        record = read_record(tmp_path)
        assert record is not None
        assert [scores for _, scores in log.heard] == [evaluation.scores for evaluation in record.evaluations]
        assert (tmp_path / STATE).exists() == (STATE in record.files)
    torch.manual_seed(99)
    resumed = fit(RANDOM, few_photos, device=CPU, folder=tmp_path)
    assert facts(resumed) == facts(result)
    for name in (WEIGHTS, "valid.npz"):
        assert (tmp_path / name).read_bytes() == (plain / name).read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {WEIGHTS, "valid.npz", RECORD}


def test_a_resumed_run_trains_again_from_its_state_alone(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(CONFIG, few_photos, Log(until=2), device=CPU, folder=tmp_path)
    write("no state", monkeypatch)
    fit(CONFIG, few_photos, Log(until=3), device=CPU, folder=tmp_path)
    record = read_record(tmp_path)
    assert record is not None
    assert (len(record.evaluations), record.files[STATE].evaluation) == (3, 2)
    steps = trained_steps(monkeypatch)
    assert len(fit(CONFIG, few_photos, device=CPU, folder=tmp_path).history) == 4
    assert steps == [4, 5, 6, 7]  # two an epoch; those of the third epoch again


def trained_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that are made from now on."""
    steps, real = list[int](), Run.step
    monkeypatch.setattr(Run, "step", lambda run, step: steps.append(step) or real(run, step))
    return steps


def test_a_run_that_trains_again_can_be_stopped_on_the_way_and_nothing_of_it_is_lost(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fit(CONFIG, few_photos, device=CPU)
    write("no state", monkeypatch)
    fit(CONFIG, few_photos, Log(until=3), device=CPU, folder=tmp_path)
    assert not (tmp_path / STATE).exists()
    steps, log = trained_steps(monkeypatch), Log(until=1)
    write("state at stops, no state", monkeypatch)
    assert len(fit(CONFIG, few_photos, log, device=CPU, folder=tmp_path).history) == 3
    assert ([step for step, _ in log.heard], steps) == ([1], [0, 1])  # two steps an interval
    log = Log(until=3)
    fit(CONFIG, few_photos, log, device=CPU, folder=tmp_path)
    assert ([step for step, _ in log.heard], steps) == ([1, 2, 3], [0, 1, 2, 3, 4, 5])
    assert facts(fit(CONFIG, few_photos, device=CPU, folder=tmp_path)) == facts(undisturbed)
    assert steps == [*range(8)]
    assert not (tmp_path / STATE).exists()


def test_a_run_that_is_stopped_amid_two_evaluations_goes_on_from_there(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = change(CONFIG, epochs=8, batch_size=24, micro_batch=24, augment=AUGMENTATIONS, drop_rate=0.5)
    undisturbed = fit(config, few_photos, device=CPU)
    with monkeypatch.context() as patch:
        Beside(patch)
        write("state at stops, beside, no state", patch)
        fit(config, few_photos, Log(until=1), device=CPU, folder=tmp_path)
    assert load_state(tmp_path / STATE).steps_done == 6  # of the eight until the second evaluation
    steps = trained_steps(monkeypatch)
    torch.manual_seed(99)
    assert facts(fit(config, few_photos, device=CPU, folder=tmp_path)) == facts(undisturbed)
    assert steps == [*range(6, 32)]


@pytest.mark.parametrize("way", ["a state each", "a full disk", "a recent state", "the last evaluation"])
def test_a_state_that_need_not_or_cannot_be_written_at_a_stop_is_not(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    write("a state each" if way == "a state each" else "no state", monkeypatch)
    monkeypatch.setattr(loop, "STOP_SECONDS", math.inf if way == "a recent state" else 0.0)
    real, written = checkpoint.write_synced, list[str]()

    def write_synced(path: Path, content: bytes) -> None:
        if way == "a full disk" and path.name.endswith(STATE):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path.name[34:])  # without a dot, the token and a dot
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_synced", write_synced)
    until = 4 if way == "the last evaluation" else 1
    assert len(fit(CONFIG, few_photos, Log(until), device=CPU, folder=tmp_path).history) == until
    assert written.count(RECORD) == until
    assert (tmp_path / STATE).exists() == (way == "a state each")
    assert not [path.name for path in tmp_path.iterdir() if STAGED.fullmatch(path.name)]
    assert facts(fit(CONFIG, few_photos, device=CPU, folder=tmp_path)) == facts(fit(CONFIG, few_photos, device=CPU))


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


@pytest.mark.parametrize("way", ["a state each", "beside"])
def test_who_has_lost_the_folder_changes_nothing_in_it(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    write(way, monkeypatch)
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


@pytest.mark.parametrize("way", ["a state each", "beside"])
def test_a_disk_that_is_full_for_any_file_is_an_error_of_the_system(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    write(way, monkeypatch)
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


class Beside:
    """A training whose files are written while it goes on: the thread begins two steps after the evaluation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write("beside", monkeypatch)
        self.steps = 0
        may_write, real_step, real_write = threading.Event(), Run.step, checkpoint.write_synced

        def step(run: Run, number: int) -> torch.Tensor:
            self.steps += 1
            loss = real_step(run, number)
            if number == 5:
                may_write.set()
                assert run.written is not None
                run.written.result(60)
            return loss

        def write_synced(path: Path, content: bytes) -> None:
            assert may_write.wait(60)
            real_write(path, content)

        monkeypatch.setattr(Run, "step", step)
        monkeypatch.setattr(checkpoint, "write_synced", write_synced)


def test_files_are_written_while_the_training_goes_on_and_hold_what_was_judged(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, beside = tmp_path / "plain", tmp_path / "beside"
    plain.mkdir()
    beside.mkdir()
    config = change(CONFIG, epochs=8, batch_size=24, micro_batch=24)  # four steps an interval
    fit(config, few_photos, Log(until=1), device=CPU, folder=plain)
    training = Beside(monkeypatch)
    told: list[tuple[int, int]] = []

    def report(step: int, scores: object) -> bool:
        record = read_record(beside)
        assert record is not None
        told.append((len(record.evaluations), training.steps))
        return False

    result = fit(config, few_photos, report, device=CPU, folder=beside)
    assert told == [(1, 6)]  # committed before it is told, two steps into the next interval
    assert len(result.history) == 1
    for name in (WEIGHTS, "valid.npz", STATE):  # as they were at the evaluation
        assert (beside / name).read_bytes() == (plain / name).read_bytes()


@pytest.mark.parametrize("error", [RuntimeError("cursed"), KeyboardInterrupt()], ids=["crash", "at once"])
def test_an_evaluation_that_a_crash_meets_before_it_is_committed_is_as_if_it_had_not_been(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    undisturbed = fit(CONFIG, few_photos, device=CPU)
    log = Log()
    with monkeypatch.context() as patch:
        write("beside", patch)
        entered, real_step, real_write = threading.Event(), Run.step, checkpoint.write_synced

        def step(run: Run, number: int) -> torch.Tensor:
            if number == 4:  # the first after the second evaluation
                entered.set()
                raise error
            return real_step(run, number)

        def write_synced(path: Path, content: bytes) -> None:
            assert log.heard == [] or entered.wait(60)
            real_write(path, content)

        patch.setattr(Run, "step", step)
        patch.setattr(checkpoint, "write_synced", write_synced)
        with pytest.raises(type(error)):
            fit(CONFIG, few_photos, log, device=CPU, folder=tmp_path)
    assert [step for step, _ in log.heard] == [1]
    record = read_record(tmp_path)
    assert record is not None
    assert len(record.evaluations) == 1
    assert not [path.name for path in tmp_path.iterdir() if STAGED.fullmatch(path.name)]
    assert facts(fit(CONFIG, few_photos, device=CPU, folder=tmp_path)) == facts(undisturbed)


def test_a_run_that_diverges_has_told_its_last_evaluation(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("beside", monkeypatch)
    log, real = Log(), Run.step

    def step(run: Run, number: int) -> torch.Tensor:
        if number == 4:  # the first after the second evaluation
            torch.nn.init.constant_(next(run.model.parameters()), math.nan)
        return real(run, number)

    monkeypatch.setattr(Run, "step", step)
    with pytest.raises(DivergedError):
        fit(CONFIG, few_photos, log, device=CPU, folder=tmp_path)
    assert [step for step, _ in log.heard] == [1, 2]
    record = read_record(tmp_path)
    assert record is not None
    assert len(record.evaluations) == 2


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


CUDA = torch.device("cuda")


@pytest.mark.parametrize("device", [CPU, pytest.param(CUDA, marks=pytest.mark.gpu)], ids=str)
def test_a_copy_on_the_host_is_of_its_moment(device: torch.device) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).to(
        device, memory_format=torch.channels_last
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(0.1, device=device), fused=True)
    model(torch.ones(2, 3, 5, 5, device=device)).square().sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "none": None, "steps": 3}
    at_once = io.BytesIO()
    torch.save(state, at_once)
    copied, after = on_host(state, device), io.BytesIO()
    optimizer.step()
    with torch.no_grad():
        for value in (*model.state_dict().values(), *optimizer.state[model[0].weight].values()):
            value.add_(1)
    expected = torch.load(io.BytesIO(at_once.getvalue()), map_location="cpu", weights_only=True)
    torch.save(copied, after)
    later = torch.load(io.BytesIO(after.getvalue()), weights_only=True)
    assert later["model"]._metadata == expected["model"]._metadata
    torch.testing.assert_close(later, expected, rtol=0, atol=0)
    for value in (*copied["model"].values(), *copied["optimizer"]["state"][0].values()):
        assert value.device == CPU
        assert value.is_pinned() == (device.type == "cuda")
    assert copied["model"]["0.weight"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.gpu
@pytest.mark.parametrize("seconds", [0.0, math.inf])
def test_on_a_gpu_files_are_written_beside_the_training_and_hold_what_was_judged(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    config = resolve(CONFIG, CUDA)
    monkeypatch.setattr(loop, "RESUME_SECONDS", {"cuda": seconds})
    monkeypatch.setattr(loop, "STOP_SECONDS", math.inf)
    step, ahead = Run.step, list[int]()

    def waiting(run: Run, number: int) -> torch.Tensor:
        if number % 2 and run.written is not None:  # the second step of an interval
            run.written.result(60)
            ahead.append(number)
        return step(run, number)

    write_synced = checkpoint.write_synced
    monkeypatch.setattr(Run, "step", waiting)
    monkeypatch.setattr(checkpoint, "write_synced", lambda *given: time.sleep(0.1) or write_synced(*given))
    heard: list[int] = []

    def report(number: int, scores: object) -> bool:
        record = read_record(tmp_path)
        assert record is not None
        assert len(record.evaluations) >= number  # more where a resumed run tells of the past
        heard.append(number)
        return heard != [1, 2]

    stopped = fit(config, few_photos, report, device=CUDA, folder=tmp_path)
    assert len(stopped.history) == 2
    assert ahead == [3, 5]
    assert (tmp_path / STATE).exists() == (seconds == 0)
    stored = Predictions.load(tmp_path / "valid.npz")
    model = build_model(config, MASK_TASK.predicted(config), None)
    load_weights(tmp_path / WEIGHTS, model.weights())
    photos = torch.from_numpy(few_photos.image_NCHW[few_photos.valid.row_N]).to(CUDA)
    again_NK = log_probs(to_device(model, config, CUDA), photos.split(4 * config.micro_batch), config)
    assert again_NK == pytest.approx(stored.log_prob_NK, abs=1e-3)
    whole = fit(config, few_photos, report, device=CUDA, folder=tmp_path)
    assert whole.history[:2] == stopped.history
    assert heard == [1, 2, 1, 2, 3, 4]
    assert not (tmp_path / STATE).exists()


@pytest.mark.gpu
def test_a_gpu_is_given_few_steps_that_may_be_in_vain(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU queues a step in a fraction of the time that the GPU then needs for it."""
    steps, step, write_synced = list[int](), Run.step, checkpoint.write_synced

    def slow(run: Run, number: int) -> torch.Tensor:
        steps.append(number)
        torch.cuda._sleep(200_000_000)  # about .1 s
        return step(run, number)

    monkeypatch.setattr(Run, "step", slow)
    monkeypatch.setattr(checkpoint, "write_synced", lambda *given: time.sleep(0.1) or write_synced(*given))
    config = resolve(change(CONFIG, epochs=2, batch_size=4, micro_batch=4), CUDA)  # 24 steps an interval
    fit(config, few_photos, Log(until=1), device=CUDA, folder=tmp_path)
    assert 24 < len(steps) < 36


@pytest.mark.gpu
def test_photos_kept_off_the_gpu_train_to_much_the_same(few_photos: Dataset) -> None:
    config = resolve(CONFIG, CUDA)
    losses = []
    for photos_on_gpu in (True, False):
        run = Run(config, few_photos, CUDA, None, photos_on_gpu=photos_on_gpu)
        assert run.train.on_device == run.valid.on_device == photos_on_gpu
        losses.append(float(run.step(0)))
        run.evaluate()
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


# --- folders from before there were stamps ---------------------------------------------------------------------------


def made_legacy(folder: Path, data: Dataset, until: int) -> None:
    """A run's folder as it was written before: a plain history, and a state that says what it is of."""
    fit(CONFIG, data, Log(until=until), device=CPU, folder=folder)
    record = read_record(folder)
    assert record is not None
    history = [evaluation.to_dict() for evaluation in record.evaluations]
    (folder / RECORD).write_text(json.dumps(history))
    if (folder / STATE).exists():
        of = {"config": CONFIG.model_dump_json(exclude={"repeatable", *LATER}), "data": data.hash, "device": "cpu"}
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
