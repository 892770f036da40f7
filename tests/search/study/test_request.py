"""Which study a command of search.run asks for."""

from pathlib import Path

import pytest
from PIL import Image

from maskcls.reading.source import SourceOptions, find_task
from maskcls.system.errors import UserError
from search.study.record import Stored
from search.study.request import StudyRequest, options_of
from tests.helpers.search import TOY_STUDY


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASKCLS_DATA", raising=False)


def test_without_data_a_study_runs_as_a_preview_of_its_own_name() -> None:
    request = StudyRequest("dropout", data="")
    assert request.is_preview
    assert request.stored_name == "dropout-preview"
    stored = request.to_stored()
    assert (stored.data, stored.weights_option, stored.study.synthetic) == ("synthetic", "scratch", True)


def test_with_data_it_runs_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKCLS_DATA", "photos")
    request = StudyRequest("dropout", data="photos", assignments=("epochs=3",), people=9, seed=4)
    assert not request.is_preview
    assert request.stored_name == "dropout"
    stored = request.to_stored()
    assert (stored.data, stored.weights_option, stored.study.synthetic, stored.seed) == ("photos", "auto", False, 4)
    assert (stored.study.fixed["epochs"], stored.study.fixed["people"]) == (3, 9)


def test_drawn_photos_asked_for_by_name_are_no_preview() -> None:
    request = StudyRequest("dropout", data="synthetic")
    assert (request.is_preview, request.stored_name, request.to_stored().study.synthetic) == (False, "dropout", True)


@pytest.mark.parametrize(("data", "expected"), [("photos", "synthetic"), ("others", "others")])
def test_a_study_of_drawn_photos_takes_others_only_from_the_option(
    data: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKCLS_DATA", "photos")
    request = StudyRequest("quickstart", data=data)
    assert (request.is_preview, request.to_stored().data) == (False, expected)


def test_a_copy_needs_a_name_of_its_own() -> None:
    with pytest.raises(UserError, match="give it by --name"):
        _ = StudyRequest("dropout", copy_of="dropout").stored_name
    assert StudyRequest("dropout", name="wider", copy_of="dropout").stored_name == "wider"


@pytest.mark.parametrize("assignments", [("epochs",), ("epochs=x",), ("drop_rate=0.1",), ("seed=1",)])
def test_an_assignment_that_is_not_allowed_is_refused(assignments: tuple[str, ...]) -> None:
    with pytest.raises(UserError):
        StudyRequest("dropout", assignments=assignments).to_stored()


def test_folders_beside_a_table_of_their_pictures_are_asked_for_again_as_they_were_read(tmp_path: Path) -> None:
    rows = ["path,kind"]
    for kind in ("red", "blue"):
        (tmp_path / kind).mkdir()
        for number in range(2):
            Image.new("RGB", (8, 8), kind).save(tmp_path / kind / f"{number}.png")
            rows.append(f"{kind}/{number}.png,{kind}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    with pytest.raises(UserError, match="--table none if the"):
        find_task(tmp_path, SourceOptions())
    task = find_task(tmp_path, SourceOptions(table="none"))
    stored = Stored(TOY_STUDY, str(tmp_path), "", {}, "scratch", "auto", False, 0, task=task)
    assert options_of(stored) == " --table none"
