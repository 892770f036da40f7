"""search.export --ensemble and the training of what it writes: the same scores again, member by member."""

import shutil
import tomllib
from pathlib import Path

import pytest
from optuna.trial import create_trial

import search.ensemble
import search.export
from maskcls.config import change
from maskcls.data.dataset import Table, load_dataset
from maskcls.evaluate import main as evaluate
from maskcls.train import main as train
from maskcls.training.revision import REVISION
from maskcls.training.run_folder import train_into
from search.database.connect import create_study, default_url, open_storage
from search.study.record import KEY
from search.study.space import distributions
from tests.helpers.search import TOY_STUDY, complain
from tests.helpers.training import CPU, TINY, run
from tests.maskcls.model.test_composite import _stored

CONFIGS = (change(TINY, epochs=1), change(TINY, epochs=1, image_size=48, crop=(0.8, 0.9), seed=1))


@pytest.fixture(scope="module")
def runs(synthetic_table: Table, synthetic_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two trained trials, whose weights are gone."""
    runs = tmp_path_factory.mktemp("exported") / "runs"
    runs.mkdir()
    stored = _stored(TINY, synthetic_table).to_json()
    study = create_study(open_storage(default_url(runs), create=True), "pair", {KEY: stored})
    for number, config in enumerate(CONFIGS):
        folder = runs / "pair" / f"trial-{number:04d}"
        data = load_dataset(synthetic_table, config, synthetic_cache)
        weights = {"source": "scratch"}
        origin = {"made_by": "search.run", "study": "pair", "trial": number, "split": synthetic_table.hash}
        origin |= {"weights_option": "scratch", "weights": weights, "revision": REVISION}
        trained, result = train_into(folder, config, data, lambda *_: True, origin=origin, device=CPU, weight_file=None)
        study.add_trial(
            create_trial(
                value=result.best.scores.macro_f1,
                params={"drop_rate": 0.0, "lr": 1e-2},
                distributions=distributions(TOY_STUDY.space),
                user_attrs={"config": trained.model_dump(mode="json"), "origin": origin},
            )
        )
        (folder / "best.safetensors").unlink()
    return runs


@pytest.fixture(scope="module")
def exported(runs: Path) -> Path:
    out = runs.parent / "team.toml"
    assert run(search.export.main, "--study", "pair", "--ensemble", "-o", out, "--runs", runs) == 0
    return out


def test_an_exported_ensemble_trains_to_the_same_scores_member_by_member(
    exported: Path, runs: Path, synthetic_folder: Path, synthetic_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tomllib.loads(exported.read_text())
    assert len(file["member"]) == 2
    out = runs.parent / "trained"
    place = ("--data", synthetic_folder, "--runs", synthetic_cache.parent)
    command = ("--config", exported, *place, "-o", out)
    capsys.readouterr()
    assert run(train, *command) == 0
    printed = capsys.readouterr().out
    assert printed.count(": the same.") == 3
    assert f"The exported ensemble had {file['origin']['value']!r}: the same." in printed
    written = tomllib.loads((out / "team.toml").read_text())
    assert list(written["ensemble"]) == ["member-1", "member-2"]
    assert list(written["ensemble"].values()) == [member["weight"] for member in file["member"]]
    assert written["origin"]["value"] == file["origin"]["value"]
    assert run(evaluate, "--model", out / "team.toml", *place) == 0
    assert f"{written['origin']['value']:.4f}" in capsys.readouterr().out
    # interrupted in the second member
    (out / "team.toml").unlink()
    shutil.rmtree(out / "member-2")
    assert run(train, *command) == 0
    printed = capsys.readouterr().out
    assert f"{out / 'member-1'} already holds this run." in printed
    assert f"{out / 'member-2'} already holds" not in printed
    assert printed.count(": the same.") == 3
    assert tomllib.loads((out / "team.toml").read_text()) == written


def test_trials_without_weights_are_exported_and_not_joined(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    command = ("--study", "pair", "--runs", runs)
    assert run(search.export.main, *command, "--ensemble", "--size", 1, "-o", runs.parent / "one.toml") == 0
    assert "1 config, of the best ensemble of 2 trials" in capsys.readouterr().out
    assert (runs.parent / "one.toml").read_text().count("[[member]]") == 1
    assert run(search.ensemble.main, *command, "-o", runs.parent / "other.toml") == 2
    assert "No complete trial of study 'pair' has its weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("weight = ", "weight = -", "member 1: weight must be a number above 0, not -"),
        ("lr = 0.01", "lr = 0.0", "member 1: lr must be greater than 0, not 0.0."),
        (
            "split_seed = 0",
            "split_seed = 3",
            "split_seed is 3 in member 1 and 0 in member 2. All members",
        ),
        ("[[member]]", "[surplus]\n[[member]]", "has a [[member]] table for each model and one table [origin], and"),
        ("[[member]]", 'ensemble = "x"\n[[member]]', "is an ensemble of trained models, not a config; search.export"),
    ],
)
def test_a_config_of_no_ensemble_is_one_line(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    says: str,
) -> None:
    (tmp_path / "edited.toml").write_text(exported.read_text().replace(old, new, 1))
    place = ("--data", "synthetic", "-o", str(tmp_path / "out"), "--runs", str(tmp_path))
    assert says in complain(monkeypatch, capsys, train, "--config", str(tmp_path / "edited.toml"), *place)
    assert not (tmp_path / "out").exists()


def test_options_that_do_not_go_together_are_one_line(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        return complain(monkeypatch, capsys, search.export.main, "--study", "pair", "-o", str(tmp_path / "x"), *words)

    assert "--trial exports a single model, and --ensemble several" in refused("--ensemble", "--trial", "0")
    assert "--size is of an ensemble; add --ensemble." in refused("--size", "3")
    words = ("--config", str(exported), "--data", "synthetic", "--runs", str(tmp_path), "-o", str(tmp_path / "out"))
    told = complain(monkeypatch, capsys, train, *words, "--set", "lr=0.1")
    assert "--set changes one config, and" in told
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.toml").touch()
    assert "holds a single model. Choose another -o." in complain(monkeypatch, capsys, train, *words)
