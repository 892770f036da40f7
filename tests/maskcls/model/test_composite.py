"""A composed model: three trained models, each at its own size, that maskcls.predict and evaluate take for one."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from optuna.trial import create_trial
from sklearn.metrics import f1_score

import search.compose
from maskcls.config import TrainConfig, change
from maskcls.data.dataset import Table, load_dataset
from maskcls.data.synthetic import draw_eval
from maskcls.evaluate import main as evaluate
from maskcls.images.decode import decode_photo
from maskcls.model.composite import combine, read_models
from maskcls.model.inference import to_input
from maskcls.predict import main as predict
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK
from maskcls.training.run_folder import load_trained, train_into
from search.database.connect import create_study, default_url, open_storage
from search.study.record import KEY, Stored
from search.study.space import distributions
from tests.helpers.search import TOY_STUDY
from tests.helpers.training import CPU, TINY, refusal, run

SPACE = MASK_TASK.space

CONFIGS = {
    "mask": change(TINY, task="mask", epochs=1),
    "gender": change(TINY, task="gender", epochs=1, image_size=48, crop=(0.8, 0.9)),
    "age": change(TINY, task="age", epochs=1, seed=1),
}


@pytest.fixture(scope="module")
def composed(synthetic_table: Table, synthetic_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that search.compose writes of three studies with a trained trial each, whose weights are then swept."""
    runs = tmp_path_factory.mktemp("composed") / "runs"
    runs.mkdir()
    storage = open_storage(default_url(runs), create=True)
    for part, config in CONFIGS.items():
        stored = _stored(config, synthetic_table)
        folder = runs / f"{part}s" / "trial-0000"
        data = load_dataset(synthetic_table, config, synthetic_cache)
        origin = {"split": synthetic_table.hash}
        _, result = train_into(folder, config, data, lambda *_: True, origin=origin, device=CPU, weight_file=None)
        study = create_study(storage, f"{part}s", {KEY: stored.to_json()})
        params = {"drop_rate": 0.0, "lr": 1e-2}
        value = result.best.scores.macro_f1
        study.add_trial(create_trial(value=value, params=params, distributions=distributions(TOY_STUDY.space)))
    options = [word for part in SPACE.parts for word in (f"--{part}", f"{part}s")]
    assert run(search.compose.main, *options, "-o", runs.parent / "best.toml", "--runs", runs) == 0
    shutil.copytree(runs, runs.parent / "kept")
    for part in SPACE.parts:
        (runs / f"{part}s" / "trial-0000" / "best.safetensors").unlink()
    return runs.parent / "best.toml"


def _stored(config: TrainConfig, table: Table) -> Stored:
    fixed = {name: value for name, value in config if name not in (*TOY_STUDY.space, "seed")}
    study = type(TOY_STUDY)(
        question=TOY_STUDY.question, nuisance=TOY_STUDY.space, fixed=fixed, baseline=TOY_STUDY.baseline, synthetic=True
    )
    return Stored(study, "synthetic", table.hash, {"source": "scratch"}, "scratch", "auto", False, 0)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn people, 84 photos."""
    return draw_eval(tmp_path_factory.mktemp("drawn") / "eval", size=48)


def answers(folder: Path, photos: Path, names: list[str], mirrored: bool = False) -> np.ndarray:
    """Probabilities of one trained model, photo by photo."""
    model, config = load_trained(folder, CPU)
    found = []
    with torch.inference_mode():
        for name in names:
            image_CHW = decode_photo(photos / name, config.image_size, config.crop)
            input_BCHW = to_input(image_CHW[None].float() / 255, config)
            input_BCHW = input_BCHW.flip(3) if mirrored else input_BCHW
            found.append(model.eval()(input_BCHW)[config.task].exp()[0].numpy())
    return np.stack(found)


@pytest.mark.parametrize("flip", [False, True])
def test_predict_gives_each_parts_most_likely_class(
    composed: Path, unlabelled: Path, tmp_path: Path, flip: bool
) -> None:
    out = tmp_path / "submission.csv"
    assert run(predict, "--model", composed, "--images", unlabelled, "-o", out, *(["--flip"] if flip else [])) == 0
    submission, info = pd.read_csv(out), pd.read_csv(unlabelled / "info.csv")
    names = info["ImageID"].tolist()
    assert submission["ImageID"].tolist() == names
    parts = []
    for part in SPACE.parts:
        folder = composed.parent / "kept" / f"{part}s" / "trial-0000"
        prob_NK = answers(folder, unlabelled / "images", names)
        if flip:
            prob_NK = prob_NK + answers(folder, unlabelled / "images", names, mirrored=True)
        parts.append(prob_NK.argmax(1))
    assert submission["ans"].tolist() == SPACE.encode(*parts).tolist()
    assert submission["ans"].nunique() > 3


def test_it_works_wherever_file_and_folder_are_moved_together(composed: Path, unlabelled: Path, tmp_path: Path) -> None:
    shutil.copy(composed, tmp_path / "best.toml")
    shutil.copytree(composed.parent / "best.parts", tmp_path / "best.parts")
    for number, model in enumerate((composed, tmp_path / "best.toml")):
        assert run(predict, "--model", model, "--images", unlabelled, "-o", tmp_path / f"{number}.csv") == 0
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "1.csv").read_bytes()


def test_evaluate_gives_the_score_that_compose_chose_it_for(
    composed: Path, synthetic_folder: Path, synthetic_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--model", composed, "--data", synthetic_folder, "--runs", synthetic_cache.parent, "-o", tmp_path]
    assert run(evaluate, *command) == 0
    printed = capsys.readouterr().out
    assert "scoring the held-out people" in printed
    stored = [Predictions.load(member.folder / "valid.npz") for member in read_models(composed)]
    label_N, predicted_N = (
        SPACE.encode(*parts)
        for parts in ([found.label_N for found in stored], [found.log_prob_NK.argmax(1) for found in stored])
    )
    f1 = f1_score(label_N, predicted_N, labels=range(18), average="macro", zero_division=0)
    (found,) = re.findall(r"macro F1 (0\.\d+)  accuracy", printed)
    assert float(found) == pytest.approx(f1, abs=1e-12)
    assert f"value = {float(found)!r}" in composed.read_text(encoding="utf-8")
    assert (Predictions.load(tmp_path / "predictions.npz").log_prob_NK.argmax(1) == predicted_N).all()


def test_no_sum_makes_classes_level_that_a_member_tells_apart(composed: Path) -> None:
    members = read_models(composed)
    low = np.float32(np.log(1 / 3))
    mask_NK = np.array([[low, np.nextafter(low, np.float32(0)), -2]], dtype=np.float32)
    said = [mask_NK, np.array([[-60, -1e-20]], np.float32), np.array([[-90, -50, -1e-20]], np.float32)]
    assert combine(members, said).argmax(1) == SPACE.encode(1, 1, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr = 0.1\n", "is not a composed model: it needs a table [compose] with mask, gender and age"),
        ('[compose]\nmask = "{mask}"\nage = "{age}"\n', "it needs a table [compose] with mask, gender and age"),
        ('[compose]\nmask = "absent"\nage = "{age}"\n', "absent holds no trained model"),
        ("[compose\n", "cannot be read"),
        ('[compose]\nmask = "absent"\ngender = "absent"\nage = "absent"\n', "absent holds no trained model"),
        ('[compose]\nmask = "{gender}"\ngender = "{gender}"\nage = "{age}"\n', "which predicts gender alone"),
    ],
)
def test_a_file_that_is_no_composed_model_is_one_line(
    composed: Path, unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    for member in read_models(composed):
        text = text.replace(f"{{{member.part}}}", str(member.folder))
    (tmp_path / "wrong.toml").write_text(text)
    out = tmp_path / "a.csv"
    assert says in refusal(capsys, "--model", tmp_path / "wrong.toml", "--images", unlabelled, "-o", out)
    assert run(evaluate, "--model", tmp_path / "wrong.toml", "--data", "synthetic", "--runs", tmp_path) == 2
    assert says in capsys.readouterr().err
