"""From search.run to maskcls.predict on six data sets that are not the mask task's, which no code knows."""

import html
import io
import json
import tomllib
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState
from sklearn.metrics import f1_score

import maskcls.evaluate
import maskcls.predict
import maskcls.train
import search.compare
import search.confirm
import search.export
import search.report
import search.run
from maskcls.reading import hf
from maskcls.scoring.predictions import Predictions
from maskcls.system.console import log_to_console
from maskcls.system.errors import UserError
from search.database.connect import load_study, open_storage
from search.page.gallery import photo_folder
from search.supervisor.launch import Launch
from search.supervisor.pool import WorkerPool
from search.supervisor.start_rounds import _table_now
from search.worker.make_job import read_photos
from tests.helpers.data.own_photos import SIX, OwnPhotos
from tests.helpers.one_process import work_in_this_process
from tests.helpers.report import make_study
from tests.helpers.search import complain, order_for, succeed

STUDY = '''"""Does dropout help on these photos?"""
from search.study.study import Choice, Float, Study

STUDY = Study(
    question="Does dropout help on these photos?",
    scientific={"drop_rate": Choice(0.0, 0.5)},
    nuisance={"lr": Float(1e-3, 1e-1, log=True)},
    fixed={
        "backbone": "test_efficientnet", "image_size": 24, "epochs": 1, "evaluations_per_epoch": 1,
        "memory_format": "contiguous", "threads": 1,
    },
    baseline={"drop_rate": 0.0, "lr": 1e-2},
)
'''


HF = "hf:DIR"


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (search.run.main, ("--study", "quickstart", "--workers", "1", "--device", "cpu")),
        (maskcls.train.main, ("-o", "{tmp}/out", "--device", "cpu")),
        (maskcls.evaluate.main, ("--model", "{model}", "--device", "cpu")),
    ],
)
def test_cache_says_where_the_photos_of_a_saved_dataset_are_written(
    tmp_path: Path,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    main: Callable[..., object],
    words: tuple[str, ...],
) -> None:
    monkeypatch.setattr(hf, "open_data", written_to)
    monkeypatch.setattr(WorkerPool, "start", lambda *_: None)
    places = ("--runs", str(tmp_path / "runs"), "--cache", str(tmp_path / "local"))
    typed = [word.format(tmp=tmp_path, model=trained) for word in words]
    assert f"Into {tmp_path / 'local'}." in complain(monkeypatch, capsys, main, *typed, "--data", HF, *places)


def test_later_commands_and_workers_find_the_photos_of_a_saved_dataset_in_the_cache(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf, "open_data", written_to)
    played = make_study(tmp_path, synthetic_folder)
    stored, cache = replace(played.stored, data=HF), tmp_path / "local"
    launch = Launch(tmp_path, None, "cpu", 1, cache=cache)
    order = replace(order_for(tmp_path, 1), requested=stored, cache=str(cache))
    for read in (lambda: read_photos(order), lambda: _table_now(stored, "toy", HF, launch)):
        with pytest.raises(UserError, match=f"^Into {cache}"):
            read()
    asked: list[object] = []
    monkeypatch.setattr(hf, "place_of", lambda *args: asked.append(args[1]) or cache)
    material = replace(played.material(cache=cache), stored=stored)
    assert photo_folder(material) == cache
    assert asked == [cache]


def written_to(data: str, options: object, cache: Path, *_: object) -> None:
    """In the place of hf.open_data: says where it would write."""
    if data == HF:
        raise UserError(f"Into {cache}.")


@dataclass
class Journey:
    """A data set, and what the commands have made and told of it, in the order in which a user types them."""

    name: str
    photos: OwnPhotos
    folder: Path
    told: dict[str, str] = field(default_factory=dict)
    """Command -> what it printed."""

    def type(self, name: str, main: Callable[..., object], *words: object) -> None:
        """Type a command, and keep what it prints."""
        with redirect_stdout(io.StringIO()) as printed:
            log_to_console()
            succeed(main, *map(str, words), "--runs", str(self.folder / "runs"))
        self.told[name] = printed.getvalue()

    @property
    def trials(self) -> list[FrozenTrial]:
        return load_study(open_storage(f"sqlite:///{self.folder}/runs/studies.db", create=False), "mine").get_trials()

    def predictions(self, trial: FrozenTrial) -> Predictions:
        return Predictions.load(self.folder / "runs" / "mine" / f"trial-{trial.number:04d}" / "valid.npz")

    @property
    def origin(self) -> dict[str, object]:
        """Where the exported config comes from."""
        origin: dict[str, object] = tomllib.loads((self.folder / "best.toml").read_text(encoding="utf-8"))["origin"]
        return origin

    @property
    def class_names(self) -> list[str]:
        """Every class, in order, as it is written: the last factor changes fastest."""
        names = [""]
        for classes in self.photos.factors.values():
            names = [f"{before}, {name}" if before else name for before in names for name in classes]
        return names


@pytest.fixture(scope="module", params=SIX)
def journey(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """One of the data sets, after all commands."""
    folder = tmp_path_factory.mktemp(request.param)
    made = Journey(request.param, SIX[request.param](folder / "photos"), folder)
    data, best = made.photos.folder, folder / "best.toml"
    (folder / "mine.py").write_text(STUDY)
    study = ("--study", folder / "mine.py", "--data", data, *made.photos.options, "--weights", "scratch")
    with pytest.MonkeyPatch.context() as patch:
        work_in_this_process(patch)
        made.type("run", search.run.main, *study, "--n-trials", 2)
        made.type("confirm", search.confirm.main, "--study", "mine", "--repeats", 2)
    made.type("report", search.report.main, "--study", "mine")
    made.type("export", search.export.main, "--study", "mine", "-o", best)
    made.type("train", maskcls.train.main, "--config", best, "--data", data, "-o", folder / "model")
    made.type("evaluate", maskcls.evaluate.main, "--model", folder / "model", "--data", data, "-o", folder / "scored")
    with redirect_stdout(io.StringIO()):  # it has no --runs
        words = ("--model", folder / "model", "--images", data, "-o", folder / "labels.csv", "--probabilities")
        succeed(maskcls.predict.main, *map(str, words))
    return made


def test_the_values_are_macro_f1_of_the_stored_predictions(journey: Journey) -> None:
    trials = journey.trials
    assert {trial.user_attrs["round"] for trial in trials} >= {0, 1}
    classes = range(len(journey.class_names))
    for trial in trials:
        assert trial.state == TrialState.COMPLETE
        stored = journey.predictions(trial)
        right = f1_score(stored.label_N, stored.log_prob_NK.argmax(1), labels=classes, average="macro", zero_division=0)
        assert trial.value == pytest.approx(right, abs=1e-12)
        named = [journey.class_names[label] for label in stored.label_N]
        assert named == [", ".join(journey.photos.class_of[path]) for path in stored.path_N]


def test_no_group_is_on_both_sides_and_the_shares_are_right(journey: Journey) -> None:
    group_of = journey.photos.group_of
    judged = set(journey.predictions(journey.trials[0]).path_N.tolist())
    trained = group_of.keys() - judged
    assert {group_of[path] for path in judged}.isdisjoint(group_of[path] for path in trained)
    if journey.name == "given_split":
        assert judged == {path for path in group_of if path.startswith("val/")}
    else:
        assert 0.15 <= len(judged) / len(group_of) <= 0.25
        assert {journey.photos.class_of[path] for path in judged} == set(journey.photos.class_of.values())


def test_the_plan_says_what_was_understood(journey: Journey) -> None:
    told, (one, many) = journey.told["run"], journey.photos.unit
    for name, classes in journey.photos.factors.items():
        assert f"{name}: {len(classes)} classes (" in told
    assert ("no groups: photos of one subject may be on both sides" in told) == (one == "photo")
    if one != "photo":
        assert f": {len(set(journey.photos.group_of.values()))} {many}, " in told
        assert f"split     by {one}, " in told
    if journey.name == "given_split":
        assert "split     as the data says" in told
        assert "12 photos for a test are held back; search.confirm scores them once, at last" in told


def test_the_report_has_the_names_and_the_unit(journey: Journey) -> None:
    folder = journey.folder / "runs" / "mine" / "report"
    page = (folder / "report.html").read_text(encoding="utf-8")
    text = (folder / "report.md").read_text(encoding="utf-8")
    if len(journey.class_names) < 20:  # of more, the most confused
        for name in journey.class_names:
            assert html.escape(name) in page
    assert "<b>sea" not in page
    assert f"intervals over {journey.photos.unit[1]}" in text
    assert not {"people", "person", "gender", "mask worn"} & set(text.split())


def test_retraining_the_exported_config_gives_the_same_to_the_last_digit(journey: Journey) -> None:
    number, value = journey.origin["trial"], journey.origin["value"]
    assert isinstance(number, int)
    assert value == journey.trials[number].value
    assert f"Trial {number} of mine had {value!r}: the same." in journey.told["train"]
    again = Predictions.load(journey.folder / "model" / "valid.npz")
    assert (again.log_prob_NK == journey.predictions(journey.trials[number]).log_prob_NK).all()


def test_evaluate_scores_the_same_photos_to_the_same_value(journey: Journey) -> None:
    assert f"scoring the held-out {journey.photos.unit[1]}" in journey.told["evaluate"]
    scored = Predictions.load(journey.folder / "scored" / "predictions.npz")
    before = Predictions.load(journey.folder / "model" / "valid.npz")
    assert scored.path_N.tolist() == before.path_N.tolist()
    assert np.abs(scored.log_prob_NK - before.log_prob_NK).max() < 1e-4
    assert f"macro F1 {journey.origin['value']!r}"[:14] in journey.told["evaluate"]


def test_evaluated_predictions_are_compared_with_those_of_the_other_level(
    journey: Journey, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of evaluate has no config: its task is beside the predictions."""
    best = journey.trials[journey.origin["trial"]]  # type: ignore[call-overload]
    (other,) = (
        trial
        for trial in journey.trials
        if trial.user_attrs["round"] == best.user_attrs["round"] and trial.params != best.params
    )
    words = (str(journey.folder / "scored"), f"mine:{other.number}", "--runs", str(journey.folder / "runs"))
    succeed(search.compare.main, *words)
    told = capsys.readouterr().out
    assert f"{other.value:.4f}" in told
    assert f"{journey.origin['value']:.4f}" in told
    assert journey.photos.unit[1] in told


def test_photos_held_back_are_scored_once_when_the_rounds_are_made(journey: Journey) -> None:
    told = journey.told["confirm"]
    if journey.name != "given_split":
        assert "Test, scored" not in told
        return
    assert "on the 12 photos held back for a test" in told
    stored = Predictions.load(*(journey.folder / "runs" / "mine").glob("trial-*/test.npz"))
    assert sorted(stored.path_N) == sorted(f"test/{name}/{number}.png" for name in "abc" for number in range(4))
    right = f1_score(stored.label_N, stored.log_prob_NK.argmax(1), average="macro", zero_division=0)
    assert f"Test, scored once: macro F1 {right:.4f}" in told


def test_predict_writes_the_classes_by_name(journey: Journey) -> None:
    table = pd.read_csv(journey.folder / "labels.csv", dtype=str, keep_default_na=False)
    assert set(table["path"]) >= journey.photos.class_of.keys()
    factors = journey.photos.factors
    for name, classes in factors.items():
        assert set(table[name if len(factors) > 1 else "label"]) <= set(classes)
    prob_NK = table[[f"p({name})" for name in journey.class_names]].astype(float).to_numpy()
    assert prob_NK.sum(1) == pytest.approx(1, abs=1e-3)
    first = tuple(table.loc[0, name if len(factors) > 1 else "label"] for name in factors)
    assert ", ".join(first) == journey.class_names[prob_NK[0].argmax()]


def test_the_exported_config_carries_the_classes(journey: Journey) -> None:
    for file in (journey.folder / "best.toml", journey.folder / "model" / "config.toml"):
        text = tomllib.loads(file.read_text(encoding="utf-8"))
        task = text["origin"]["task"]
        task = json.loads(task) if isinstance(task, str) else task
        assert {factor["name"]: tuple(factor["classes"]) for factor in task["factors"]} == journey.photos.factors
