"""The drawn dataset: its layout, its people, and that it is drawn whole, once, and always the same."""

import csv
import hashlib
import multiprocessing
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import maskcls.data.synthetic as synthetic
from maskcls.data import faces
from maskcls.data.synthetic import draw_dataset, draw_eval
from maskcls.tasks.mask import GENDER, MASK_TASK

STATES = {"mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal"}
REAL_CELLS = {(0, 0): 549, (0, 1): 410, (0, 2): 83, (1, 0): 732, (1, 1): 817, (1, 2): 109}
"""(gender, age band) -> people in the competition's train folder."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("drawn") / "train")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest folder there is. Not to be written to."""
    return draw_dataset(tmp_path_factory.mktemp("small") / "train", num_people=60, size=32)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, str]:
    """Relative path of every file -> digest of its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def cells(folder: Path) -> Counter[tuple[int, int]]:
    """(gender, age band) -> people."""
    rows = read(folder / "train.csv")
    assert MASK_TASK.bands is not None
    bands = MASK_TASK.bands.classes(np.array([int(row["age"]) for row in rows]))
    return Counter((GENDER.classes.index(row["gender"]), int(band)) for row, band in zip(rows, bands, strict=True))


def mean_image(paths: list[Path]) -> np.ndarray:
    return np.mean([np.asarray(Image.open(path), np.float64) for path in paths], axis=0)


def test_folders_and_csv_tell_the_same(drawn: Path) -> None:
    rows = read(drawn / "train.csv")
    assert list(rows[0]) == ["id", "gender", "race", "age", "path"]
    assert len(rows) == 120
    assert [row["path"] for row in rows] == [f"{r['id']}_{r['gender']}_{r['race']}_{r['age']}" for r in rows]
    assert {row["path"] for row in rows} == {path.name for path in (drawn / "images").iterdir()}
    assert sorted(path.name for path in drawn.iterdir()) == ["images", "train.csv"]


def test_every_person_has_the_seven_photos(drawn: Path) -> None:
    for person in (drawn / "images").iterdir():
        assert sorted(path.stem for path in person.iterdir()) == sorted(STATES)


def test_photos_are_square_colour_files_of_the_kind_their_name_says(drawn: Path) -> None:
    kinds = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
    count: Counter[str] = Counter()
    for path in (drawn / "images").rglob("*.*"):
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == ((96, 96), "RGB", kinds[path.suffix])
        count[path.suffix] += 1
    assert count[".jpg"] > 0.9 * count.total()
    assert count[".jpeg"] > 0
    assert count[".png"] > 0


def test_same_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    assert contents(draw_dataset(tmp_path / "again", num_people=60, size=32)) == contents(small)


def test_another_seed_gives_other_photos(small: Path, tmp_path: Path) -> None:
    first, second = contents(small), contents(draw_dataset(tmp_path / "1", seed=1, num_people=60, size=32))
    assert not set(first.values()) & set(second.values())


def test_people_do_not_depend_on_how_many_are_drawn_after_them() -> None:
    few, many = (synthetic._people(0, synthetic.TRAIN, num, synthetic.MIN_PER_CELL) for num in (60, 120))
    same_cell = [(a, b) for a, b in zip(few, many, strict=False) if a.gender == b.gender and a.age == b.age]
    assert len(same_cell) > 5  # the order of the cells is mixed anew, so only some coincide
    assert all(a.slope == b.slope and np.array_equal(a.skin, b.skin) for a, b in same_cell)


def test_no_two_generators_are_the_same() -> None:
    keys = [(0, 0), (0, 0, 0), (0, 0, 0, 0), (0, 1), (0, 1, 0), (0, 1, 0, 0), (1, 0), (1, 0, 0)]
    assert len({synthetic._generator(*key).random() for key in keys}) == len(keys)


def test_shares_are_near_the_real_ones(drawn: Path) -> None:
    real = sum(REAL_CELLS.values())
    for cell, people in cells(drawn).items():
        # the smallest cells are larger than they are: 10 of 120 people against 4 to 5
        assert people / 120 == pytest.approx(REAL_CELLS[cell] / real, abs=0.055)


@pytest.mark.parametrize("num_people", [60, 61, 97, 120, 500])
def test_every_group_is_large_enough_to_be_split(num_people: int) -> None:
    counts = np.bincount(synthetic._cells(num_people, synthetic.MIN_PER_CELL), minlength=6)
    assert counts.sum() == num_people
    assert counts.min() >= 10


def test_the_default_has_the_people_that_were_asked_for(drawn: Path) -> None:
    assert cells(drawn) == {(0, 0): 22, (0, 1): 16, (0, 2): 10, (1, 0): 29, (1, 1): 33, (1, 2): 10}


def test_mean_man_and_mean_woman_are_mirror_images_at_the_forehead(drawn: Path) -> None:
    """The planted effect: what tells men from women there is gone when the picture is flipped."""
    man, woman = (
        mean_image([path for path in (drawn / "images").glob(f"*_{gender}_*/*") if path.suffix != ".png"])
        for gender in GENDER.classes
    )
    forehead = (man - woman)[20:45].mean(axis=2)
    odd, even = (forehead - forehead[:, ::-1]) / 2, (forehead + forehead[:, ::-1]) / 2
    assert np.square(odd).mean() > 5 * np.square(even).mean()


def test_a_worn_mask_covers_the_mouth_and_an_incorrect_one_shows_the_nose() -> None:
    person = synthetic._people(0, synthetic.TRAIN, 60, 10)[0]

    def hidden_rows(state: str) -> np.ndarray:
        """Rows of a 96 px picture, down the middle of the face, that a mask changes."""
        canvases = [faces.Canvas(96, *person.place) for _ in range(2)]
        for canvas in canvases:
            faces.draw_face(canvas, person)
        faces.draw_mask(canvases[1], state, np.random.default_rng(3))
        changed = np.abs(canvases[0].image_CHW - canvases[1].image_CHW).sum(0) > 0.1
        column = int(96 * person.place[0])
        return canvases[0].y_H1[changed[:, column], 0]

    assert hidden_rows("mask1").min() < 0.2  # from the bridge of the nose
    assert hidden_rows("incorrect_mask").min() > 0.3  # from below its tip
    assert hidden_rows("incorrect_mask").max() == pytest.approx(hidden_rows("mask1").max(), abs=0.05)


def test_info_csv_lists_the_eval_photos_and_tells_no_answer(tmp_path: Path) -> None:
    folder = draw_eval(tmp_path / "eval", num_people=4, size=32)
    rows = read(folder / "info.csv")
    assert list(rows[0]) == ["ImageID", "ans"]
    assert len(rows) == 28
    assert {row["ans"] for row in rows} == {"0"}
    assert {row["ImageID"] for row in rows} == {path.name for path in (folder / "images").iterdir()}
    assert all(len(Path(row["ImageID"]).stem) == 40 and int(Path(row["ImageID"]).stem, 16) >= 0 for row in rows)
    assert contents(draw_eval(tmp_path / "again", num_people=4, size=32)) == contents(folder)


def test_eval_shows_other_people_than_train() -> None:
    train = {person.slope for person in synthetic._people(0, synthetic.TRAIN, 120, 10)}
    shown = {person.slope for person in synthetic._people(0, synthetic.EVAL, 12, 0)}
    assert len(train) == 120
    assert len(shown) == 12
    assert not train & shown


def test_a_finished_folder_is_not_drawn_again(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}

    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("drawn again")

    monkeypatch.setattr(synthetic, "draw_photo", refuse)
    assert draw_dataset(small, num_people=60, size=32) == small
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before
    with pytest.raises(AssertionError, match="drawn again"):
        draw_dataset(tmp_path / "other", num_people=60, size=32)


def test_an_interrupted_drawing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, calls = synthetic.draw_photo, 0

    def interrupted(*arguments: object) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 100:
            raise KeyboardInterrupt
        return draw(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(synthetic, "draw_photo", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_dataset(tmp_path / "train", num_people=60, size=32)
    assert calls == 100
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_drawing_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(synthetic.shutil, "rmtree", lambda *_, **__: None)  # killed: nobody cleans up
        patched.setattr(synthetic, "_write_csv", _killed)
        with pytest.raises(KeyboardInterrupt):
            draw_dataset(tmp_path / "train", num_people=60, size=32)
    assert len(list(tmp_path.iterdir())) == 1  # the unfinished copy, under another name
    assert not (tmp_path / "train").exists()
    folder = draw_dataset(tmp_path / "train", num_people=60, size=32)
    assert len(contents(folder)) == 60 * 7 + 1


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def _draw_when_all_are_ready(folder: Path, barrier: object) -> None:
    barrier.wait(30)  # type: ignore[attr-defined]
    draw_dataset(folder, num_people=60, size=32)


def test_two_processes_may_draw_the_same_folder_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    folder = tmp_path / "train"
    workers = [context.Process(target=_draw_when_all_are_ready, args=(folder, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
    assert len(contents(folder)) == 60 * 7 + 1


def test_the_loser_of_the_race_discards_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, write = tmp_path / "train", synthetic._write_csv

    def overtaken(path: Path, *rest: object) -> None:
        """Just before this one is finished, another has put its folder there."""
        write(path, *rest)  # type: ignore[arg-type]
        folder.mkdir()
        (folder / "train.csv").write_text("of the winner")

    monkeypatch.setattr(synthetic, "_write_csv", overtaken)
    assert draw_dataset(folder, num_people=60, size=32) == folder
    assert (folder / "train.csv").read_text() == "of the winner"
    assert list(tmp_path.iterdir()) == [folder]


def test_other_files_in_the_folder_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds other files and no train\.csv"):
        draw_dataset(tmp_path, num_people=60, size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are a matter of POSIX")
def test_colleagues_may_read_the_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    folder = draw_eval(tmp_path / "eval", num_people=1, size=32)
    assert folder.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_people": 59}, r"num_people must be at least 60, not 59: .* Draw more"),
        ({"size": 31}, r"size must be at least 32 pixels, not 31"),
    ],
)
def test_too_small_a_dataset_is_refused(tmp_path: Path, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_dataset(tmp_path / "train", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_eval_folder_without_people_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_people must be at least 1, not 0"):
        draw_eval(tmp_path / "eval", num_people=0)
