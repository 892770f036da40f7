"""plots.py: what the pictures of a confusion matrix show, read back from their pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.plots import _cells, borders, draw_confusion
from maskcls.tasks.mask import AGE, GENDER, MASK_TASK

SPACE = MASK_TASK.space
TASKS = ["all", *SPACE.parts]

NOTHING, MOST = (247, 251, 255), (8, 48, 107)


def corner(image: Image.Image, size: int, row: int, column: int) -> object:
    """The colour of a cell, away from its number and the lines."""
    side = image.width // size
    return image.getpixel((column * side + 4, row * side + 4))


@pytest.mark.parametrize("size", [2, 3, 18])
def test_a_cell_is_as_dark_as_its_share_and_rows_are_true_classes(size: int) -> None:
    share_KK = np.zeros((size, size))
    share_KK[1, 0] = 1.0
    image = _cells(share_KK, np.zeros((size, size), int), ())
    assert image.width == image.height
    assert corner(image, size, 1, 0) == MOST
    assert corner(image, size, 0, 1) == corner(image, size, 0, 0) == NOTHING


def test_numbers_stand_in_their_cells_and_zeros_are_left_out() -> None:
    text_KK = np.zeros((3, 3), int)
    text_KK[2, 1] = 7
    blank, told = (np.asarray(_cells(np.zeros((3, 3)), matrix, ())) for matrix in (np.zeros((3, 3), int), text_KK))
    rows, columns = np.nonzero((blank != told).any(-1))
    side = len(blank) // 3
    assert set(rows // side) == {2}
    assert set(columns // side) == {1}


@pytest.mark.parametrize("task", TASKS)
def test_the_picture_has_the_matrix_above_and_the_mistakes_alone_below(task: str, tmp_path: Path) -> None:
    """All right: the upper matrix has dark cells, the lower one has none."""
    size = SPACE.predicted(task).num_classes
    draw_confusion(9 * np.eye(size, dtype=int), SPACE.predicted(task), "a title", tmp_path / "picture.png")
    dark = (np.asarray(Image.open(tmp_path / "picture.png")) == MOST).all(-1)
    assert dark[: len(dark) // 2].sum() > 100 * size
    assert not dark[len(dark) // 2 :].any()


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_cut_off(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text is pasted with all of its pixels: each part lies within the sheet that it is pasted on."""
    paste = Image.Image.paste
    pasted = []

    def watched(sheet: Image.Image, part: Image.Image, place: tuple[int, int]) -> None:
        pasted.append((sheet.size, part.size, place))
        paste(sheet, part, place)

    monkeypatch.setattr(Image.Image, "paste", watched)
    size = SPACE.predicted(task).num_classes
    title = "a title as long as a study's name may be, trial 12345"
    draw_confusion(np.full((size, size), 1234), SPACE.predicted(task), title, tmp_path / "p.png")
    assert len(pasted) == 3 + 2 * (4 + 2 * size)
    for (width, height), (part_width, part_height), (left, top) in pasted:
        assert 0 <= left <= width - part_width
        assert 0 <= top <= height - part_height


def test_a_class_without_photos_is_a_row_without_shares(tmp_path: Path) -> None:
    draw_confusion(np.zeros((3, 3), int), SPACE.predicted("age"), "nobody", tmp_path / "picture.png")
    assert not (np.asarray(Image.open(tmp_path / "picture.png")) == MOST).all(-1).any()


def test_lines_separate_the_classes_of_the_first_factor() -> None:
    assert list(borders(SPACE)) == [6, 12]
    assert list(borders(LabelSpace((GENDER, AGE)))) == [3]
    assert list(borders(LabelSpace((AGE, GENDER)))) == [2, 4]
    assert [list(borders(LabelSpace((factor,)))) for factor in (AGE, GENDER)] == [[], []]
    image = _cells(np.zeros((6, 6)), np.zeros((6, 6), int), (2, 4))
    side = image.width // 6
    across, down = (
        [image.getpixel(place) for place in places]
        for places in (
            [(column * side, 5) for column in range(1, 6)],
            [(5, row * side) for row in range(1, 6)],
        )
    )
    for colours in (across, down):
        assert [colour != NOTHING for colour in colours] == [False, True, False, True, False]


def test_many_classes_with_any_names_fit_on_a_screen(tmp_path: Path) -> None:
    names = tuple(f"<b>$x^$\n\x1b[31m\u202e{'naïve 漢字 ' * 30}{number}" for number in range(500))
    matrix_KK = np.random.default_rng(0).poisson(0.1, size=(500, 500))
    draw_confusion(matrix_KK, LabelSpace((Factor("kind", names),)), "a\ntitle", tmp_path / "picture.png")
    width, height = Image.open(tmp_path / "picture.png").size
    assert width < 1400
    assert height < 2600
