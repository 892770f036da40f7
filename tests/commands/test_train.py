"""maskcls.train and maskcls.evaluate from end to end, and --help of all three commands."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maskcls.config import change, load_config, save_config
from maskcls.data.dataset import Dataset, Table
from maskcls.evaluate import _print_scores
from maskcls.evaluate import main as evaluate
from maskcls.predict import main as predict
from maskcls.scoring.metrics import score
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK
from maskcls.train import _why_incomparable
from maskcls.train import main as train
from maskcls.training.loop import DivergedError, Run, fit
from tests.helpers.data.photos import save_photos, save_table
from tests.helpers.training import CPU, REAL_PHOTOS, SIX_CELLS, TINY, make_folder, needs_real_photos, run


def best_f1(trained: Path) -> float:
    written = json.loads((trained / "history.json").read_text())
    return max(entry["scores"]["macro_f1"] for entry in written["evaluations"])


def printed_f1(text: str) -> float:
    (found,) = re.findall(r"macro F1 (0\.\d+)  accuracy", text)
    return float(found)


def test_train_writes_what_fit_gives(trained: Path, synthetic_table: Table, synthetic_data: Dataset) -> None:
    config, origin = load_config(trained / "config.toml")
    assert config == TINY
    assert (origin["split"], origin["weights"]) == (synthetic_table.hash, {"source": "scratch"})
    assert best_f1(trained) == fit(TINY, synthetic_data, device=CPU).best.scores.macro_f1
    names = {"config.toml", "best.safetensors", "valid.npz", "history.json", "confusion.png"}
    assert {path.name for path in trained.iterdir()} == names


def test_train_with_its_own_config_gives_the_same_again(
    trained: Path, synthetic_folder: Path, synthetic_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, origin = load_config(trained / "config.toml")
    save_config(tmp_path / "exported.toml", config, {**origin, "value": best_f1(trained), "trial": 7, "study": "s"})
    command = ["--config", tmp_path / "exported.toml", "--data", synthetic_folder, "-o", tmp_path / "again"]
    command += ["--runs", synthetic_cache.parent]
    assert run(train, *command) == 0
    assert "Trial 7 of s had" in (printed := capsys.readouterr().out)
    assert ": the same." in printed
    assert (tmp_path / "again" / "best.safetensors").read_bytes() == (trained / "best.safetensors").read_bytes()
    assert run(train, *command) == 0
    assert "already holds this run." in (printed := capsys.readouterr().out)
    assert ": the same." in printed
    assert run(train, *command, "--set", "lr=0.02") == 2
    assert "holds another run: lr is 0.01 there and 0.02 now" in capsys.readouterr().err


def test_evaluate_reproduces_the_score_of_the_people_held_out(
    trained: Path, synthetic_folder: Path, synthetic_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--model", trained, "--data", synthetic_folder, "--runs", synthetic_cache.parent, "-o", tmp_path]
    assert run(evaluate, *command) == 0
    printed = capsys.readouterr().out
    assert "scoring the held-out people" in printed
    assert printed_f1(printed) == best_f1(trained)
    ours, theirs = Predictions.load(tmp_path / "predictions.npz"), Predictions.load(trained / "valid.npz")
    assert (ours.path_N == theirs.path_N).all()
    assert np.abs(ours.log_prob_NK - theirs.log_prob_NK).max() < 1e-4
    assert (tmp_path / "confusion.png").exists()


def test_evaluate_scores_all_people_when_asked_or_when_they_are_others(
    trained: Path, synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = tmp_path / "others"
    shutil.copytree(synthetic_folder, others)
    (others / "train.csv").unlink()
    shutil.rmtree(sorted((others / "images").iterdir())[0])
    for folder, options, photos in ((synthetic_folder, ["--people", "all"], 420), (others, [], 413)):
        out = tmp_path / str(photos)
        command = ["--model", trained, "--data", folder, "--runs", tmp_path / "runs", "-o", out, *options]
        assert run(evaluate, *command) == 0
        stored = Predictions.load(out / "predictions.npz")
        assert len(stored.label_N) == photos
        f1 = score(stored.log_prob_NK, stored.label_N, MASK_TASK.space).macro_f1
        assert printed_f1(capsys.readouterr().out) == f1
    assert run(evaluate, "--model", trained, "--data", others, "--people", "valid", "--runs", tmp_path / "runs") == 2
    assert "it has no held-out people" in capsys.readouterr().err


def test_evaluate_takes_a_folder_too_small_to_split(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path / "one", ["000001_female_Asian_45"])
    assert run(evaluate, "--model", trained, "--data", folder, "--runs", tmp_path) == 0
    told = capsys.readouterr().out
    assert "(7 photos of 1 person)" in told
    assert "The shipped label fixes are not applied: none of their 12 people is in the folder." in told
    assert "NO PHOTO OF: worn, male, under 30; worn, male, 30 to 59" in told


def test_the_mean_over_the_classes_that_are_here_stands_beside_macro_f1(capsys: pytest.CaptureFixture[str]) -> None:
    label_N = np.array([0, 3, 12])
    certain_NK = np.log(np.eye(18)[label_N] + 1e-9)
    predictions = Predictions(np.array(["a", "b", "c"]), np.array(["p", "q", "r"]), label_N, certain_NK)
    _print_scores(predictions, MASK_TASK, MASK_TASK.space)
    told = capsys.readouterr().out
    assert "and 10 more. Their F1 counts 0; the mean over the 3 classes here is 1.0000." in told
    assert f"macro F1 {3 / 18!r}"[:15] in told


def test_train_says_what_was_mended_and_which_classes_nobody_judges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [f"{gender}_Asian_{age}" for gender in ("male", "female") for age in (20, 40, 60)] * 2
    folder = make_folder(tmp_path / "few", [f"{number:06d}_{cell}" for number, cell in enumerate(cells[:-1])])
    first = sorted(path.name for path in (folder / "images").iterdir())[0]
    (tmp_path / "fixes.csv").write_text(f"person,photo,gender,age,mask\n{first},normal,,,worn\n")
    save_config(tmp_path / "tiny.toml", change(TINY, epochs=1), {})
    words = ("--config", tmp_path / "tiny.toml", "--data", folder, "-o", tmp_path / "my model", "--runs", tmp_path)
    assert run(train, *words, "--weights", "scratch", "--label-fixes", tmp_path / "fixes.csv") == 0
    told = capsys.readouterr().out
    assert f"1 label corrected by {tmp_path / 'fixes.csv'}." in told
    (line,) = (line for line in told.splitlines() if line.startswith("NO VALIDATION PHOTO OF: "))
    assert "incorrect, female, 60 and over" in line
    assert f"python -m maskcls.predict --model '{tmp_path / 'my model'}' --images DIR" in told


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "lr=fast"], "lr must be a valid number"),
        (["--set", "drop_out=0.5"], "No hyperparameter named 'drop_out'. Nearest: drop_rate"),
        (["--set", "people=3"], "Training needs photos of every class"),
        (["--set", "backbone=test_effnet"], "timm has no backbone named 'test_effnet'"),
        (["--set", "backbone=xception"], "Use legacy_xception."),
        (["--set", "backbone=local-dir:/models/x"], "one of timm's own names"),
        (["--config", "absent.toml"], "There is no config file absent.toml"),
        (["--data", "absent"], "There is no folder absent"),
        (["--weights", "absent"], "there is no folder absent"),
        (["--weights", "pretrained", "--set", "backbone=test_vit"], "Pretrained weights are not available"),
        (["--device", "cuda:99"], "There is no device cuda:99"),
        (["--label-fixes", "absent.csv"], "There is no file absent.csv"),
        (["--config", "edited.toml"], "[origin] value must be a number, not 'high'"),
        (["--config", "newer.toml"], "newer.toml: [origin.task] is no task that this version can read"),
        (["-o", "study/out"], "study/out lies in a study's folder"),
    ],
)
def test_train_refuses_in_one_line_before_it_begins(
    synthetic_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_config(Path("edited.toml"), TINY, {"value": "high"})
    save_config(Path("newer.toml"), TINY, {"task": {"declared": "birds", "metric": "accuracy"}})
    Path("study").mkdir()
    Path("study", "study.json").write_text("{}", encoding="utf-8")
    out = tmp_path / "out"
    assert run(train, "--data", synthetic_folder, "-o", out, "--runs", tmp_path, *options) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert says in printed
    assert not out.exists()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            DivergedError("training loss nan after 3 of 9 steps"),
            "diverged: training loss nan after 3 of 9 steps. Lower lr",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            "has too little memory to train test_efficientnet even with the smallest micro-batch",
        ),
    ],
)
def test_a_training_that_cannot_end_well_ends_in_one_line(
    error: Exception,
    says: str,
    synthetic_folder: Path,
    synthetic_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def step(self: Run, number: int) -> torch.Tensor:
        if number == 5:  # in the second epoch
            raise error
        return self.targets.chance_loss * torch.ones(())

    monkeypatch.setattr(Run, "step", step)
    save_config(tmp_path / "tiny.toml", change(TINY, micro_batch=2, batch_size=100), {})
    command = ["--config", tmp_path / "tiny.toml", "--data", synthetic_folder, "-o", tmp_path / "out"]
    command += ["--weights", "scratch", "--runs", synthetic_cache.parent]
    assert run(train, *command) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert says in told
    assert run(train, *command) == 2  # nothing there looks finished
    assert "already holds this run" not in capsys.readouterr().out


HELP = """
import runpy, sys, time
sys.argv = ["command", "--help"]
try:
    runpy.run_module("MODULE", run_name="__main__")
except SystemExit as end:
    status = end.code
heavy = [name for name in ("torch", "timm", "torchvision", "pandas", "sklearn", "matplotlib") if name in sys.modules]
print("REPORT", status, time.process_time(), heavy)
"""


@pytest.mark.parametrize("module", ["maskcls.train", "maskcls.predict", "maskcls.evaluate"])
def test_help_is_quick_and_imports_nothing_heavy(module: str) -> None:
    program = HELP.replace("MODULE", module)
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "--device" in output
    _, status, seconds, heavy = output.splitlines()[-1].split(maxsplit=3)
    assert (status, heavy) == ("0", "[]")
    assert float(seconds) < 1


@needs_real_photos
def test_real_photos_train_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = change(TINY, people=90, epochs=1)
    save_config(tmp_path / "tiny.toml", config, {})
    options = ["--config", tmp_path / "tiny.toml", "--weights", "scratch", "--runs", tmp_path]
    assert run(train, "--data", REAL_PHOTOS / "train", "-o", tmp_path / "out", *options) == 0
    assert "photos of" in capsys.readouterr().out
    assert 0 < best_f1(tmp_path / "out") < 1


def test_an_unknown_part_of_the_label_is_refused_before_photos_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data", "synthetic", "-o", tmp_path / "out", "--runs", tmp_path / "runs", "--set", "task=gendr")
    assert run(train, *words) == 2
    assert capsys.readouterr().err == "error: task must be all, mask, gender, age, not 'gendr'. Nearest: gender, age.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_12_bit_photos_in_their_own_aspect_is_used_as_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, scored and used on the same pixels: those that --set asked for, in the folder that --cache names."""
    folder = make_folder(tmp_path / "photos", [f"{number}{person}" for number in range(4) for person in SIX_CELLS])
    for path in sorted(folder.glob("images/*/*.jpg")):
        deep = np.asarray(Image.open(path).convert("L")).astype(np.uint16) << 4
        Image.fromarray(deep).save(path.with_suffix(".tif"))
        path.unlink()
    place = ("--data", folder, "--cache", tmp_path / "local", "--runs", tmp_path / "runs", "--device", "cpu")
    save_config(tmp_path / "tiny.toml", change(TINY, epochs=1), {})
    asked = ("--config", tmp_path / "tiny.toml", "--weights", "scratch", *place, "-o", tmp_path / "out")
    assert run(train, *asked) == 2
    assert "use no value above 4095" in capsys.readouterr().err
    assert run(train, *asked, "--set", "bit_depth=12", "--set", "fit=pad") == 0
    printed = capsys.readouterr().out
    assert f"Cache: 168 photos at 32 x 32: 504.0 KiB in {tmp_path / 'local'}, decoded once" in printed
    assert not (tmp_path / "runs" / "cache").exists()
    assert run(evaluate, "--model", tmp_path / "out", *place) == 0
    printed = capsys.readouterr().out
    assert "decoded already" in printed
    assert printed_f1(printed) == best_f1(tmp_path / "out")
    valid = np.load(tmp_path / "out" / "valid.npz")
    (tmp_path / "new").mkdir()
    for number, path in enumerate(valid["path"]):
        shutil.copy(folder / path, tmp_path / "new" / f"{number:03d}.tif")
    assert run(predict, "--model", tmp_path / "out", "--images", tmp_path / "new", "-o", tmp_path / "new.csv") == 0
    assert "CAUTION" not in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "new.csv")["ans"].tolist() == valid["log_prob_NK"].argmax(1).tolist()


def test_a_config_keeps_its_columns_of_a_table_where_another_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table's column called label has the same classes, and would be guessed."""
    names = [f"{number:02}.jpg" for number in range(16)]
    save_photos(tmp_path / "photos", names)
    answers = ["yes", "no", "no", "yes"] * 4
    rows = [(name, answers[-1 - number // 2], answers[number // 2], number // 2) for number, name in enumerate(names)]
    save_table(tmp_path / "photos" / "meta.csv", [("file", "label", "ill", "patient"), *rows])
    common = ["--data", tmp_path / "photos", "--runs", tmp_path, "--device", "cpu", "--weights", "scratch"]
    config = [word for name in ("backbone=test_efficientnet", "image_size=16", "epochs=1") for word in ("--set", name)]
    typed = ["--label", "ill", "--group", "patient"]
    assert run(train, *common, *config, *typed, "-o", tmp_path / "first") == 0
    common += ["--table", "meta.csv"]
    assert run(train, "--config", tmp_path / "first" / "config.toml", *common, "-o", tmp_path / "again") == 0
    assert load_config(tmp_path / "again" / "config.toml")[1]["task"]["source"]["labels"] == ["ill"]
    assert (tmp_path / "again" / "valid.npz").read_bytes() == (tmp_path / "first" / "valid.npz").read_bytes()
    capsys.readouterr()
    assert run(evaluate, "--model", tmp_path / "first", *common[:4], "--table", "meta.csv") == 0
    assert "The model was trained on this dataset; scoring the held-out patients." in capsys.readouterr().out


def test_a_model_of_a_given_split_scores_photos_without_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = {"train": 4, "valid": 3, "test": 2}
    names = [f"{side}/{kind}/{number}.jpg" for side, many in sides.items() for kind in "ab" for number in range(many)]
    save_photos(tmp_path, names)
    common = ["--runs", tmp_path / "runs", "--device", "cpu"]
    config = [word for name in ("backbone=test_efficientnet", "image_size=16", "epochs=1") for word in ("--set", name)]
    model = tmp_path / "model"
    assert run(train, "--data", tmp_path, *config, *common, "--weights", "scratch", "-o", model) == 0
    capsys.readouterr()
    assert run(evaluate, "--model", model, "--data", tmp_path / "test", *common) == 0
    assert "(4 photos)" in capsys.readouterr().out
    retrain = ["--config", model / "config.toml", "--data", tmp_path / "test", "-o", tmp_path / "again"]
    assert run(train, *retrain, *common) == 2
    assert "and the data gives none." in capsys.readouterr().err
    retrain = ["--config", model / "config.toml", "--data", tmp_path, "-o", tmp_path / "again", "--set", "split_seed=3"]
    assert run(train, *retrain, *common) == 2
    assert "split_seed=3 would change nothing: the data says who trains" in capsys.readouterr().err


def test_a_score_of_another_split_is_not_said_to_be_of_other_data() -> None:
    source = {"value": 0.5, "split": "0000", "weights": {"source": "scratch"}}
    assert _why_incomparable(TINY, source, "ffff", {"source": "scratch"}) == (
        "comes from a run with another split, other data or weights"
    )
