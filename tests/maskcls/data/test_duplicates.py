"""Photos on both sides of a split in two guises: found in every guise promised, and others not taken for them."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits, load_sample_images

import maskcls.data.duplicates
from maskcls.data.dataset import Dataset, LabelledPhotos
from maskcls.data.duplicates import NearDuplicates, near_duplicates, near_duplicates_of, near_duplicates_text
from maskcls.data.split import split_by_person
from maskcls.tasks.task import Unit

GUISES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda image: image,
    "JPEG of quality 75": lambda image: as_jpeg(image, 75),
    "JPEG of quality 30": lambda image: as_jpeg(image, 30),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "2 % cropped": lambda image: image.crop(
        (image.width // 50, image.height // 50, image.width - image.width // 50, image.height - image.height // 50)
    ),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "gray": lambda image: image.convert("L").convert("RGB"),
}


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def tiles() -> list[Image.Image]:
    """40 parts of scikit-learn's two photos, a temple and a flower, that do not overlap."""
    found = []
    for photo in load_sample_images().images:
        image = Image.fromarray(photo)
        found += [image.crop((x, y, x + 128, y + 105)) for x in range(0, 640, 128) for y in range(0, 420, 105)]
    return found


def array(images: Sequence[Image.Image], size: tuple[int, int] = (96, 80)) -> np.ndarray:
    """As a cache holds them: uint8 [N, 3, rows, columns]."""
    pixels = [np.asarray(image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)) for image in images]
    return np.stack(pixels).transpose(0, 3, 1, 2)


def table(train: int, valid: int) -> pd.DataFrame:
    """Photos t0, t1, ... of the training side, then v0, v1, ..."""
    paths = [f"t{number}" for number in range(train)] + [f"v{number}" for number in range(valid)]
    return pd.DataFrame(
        {"path": paths, "split": ["train"] * train + ["valid"] * valid, "row": np.arange(train + valid)}
    )


def test_parts_of_two_photos_are_not_taken_for_each_other() -> None:
    assert near_duplicates(array(tiles()), table(20, 20)) == NearDuplicates(0, 0, 20, (), 1)  # a piece of sky is blank
    mixed = [tiles()[number] for number in np.random.default_rng(0).permutation(40)]
    assert near_duplicates(array(mixed), table(30, 10)).pairs == 0


@pytest.mark.parametrize("guise", GUISES)
@pytest.mark.parametrize("size", [(96, 80), (224, 224)])
def test_copies_in_a_guise_are_found_and_nothing_else(guise: str, size: tuple[int, int]) -> None:
    images = tiles()[1:]
    copies = [GUISES[guise](image) for image in images]
    sides = [near_duplicates(array(both, size), table(39, 39)) for both in (images + copies, copies + images)]
    for found in sides:
        assert 39 >= found.pairs == found.valid_photos >= (33 if guise == "JPEG of quality 30" else 37)
        assert all(left[1:] == right[1:] for left, right in found.examples)
        assert all(left[0] == "v" and right[0] == "t" for left, right in found.examples)
    assert sides[0].pairs == sides[1].pairs  # whichever of the two is the original


@pytest.mark.parametrize("size", [(8, 300), (33, 7), (127, 128)])
def test_any_shape_of_photos_can_be_compared(size: tuple[int, int]) -> None:
    images = tiles()[1:9]
    found = near_duplicates(array(images + images, size), table(8, 8))
    assert found.valid_photos == 8
    assert found.pairs <= 10


def test_rows_of_the_table_may_be_a_part_of_the_array_in_any_order(tmp_path: Path) -> None:
    images = tiles()[:8]
    np.save(tmp_path / "cache.npy", array([*images, images[2], images[5]]))
    mapped = np.load(tmp_path / "cache.npy", mmap_mode="c")
    photos = table(8, 2)
    read: list[None] = []
    shuffled = photos.sample(frac=1, random_state=0)
    found = near_duplicates(mapped, shuffled, lambda: read.append(None))
    assert set(found.examples) == {("v0", "t2"), ("v1", "t5")}
    assert len(read) == 10
    assert near_duplicates(mapped, photos[photos["path"] != "t2"]).examples == (("v1", "t5"),)
    assert near_duplicates(mapped, photos[photos["split"] == "valid"]).pairs == 0
    assert near_duplicates(mapped, photos.assign(split="test")).of_valid == 0


def test_blank_photos_are_like_nothing_and_a_blank_middle_is_no_likeness() -> None:
    blank = np.stack([np.full((3, 96, 80), level, dtype=np.uint8) for level in (0, 0, 128, 255)])
    grain = np.random.default_rng(0).normal(128, 2, (2, 3, 96, 80)).astype(np.uint8)
    top, left = blank[2:3].copy(), blank[2:3].copy()
    top[:, :, 0], left[:, :, :, 0] = 255, 255  # what a margin leaves out
    photos = np.concatenate([top, left, blank[1:], grain[1:], top, left, blank[:1], grain[:1]])
    found = near_duplicates(photos, table(6, 4))
    assert set(found.examples) == {("v0", "t0"), ("v1", "t1")}
    assert (found.pairs, found.blank) == (2, 6)


def test_digits_are_told_apart_though_their_hashes_are_close() -> None:
    """Hashes within 4 bits alone would accuse all of them."""
    digits = [Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((64, 64), 0) for pixels in load_digits().images]
    number = np.arange(len(digits))
    photos = pd.DataFrame({"path": number.astype(str), "row": number, "person": number.astype(str)})
    photos = split_by_person(photos.assign(label=load_digits().target))
    found = near_duplicates(array(digits, (64, 64)), photos)
    assert found.of_valid > 350
    assert found.valid_photos <= 5


def test_drawn_faces_of_different_people_are_told_apart(synthetic_data: Dataset) -> None:
    sides = ((synthetic_data.train, "train"), (synthetic_data.valid, "valid"))
    photos = pd.concat([pd.DataFrame({"path": part.path_N, "row": part.row_N, "split": side}) for part, side in sides])
    found = near_duplicates(synthetic_data.image_NCHW, photos)
    assert found.of_valid == len(synthetic_data.valid.path_N)
    assert found.valid_photos <= 2


def test_many_copies_are_counted_and_the_closest_shown() -> None:
    image = tiles()[7]
    near = [ImageEnhance.Brightness(image).enhance(1 - step / 50) for step in range(10)]
    photos = table(10, 11)
    found = near_duplicates(array([*near, *near, image]), photos)
    assert (found.pairs, found.valid_photos, len(found.examples)) == (110, 11, 5)
    assert near_duplicates(array([*near, *near, image]), photos) == found


def test_the_plan_tells_what_was_found_and_the_remedy() -> None:
    found = NearDuplicates(5, 3, 1200, (("b.jpg", "a.jpg"), ("d.jpg", "c.jpg"), ("f.jpg", "e.jpg")), 0)
    assert near_duplicates_text(found, Unit("patient", "patients")) == (
        "3 of 1,200 validation photos are almost the same pictures as a training photo of another patient, for example"
        " b.jpg like a.jpg, d.jpg like c.jpg. Of copies the score counts what was learned by heart: remove them, or"
        " give them the same patient."
    )
    one = NearDuplicates(1, 1, 20, (("b.jpg", "a.jpg"),), 0)
    assert near_duplicates_text(one, Unit("photo", "photos")) == (
        "1 of 20 validation photos is almost the same picture as a training photo, for example b.jpg like a.jpg. Of"
        " copies the score counts what was learned by heart: remove them, or say which photos belong together."
    )
    assert near_duplicates_text(NearDuplicates(0, 0, 20, (), 3), ("photo", "photos")) == ""


def test_what_was_found_is_kept_beside_the_photos_for_their_sides_and_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tiles()[:8]
    np.save(tmp_path / "photos.npy", array([*images, images[2]]))

    def of_split(hash_: str, valid: int) -> Dataset:
        rows = np.arange(9)
        labels = np.zeros(9, dtype=np.int64)
        names = np.array([f"p{row}" for row in rows])
        parts = (rows >= valid, rows < valid)
        sides = [LabelledPhotos(rows[part], labels[part], names[part], names[part]) for part in parts]
        return Dataset(np.load(tmp_path / "photos.npy", mmap_mode="c"), *sides, hash_)

    read: list[None] = []

    def look(dataset: Dataset) -> NearDuplicates:
        return near_duplicates_of(dataset, lambda: read.append(None))

    found = look(of_split("aaaa", 8))
    assert (found.pairs, found.examples, len(read)) == (1, (("p2", "p8"),), 9)
    assert look(of_split("aaaa", 8)) == found
    assert len(read) == 9  # not looked at again
    assert look(of_split("bbbb", 2)).pairs == 0  # both on one side
    assert len(read) == 18
    (tmp_path / "photos.aaaa.duplicates.json").write_text('{"version": 1, "pairs": 3')
    assert look(of_split("aaaa", 8)) == found
    assert len(read) == 27
    monkeypatch.setattr(maskcls.data.duplicates, "VERSION", 2)
    assert look(of_split("aaaa", 8)) == found
    assert len(read) == 36
    in_memory = replace(of_split("aaaa", 8), image_NCHW=array([*images, images[2]]))
    assert look(in_memory) == look(in_memory) == found
    assert len(read) == 54
