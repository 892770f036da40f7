"""maskcls.predict from end to end: the submission's rows and order, and what is refused."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from maskcls.config import change
from maskcls.data.dataset import Dataset
from maskcls.data.synthetic import draw_eval
from maskcls.images.decode import decode_photo
from maskcls.model.classifier import joint_log_prob
from maskcls.model.inference import to_input
from maskcls.predict import main as predict
from maskcls.training.run_folder import load_trained, train_into
from tests.helpers.training import CPU, TINY, few, refusal, run


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn people, 84 photos; info.csv not in the order of the names."""
    folder = draw_eval(tmp_path_factory.mktemp("drawn") / "eval", size=48)
    info = pd.read_csv(folder / "info.csv")
    info.sample(frac=1, random_state=1).to_csv(folder / "info.csv", index=False)
    return folder


def probabilities(trained: Path, folder: Path, names: list[str], mirrored: bool = False) -> np.ndarray:
    """What the model says, photo by photo, from its parts."""
    model, config = load_trained(trained, CPU)
    found = []
    with torch.inference_mode():
        for name in names:
            image_CHW = decode_photo(folder / name, config.image_size, config.crop)
            input_BCHW = to_input(image_CHW[None].float() / 255, config)
            input_BCHW = input_BCHW.flip(3) if mirrored else input_BCHW
            found.append(joint_log_prob(model.eval()(input_BCHW)).exp()[0].numpy())
    return np.stack(found)


@pytest.mark.parametrize("flip", [False, True])
def test_submission_has_the_rows_of_info_csv_in_its_order(
    trained: Path, unlabelled: Path, tmp_path: Path, flip: bool
) -> None:
    out = tmp_path / "submission.csv"
    assert run(predict, "--model", trained, "--images", unlabelled, "-o", out, *(["--flip"] if flip else [])) == 0
    submission, info = pd.read_csv(out), pd.read_csv(unlabelled / "info.csv")
    assert list(submission.columns) == ["ImageID", "ans"]
    assert submission["ImageID"].tolist() == info["ImageID"].tolist()
    assert submission["ImageID"].tolist() != sorted(info["ImageID"])
    prob_NK = probabilities(trained, unlabelled / "images", info["ImageID"].tolist())
    if flip:
        other_NK = probabilities(trained, unlabelled / "images", info["ImageID"].tolist(), mirrored=True)
        assert (prob_NK.argmax(1) != (prob_NK + other_NK).argmax(1)).any()  # else the option would not show
        prob_NK = (prob_NK + other_NK) / 2
    assert submission["ans"].tolist() == prob_NK.argmax(1).tolist()
    assert submission["ans"].nunique() > 1
    assert submission["ans"].between(0, 17).all()
    assert [path.name for path in tmp_path.iterdir()] == ["submission.csv"]


def test_images_folder_beside_info_csv_means_the_same(trained: Path, unlabelled: Path, tmp_path: Path) -> None:
    assert run(predict, "--model", trained, "--images", unlabelled, "-o", tmp_path / "a.csv") == 0
    assert run(predict, "--model", trained, "--images", unlabelled / "images", "-o", tmp_path / "b.csv") == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_folder_of_photos_is_answered_by_name(trained: Path, unlabelled: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(unlabelled / "images", photos)
    (photos / ".hidden.jpg").write_text("")
    assert run(predict, "--model", trained, "--images", photos, "-o", tmp_path / "a.csv") == 0
    submission = pd.read_csv(tmp_path / "a.csv")
    assert submission["ImageID"].tolist() == sorted(path.name for path in (unlabelled / "images").iterdir())


def test_only_pictures_of_a_folder_are_answered(
    trained: Path, unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    first, second, third, *_ = sorted((unlabelled / "images").iterdir())
    shutil.copy(first, photos / "a.JPG")
    shutil.copy(second, photos / "b.jpeg")
    shutil.copy(third, photos / "=c")  # known by its first bytes
    for name in ("Thumbs.db", "desktop.ini", "README.txt", "README", ".DS_Store", "old.csv", "a.json"):
        (photos / name).write_text("x")
    (photos / "d.jpg").mkdir()
    assert run(predict, "--model", trained, "--images", photos, "-o", photos / "a.csv") == 0
    assert pd.read_csv(photos / "a.csv")["ImageID"].tolist() == ["=c", "a.JPG", "b.jpeg"]
    told = capsys.readouterr().out
    assert "6 files left out, not a picture: README, README.txt, Thumbs.db and 3 more." in told
    assert "CAUTION: a spreadsheet takes =c for a formula; names are written as they are" in told


def test_names_are_found_in_either_form_of_unicode(trained: Path, unlabelled: Path, tmp_path: Path) -> None:
    composed = "caf\u00e9.jpg"
    (tmp_path / "images").mkdir()
    shutil.copy(next((unlabelled / "images").iterdir()), tmp_path / "images" / unicodedata.normalize("NFD", composed))
    (tmp_path / "info.csv").write_text(f"ImageID,ans\n{composed},0\n")
    assert run(predict, "--model", trained, "--images", tmp_path, "-o", tmp_path / "a.csv") == 0
    assert pd.read_csv(tmp_path / "a.csv")["ImageID"].tolist() == [composed]


@pytest.mark.parametrize("name", ["../secret.jpg", "{tmp}/secret.jpg", "a/../../secret.jpg", "..", "/"])
def test_names_that_lead_out_of_the_folder_are_refused(
    name: str, trained: Path, unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "eval" / "images"
    (images / "a").mkdir(parents=True)
    shutil.copy(next((unlabelled / "images").iterdir()), images / "good.jpg")
    for secret in (tmp_path / "secret.jpg", tmp_path / "eval" / "secret.jpg"):
        shutil.copy(images / "good.jpg", secret)
    (tmp_path / "eval" / "info.csv").write_text(f"ImageID\ngood.jpg\n{name.format(tmp=tmp_path)}\n")
    text = refusal(capsys, "--model", trained, "--images", tmp_path / "eval", "-o", tmp_path / "a.csv")
    assert f"An ImageID must name a file in {images}; 1 of " in text
    assert f"lead out: {name.format(tmp=tmp_path)}." in text
    assert not (tmp_path / "a.csv").exists()


def test_a_link_to_nothing_and_names_that_are_no_text_are_refused(
    trained: Path, unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    words = ("--model", trained, "--images", photos, "-o", tmp_path / "a.csv")
    (photos / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    assert "a.jpg is a broken link" in refusal(capsys, *words)
    (photos / "a.jpg").unlink()
    shutil.copy(next((unlabelled / "images").iterdir()), photos / os.fsdecode(b"caf\xe9.jpg"))
    assert r"Names of photos must be UTF-8; 1 are not: caf\xe9.jpg." in refusal(capsys, *words)


@pytest.fixture
def spoilt(unlabelled: Path, tmp_path: Path) -> Path:
    """A copy of the photos, to be broken."""
    shutil.copytree(unlabelled, tmp_path / "eval")
    return tmp_path / "eval"


def test_absent_photo_is_named(trained: Path, spoilt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = sorted((spoilt / "images").iterdir())[5]
    gone.unlink()
    out = spoilt / "submission.csv"
    text = refusal(capsys, "--model", trained, "--images", spoilt, "-o", out)
    assert f"1 photo of {spoilt / 'info.csv'} not in {spoilt / 'images'}: {gone.name}." in text
    assert not out.exists()


def test_broken_photo_is_named(trained: Path, spoilt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = sorted((spoilt / "images").iterdir())[5]
    broken.write_bytes(broken.read_bytes()[:200])
    out = spoilt / "submission.csv"
    text = refusal(capsys, "--model", trained, "--images", spoilt, "-o", out)
    assert broken.name in text
    assert "Every photo needs a row; replace them." in text
    assert not out.exists()


def test_info_csv_without_image_ids_is_refused(trained: Path, spoilt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (spoilt / "info.csv").write_text("image,ans\na.jpg,0\n")
    text = refusal(capsys, "--model", trained, "--images", spoilt, "-o", spoilt / "submission.csv")
    assert "must have the columns ImageID; ImageID is missing" in text


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--images", "absent", "There is no folder absent"),
        ("--model", "absent", "absent holds no trained model"),
        ("-o", ".", ". is a folder; --out is a file to write."),
        ("-o", "absent/a.csv", "There is no folder absent to write a.csv into."),
        ("--device", "tpu", "--device takes auto, cpu, cuda or cuda:N, not 'tpu'."),
        ("--device", "cuda:99", "There is no device cuda:99"),
        ("--unknown", "3", "--unknown"),
    ],
)
def test_wrong_options_are_refused(
    trained: Path,
    unlabelled: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    says: str,
) -> None:
    options = {"--model": trained, "--images": unlabelled, "-o": tmp_path / "a.csv", option: value}
    assert says in refusal(capsys, *(word for pair in options.items() for word in pair))


def test_folder_without_photos_is_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    text = refusal(capsys, "--model", trained, "--images", tmp_path / "photos", "-o", tmp_path / "a.csv")
    assert "There are no photos in" in text


def test_model_of_a_single_task_is_refused(
    synthetic_data: Dataset, unlabelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, config = few(synthetic_data), change(TINY, task="age", epochs=1)
    train_into(tmp_path / "age", config, data, lambda *_: True, origin={}, device=CPU, weight_file=None)
    text = refusal(capsys, "--model", tmp_path / "age", "--images", unlabelled, "-o", tmp_path / "a.csv")
    assert "predicts age alone; a submission needs the whole label" in text


@pytest.mark.parametrize("content", [b"", b"name,ans\na.jpg,0\n", b"\xff\xfe\x00ImageID"])
def test_an_info_csv_that_is_none_is_one_line(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "info.csv").write_bytes(content)
    words = ("--model", str(trained), "--images", str(tmp_path), "-o", str(tmp_path / "out.csv"))
    assert run(predict, *words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert "info.csv" in told
