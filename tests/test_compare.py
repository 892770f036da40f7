"""search.compare: two trained models on the same people, their difference with its interval, and what cannot be."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import run
from report_fixtures import Played, make_study
from search_fixtures import complain
from sklearn.metrics import f1_score

from maskcls.predictions import Predictions
from search.compare import main as compare
from search.keep import trial_folder


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Played:
    return make_study(tmp_path_factory.mktemp("compare"), synthetic_folder)


def stored(played: Played, number: int) -> Predictions:
    return Predictions.load(trial_folder(played.runs / "toy", number) / "valid.npz")


def shown(capsys: pytest.CaptureFixture[str], played: Played, *words: object) -> str:
    assert run(compare, *words, "--runs", played.runs) == 0
    return capsys.readouterr().out


def test_scores_and_difference_are_those_of_the_stored_predictions(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, played, "toy:1", "toy:8")
    f1 = []
    for letter, number in (("A", 1), ("B", 8)):
        found = stored(played, number)
        f1.append(f1_score(found.label_N, found.log_prob_NK.argmax(1), labels=range(18), average="macro"))
        assert f"{letter}  macro F1 {f1[-1]:.4f}  (95 % interval" in text
    assert f"A - B  {f1[0] - f1[1]:+.3f} (95 % interval +" in text
    assert "A is better than B. These two trained models; the same 24 people judged both." in text
    assert "would show a difference of" in text


def test_order_turns_the_sign(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    forth, back = (
        re.findall(r"A - B  ([+-][.\d]+) \(95 % interval ([+-][.\d]+) to ([+-][.\d]+)\)", shown(capsys, played, *pair))[
            0
        ]
        for pair in (("toy:1", "toy:8"), ("toy:8", "toy:1"))
    )
    assert [float(number) for number in forth] == [-float(back[index]) for index in (0, 2, 1)]


def test_repeated_settings_are_compared_as_recipes(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    assert "(2 and 2 runs)" in shown(capsys, played, "toy:1", "toy:0")
    assert "(2 and 1 runs; the spread between seeds from" in shown(capsys, played, "toy:1", "toy:8")
    assert "Both are runs of one recipe" in shown(capsys, played, "toy:1", "toy:9")


def test_folders_are_compared_too(played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, number in zip(folders, (1, 8), strict=True):
        folder.mkdir()
        shutil.copy(trial_folder(played.runs / "toy", number) / "valid.npz", folder / "predictions.npz")
    text = shown(capsys, played, *folders)
    assert re.findall(r"A - B .*", text) == re.findall(r"A - B .*", shown(capsys, played, "toy:1", "toy:8"))
    assert "no setting has run twice" in text


def test_order_of_the_photos_does_not_matter(
    played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = stored(played, 8)
    order = np.random.default_rng(0).permutation(len(found.label_N))
    columns = (found.path_N, found.person_N, found.label_N, found.log_prob_NK)
    Predictions(*(column[order] for column in columns)).save(tmp_path / "valid.npz")
    mixed, plain = shown(capsys, played, "toy:1", tmp_path), shown(capsys, played, "toy:1", "toy:8")
    assert re.findall(r"A - B .*", mixed) == re.findall(r"A - B .*", plain)


def test_prior_weighs_the_people(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, played, "toy:1", "toy:8", "--prior", "male=0.9")
    plain, weighted = re.findall(r"A macro F1 ([.\d]+)|male=0.9: A ([.\d]+)", text.replace("A  macro", "A macro"))
    assert float(plain[0]) != float(weighted[1])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("toy:1", "toy"), "toy is neither a folder nor STUDY:TRIAL, for example dropout:7."),
        (("toy:1", "toy:99"), "Study toy has no trial 99; its trials are 0 to 14."),
        (("toy:1", "toy:14"), "Trial 14 of toy (running) has no predictions"),
        (("toi:1", "toy:1"), "No study named 'toi' is stored. Nearest: toy."),
        (("toy:1", "empty"), "empty holds no predictions (valid.npz or predictions.npz)"),
        (("toy:1", "broken"), "does not hold predictions"),
        (("toy:1", "three"), "three has no config.toml, which says of which task"),
        (("toy:1", "fewer"), "A and B were judged on different photos"),
        (("toy:1", "mended"), "A and B were judged by different labels of the same photos"),
        (("toy:1", "toy:8", "--prior", "men=0.5"), "--prior knows no 'men'"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    words: tuple[str, ...],
    says: str,
    played: Played,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "broken", "three", "fewer", "mended"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "valid.npz").write_bytes(b"PK")
    found = stored(played, 1)
    path_N, person_N, label_N, log_prob_NK = found.path_N, found.person_N, found.label_N, found.log_prob_NK
    Predictions(path_N, person_N, label_N % 3, log_prob_NK[:, :3]).save(tmp_path / "three" / "valid.npz")
    Predictions(path_N[7:], person_N[7:], label_N[7:], log_prob_NK[7:]).save(tmp_path / "fewer" / "valid.npz")
    mended_N = np.where(np.arange(len(label_N)) < 7, (label_N + 1) % 18, label_N)
    Predictions(path_N, person_N, mended_N, log_prob_NK).save(tmp_path / "mended" / "valid.npz")
    assert says in complain(monkeypatch, capsys, compare, *words, "--runs", str(played.runs))
