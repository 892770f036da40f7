"""An ensemble of trained models, each at its own photo size, that maskcls.predict and evaluate take for one."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.trial import create_trial
from sklearn.metrics import f1_score

import search.ensemble
from maskcls.config import change
from maskcls.data.dataset import Table, load_dataset
from maskcls.data.synthetic import draw_eval
from maskcls.evaluate import main as evaluate
from maskcls.model.composite import read_models
from maskcls.model.ensemble import mean_log_prob
from maskcls.predict import main as predict
from maskcls.scoring.predictions import Predictions
from maskcls.training.run_folder import train_into
from search.database.connect import create_study, default_url, open_storage
from search.study.record import KEY
from search.study.space import distributions
from tests.helpers.search import TOY_STUDY
from tests.helpers.training import CPU, TINY, refusal, run
from tests.maskcls.model.test_composite import _stored, answers

CONFIGS = (change(TINY, epochs=3), change(TINY, epochs=3, image_size=48, crop=(0.8, 0.9), seed=1))


@pytest.fixture(scope="module")
def team(synthetic_table: Table, synthetic_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that search.ensemble writes of two studies with a trained trial each, whose weights are then swept."""
    runs = tmp_path_factory.mktemp("team") / "runs"
    runs.mkdir()
    storage = open_storage(default_url(runs), create=True)
    for number, config in enumerate(CONFIGS):
        folder = runs / f"study{number}" / "trial-0000"
        data = load_dataset(synthetic_table, config, synthetic_cache)
        origin = {"split": synthetic_table.hash}
        _, result = train_into(folder, config, data, lambda *_: True, origin=origin, device=CPU, weight_file=None)
        study = create_study(storage, f"study{number}", {KEY: _stored(config, synthetic_table).to_json()})
        params = {"drop_rate": 0.0, "lr": 1e-2}
        value = result.best.scores.macro_f1
        study.add_trial(create_trial(value=value, params=params, distributions=distributions(TOY_STUDY.space)))
    studies = ("--study", "study0", "--study", "study1")
    assert run(search.ensemble.main, *studies, "-o", runs.parent / "team.toml", "--runs", runs) == 0
    assert len(read_models(runs.parent / "team.toml")) == 2
    for number in range(2):
        (runs / f"study{number}" / "trial-0000" / "best.safetensors").unlink()
    return runs.parent / "team.toml"


def mean_of(prob_by_model: list[np.ndarray], weights: list[float]) -> np.ndarray:
    return np.average(np.stack(prob_by_model).astype(np.float64), axis=0, weights=weights)


@pytest.mark.parametrize("flip", [False, True])
def test_predict_gives_the_weighted_mean_of_the_members_probabilities(team: Path, tmp_path: Path, flip: bool) -> None:
    photos = draw_eval(tmp_path / "eval", size=48)
    mirror = ["--flip"] if flip else []
    command = ("--model", team, "--images", photos, *mirror)
    assert run(predict, *command, "-o", tmp_path / "all.csv", "--probabilities") == 0
    assert run(predict, *command, "-o", tmp_path / "submission.csv") == 0
    names = pd.read_csv(photos / "info.csv")["ImageID"].tolist()
    members = read_models(team)
    said = []
    for member in members:
        prob_NK = answers(member.folder, photos / "images", names)
        if flip:
            prob_NK = (prob_NK + answers(member.folder, photos / "images", names, mirrored=True)) / 2
        said.append(prob_NK)
    expected_NK = mean_of(said, [member.weight or 0.0 for member in members])
    found = pd.read_csv(tmp_path / "all.csv").filter(like="p(").to_numpy()
    assert found == pytest.approx(expected_NK, abs=2e-6)
    assert (pd.read_csv(tmp_path / "submission.csv")["ans"].to_numpy() == expected_NK.argmax(1)).all()


def test_evaluate_gives_the_score_that_it_was_chosen_for(
    team: Path, synthetic_folder: Path, synthetic_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--model", team, "--data", synthetic_folder, "--runs", synthetic_cache.parent, "-o", tmp_path]
    assert run(evaluate, *command) == 0
    printed = capsys.readouterr().out
    assert "scoring the held-out people" in printed
    members = read_models(team)
    stored = [Predictions.load(member.folder / "valid.npz") for member in members]
    weights = [member.weight or 0.0 for member in members]
    prob_NK = mean_of([np.exp(said.log_prob_NK.astype(np.float64)) for said in stored], weights)
    f1 = f1_score(stored[0].label_N, prob_NK.argmax(1), labels=range(18), average="macro", zero_division=0)
    (found,) = re.findall(r"macro F1 (0\.\d+)  accuracy", printed)
    assert float(found) == pytest.approx(f1, abs=1e-12)
    assert f"value = {float(found)!r}" in team.read_text(encoding="utf-8")


def test_the_mean_of_probabilities_does_not_underflow() -> None:
    low, lower = np.array([[-1e4, 0.0]], np.float32), np.array([[-2e4, 0.0]], np.float32)
    assert mean_log_prob([low, lower], [1, 1]) == pytest.approx(np.array([[-1e4 - np.log(2), 0.0]]))
    assert mean_log_prob([low], [3]) == pytest.approx(low)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[ensemble]\n", "has no members: it needs a table [ensemble]"),
        ('ensemble = "x"\n', "has no members: it needs a table [ensemble]"),
        ('[ensemble]\n"absent" = 1\n', "absent holds no trained model"),
        ('[ensemble]\n"{0}" = 0\n', "must be a number above 0, not 0."),
        ('[ensemble]\n"{0}" = true\n', "must be a number above 0, not True."),
        ('[ensemble]\n"{0}" = nan\n', "must be a number above 0, not nan."),
        ('[ensemble]\n"{0}" = "much"\n', "must be a number above 0, not 'much'."),
        ('[ensemble]\n"{0}" = 1\n"{age}" = 1\n', "predict different classes"),
    ],
)
def test_a_file_that_is_no_ensemble_is_one_line(
    team: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    photos = draw_eval(tmp_path / "eval", size=48)
    (tmp_path / "age").mkdir()
    (tmp_path / "age" / "config.toml").write_text('task = "age"\n')
    for old, new in (("{0}", str(read_models(team)[0].folder)), ("{age}", str(tmp_path / "age"))):
        text = text.replace(old, new)
    (tmp_path / "wrong.toml").write_text(text)
    told = refusal(capsys, "--model", tmp_path / "wrong.toml", "--images", photos, "-o", tmp_path / "a.csv")
    assert says in told
