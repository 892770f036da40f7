"""The folder of a run: what is written there, going on in it, and running out of memory on the way."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from maskcls.config import TrainConfig, change, load_config
from maskcls.data.dataset import Dataset
from maskcls.run.result import Result
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from maskcls.training import run_folder
from maskcls.training.loop import fit
from maskcls.training.reporter import Reporter, silent
from maskcls.training.revision import REVISION
from maskcls.training.run_folder import draw_best, finished_result, load_trained, train_into
from tests.helpers.training import CPU, TINY, Log, facts, one_line

ORIGIN: dict[str, Any] = {"split": "98ed88c46bff", "weights": {"source": "scratch"}}


def train(folder: Path, config: TrainConfig, data: Dataset, report: Reporter = silent) -> tuple[TrainConfig, Result]:
    return train_into(folder, config, data, report, origin=ORIGIN, device=CPU, weight_file=None)


class OutOfMemory:
    """``fit`` on a device where ``most`` photos fit in a forward pass, the last of them noticed at evaluation 1."""

    def __init__(self, most: int) -> None:
        self.most, self.tried = most, list[int]()

    def __call__(self, config: TrainConfig, data: Dataset, report: Reporter, **options: object) -> Result:
        self.tried.append(config.micro_batch)
        if config.micro_batch > self.most:
            fit(config, data, Log(until=1), **options)  # type: ignore[arg-type]
            raise torch.OutOfMemoryError("CUDA out of memory")
        return fit(config, data, report, **options)  # type: ignore[arg-type]


def test_folder_holds_all_of_a_run(few_photos: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    config, result = train(folder, TINY, few_photos)
    assert config == TINY
    assert load_config(folder / "config.toml") == (TINY, ORIGIN)
    draw_best(folder, MASK_TASK.predicted(config), "title", folder / "confusion.png")
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")
    names = {"config.toml", "best.safetensors", "valid.npz", "history.json", "confusion.png"}
    assert {path.name for path in folder.iterdir()} == names
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # whoever may read one may read all
    found = finished_result(folder, TINY, ORIGIN, 2)
    assert found is not None
    assert (found.history, found.planned_evaluations) == (result.history, 2)
    model, its_config = load_trained(folder, CPU)
    assert its_config == TINY
    assert isinstance(model, torch.nn.Module)


def test_out_of_memory_halves_the_micro_batch_and_writes_it_down(
    few_photos: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    double = OutOfMemory(most=8)
    monkeypatch.setattr(run_folder, "fit", double)
    log = Log()
    config, result = train(tmp_path, TINY, few_photos, log)
    assert double.tried == [32, 16, 8]
    assert config == change(TINY, micro_batch=8)
    assert load_config(tmp_path / "config.toml")[0] == config
    assert facts(result) == facts(fit(config, few_photos, device=CPU))
    assert [step for step, _ in log.heard] == [1, 2]


def test_run_stopped_after_out_of_memory_goes_on_with_its_micro_batch(
    few_photos: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    double = OutOfMemory(most=16)
    monkeypatch.setattr(run_folder, "fit", double)
    train(tmp_path, TINY, few_photos, Log(until=1))
    config, result = train(tmp_path, TINY, few_photos)  # asked for 32 again
    assert double.tried == [32, 16, 16]
    assert config.micro_batch == 16
    assert facts(result) == facts(fit(config, few_photos, device=CPU))


def test_out_of_memory_at_the_smallest_micro_batch_is_an_error(
    few_photos: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    double = OutOfMemory(most=1)
    monkeypatch.setattr(run_folder, "fit", double)
    with pytest.raises(torch.OutOfMemoryError):
        train(tmp_path, change(TINY, micro_batch=5), few_photos)
    assert double.tried == [5, 2]


def test_unfinished_run_is_gone_on_with_and_of_another_config_begun_anew(few_photos: Dataset, tmp_path: Path) -> None:
    train(tmp_path, TINY, few_photos, Log(until=1))
    assert finished_result(tmp_path, TINY, ORIGIN, 2) is None
    _, result = train(tmp_path, change(TINY, lr=2e-2), few_photos)
    assert facts(result) == facts(fit(change(TINY, lr=2e-2), few_photos, device=CPU))
    assert load_config(tmp_path / "config.toml")[0].lr == 2e-2


def test_a_run_from_before_repeatable_existed_goes_on(
    few_photos: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, TINY, few_photos, Log(until=1))
    assert "repeatable" not in json.loads((tmp_path / "history.json").read_text())["identity"]["config"]
    written = (tmp_path / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(written.replace('repeatable = "on"\n', ""))
    assert written != (tmp_path / "config.toml").read_text()
    config, result = train(tmp_path, change(TINY, repeatable="auto"), few_photos)
    assert config == TINY
    assert facts(result) == facts(fit(TINY, few_photos, device=CPU))
    assert "starts again" not in capsys.readouterr().out


def test_folder_of_another_run_is_not_taken_for_this_one(few_photos: Dataset, tmp_path: Path) -> None:
    assert finished_result(tmp_path, TINY, ORIGIN, 2) is None
    train(tmp_path, TINY, few_photos)
    assert finished_result(tmp_path, change(TINY, threads=2, micro_batch=8), ORIGIN, 2) is not None
    with pytest.raises(UserError, match=r"holds another run: lr is 0\.01 there and 0\.02 now\. Choose another -o\."):
        finished_result(tmp_path, change(TINY, lr=0.02), ORIGIN, 2)


def test_another_batch_size_is_named_whatever_the_micro_batch_was(few_photos: Dataset, tmp_path: Path) -> None:
    train(tmp_path, TINY, few_photos, Log(until=1))  # 32 photos in one part
    smaller = change(TINY, batch_size=16, micro_batch=0)
    with pytest.raises(UserError, match=r"holds another run: batch_size is 32 there and 16 now\. Choose another -o\."):
        finished_result(tmp_path, smaller, ORIGIN, 2)
    config, _ = train(tmp_path, change(smaller, micro_batch=16), few_photos, Log(until=1))  # as a trial does: anew
    assert config.batch_size == 16


def test_a_run_that_would_train_to_other_numbers_now_is_not_gone_on_with(few_photos: Dataset, tmp_path: Path) -> None:
    odd = change(TINY, batch_size=33, micro_batch=2)
    train(tmp_path, odd, few_photos, Log(until=1))
    with pytest.raises(UserError) as caught:
        finished_result(tmp_path, odd, ORIGIN, 2)
    assert one_line(caught.value) == (
        f"{tmp_path} holds a run of an earlier version, which had micro-batches of a single photo. Choose another -o."
    )
    now = {**ORIGIN, "revision": REVISION}
    config, _ = train(tmp_path, change(TINY, batch_size=33, micro_batch=33), few_photos, Log(until=1))
    assert config.micro_batch == 33  # not the 2 of the earlier version, whose state is no use
    train_into(tmp_path, odd, few_photos, Log(until=1), origin=now, device=CPU, weight_file=None)
    assert finished_result(tmp_path, odd, now, 2) is None


@pytest.mark.parametrize("until", [1, 9])
@pytest.mark.parametrize("fact", [{"split": "of other photos"}, {"weights": {"source": "folder"}}])
def test_a_run_on_other_photos_or_weights_is_another_run(
    few_photos: Dataset, tmp_path: Path, fact: dict[str, object], until: int
) -> None:
    train(tmp_path, TINY, few_photos, Log(until=until))  # ended, or stopped on the way
    with pytest.raises(UserError, match=r"holds another run: (split|weights) is .* there and .* now"):
        finished_result(tmp_path, TINY, {**ORIGIN, **fact}, 2)


def test_folder_without_a_model_is_refused(few_photos: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no trained model: it has no config\.toml"):
        load_trained(tmp_path, CPU)
    train(tmp_path, TINY, few_photos)
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(UserError, match=r"There is no .*best\.safetensors"):
        load_trained(tmp_path, CPU)


@pytest.mark.parametrize("until", [1, 9])
def test_a_run_is_over_when_all_of_its_evaluations_are_made(few_photos: Dataset, tmp_path: Path, until: int) -> None:
    train(tmp_path, TINY, few_photos, Log(until=until))
    (tmp_path / "resume.pt").unlink(missing_ok=True)
    assert (finished_result(tmp_path, TINY, ORIGIN, 2) is not None) == (until == 9)
    record = json.loads((tmp_path / "history.json").read_text())
    (tmp_path / "history.json").write_text(json.dumps(record["evaluations"]))  # as it was written before
    assert (finished_result(tmp_path, TINY, ORIGIN, 2) is not None) == (until == 9)


def test_a_run_whose_weights_are_damaged_is_not_over_and_they_are_not_loaded(
    few_photos: Dataset, tmp_path: Path
) -> None:
    train(tmp_path, TINY, few_photos)
    weights = bytearray((tmp_path / "best.safetensors").read_bytes())
    weights[-1] ^= 0x80
    (tmp_path / "best.safetensors").write_bytes(weights)
    assert finished_result(tmp_path, TINY, ORIGIN, 2) is None
    with pytest.raises(UserError, match="is not the file that the training wrote"):
        load_trained(tmp_path, CPU)


def test_the_folder_of_a_trial_is_not_trained_into(few_photos: Dataset, tmp_path: Path) -> None:
    origin = {**ORIGIN, "made_by": "search.run", "study": "toy", "trial": 3}
    train_into(tmp_path, TINY, few_photos, silent, origin=origin, device=CPU, weight_file=None)
    with pytest.raises(UserError, match=r"belongs to trial 3 of a study\. Choose another -o\."):
        finished_result(tmp_path, TINY, {**ORIGIN, "made_by": "maskcls.train"}, 2)


def test_a_folder_from_earlier_made_from_other_weights_begins_anew(
    few_photos: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, TINY, few_photos, Log(until=1))
    record = json.loads((tmp_path / "history.json").read_text())
    (tmp_path / "history.json").write_text(json.dumps(record["evaluations"]))
    origin = {**ORIGIN, "weights": {"source": "folder", "test_efficientnet": "0123"}}
    train_into(tmp_path, TINY, few_photos, silent, origin=origin, device=CPU, weight_file=None)
    assert "it belongs to another run (other weights); the run starts again." in capsys.readouterr().out
