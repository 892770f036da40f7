"""A stored study whose photos or label fixes have moved, or were named from another folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import search.confirm
import search.report
import search.run
from maskcls.system.errors import UserError
from search.database.connect import default_url, load_study, open_storage
from search.study.locations import photos_now
from search.study.record import Stored, read_stored
from tests.helpers.search import MINE, TOY_STUDY, Place, complain, succeed
from tests.helpers.training import one_line

STORED = Stored(TOY_STUDY, "photos", "", {"source": "scratch"}, "scratch", "auto", False, 0)


def refused(stored: Stored, data: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        photos_now(stored, "mine", data)
    return one_line(caught.value)


def test_photos_are_where_they_were_or_where_the_command_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "others").mkdir()
    assert photos_now(STORED, "mine", None) == "photos"
    assert photos_now(STORED, "mine", "others") == str(tmp_path / "others")
    assert photos_now(replace(STORED, data="synthetic"), "mine", None) == "synthetic"


def test_photos_that_are_not_there_are_the_studys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = refused(STORED)
    assert f"Study 'mine' was made with the photos in photos, but there is no such folder under {tmp_path}" in told
    assert "typed in another folder. Give it by --data." in told
    assert "no such folder any more. Give it by --data." in refused(replace(STORED, data="/gone/photos"))


def test_label_fixes_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    stored = replace(STORED, label_fixes="/gone/fixes.csv")
    assert "with the label fixes in /gone/fixes.csv, but there is no such file any more" in refused(stored)
    assert "fixes.csv" in refused(stored, "photos")


def test_a_study_is_stored_with_paths_that_hold_from_anywhere(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place, elsewhere = Place(tmp_path, synthetic_folder), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "photos").symlink_to(synthetic_folder)
    (tmp_path / "fixes.csv").write_text("person,photo,gender,age,mask\n")
    monkeypatch.chdir(tmp_path)
    words = ("--study", "mine.py", "--weights", "scratch", "--n-trials", "2", "--runs", "runs", "--workers", "1")
    succeed(search.run.main, *words, "--data", "photos", "--label-fixes", "fixes.csv")
    assert f"            0 labels corrected by {tmp_path / 'fixes.csv'}." in capfd.readouterr().out
    study = load_study(open_storage(default_url(tmp_path / "runs"), create=False), "mine")
    stored = read_stored(study)
    assert (stored.data, stored.label_fixes) == (str(tmp_path / "photos"), str(tmp_path / "fixes.csv"))
    assert place.trials()[0].user_attrs["origin"]["data"] == stored.data
    monkeypatch.chdir(elsewhere)
    succeed(search.report.main, "--study", "mine", "--runs", "../runs")
    assert "data:image/jpeg" in (tmp_path / "runs" / "mine" / "report" / "report.html").read_text()
    assert "Without photos" not in capfd.readouterr().out
    # as earlier versions stored it
    study.set_user_attr("study", json.loads(json.dumps(stored.to_json() | {"data": "photos"})))
    succeed(search.report.main, "--study", "mine", "--runs", "../runs")
    assert "Without photos: there is no folder photos here; --data takes another." in capfd.readouterr().out
    told = complain(monkeypatch, capfd, search.confirm.main, "--study", "mine", "--runs", "../runs")
    assert "Study 'mine' was made with the photos in photos" in told
    assert "--data" in told
