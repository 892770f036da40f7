"""Names are as long as a file system takes them, in bytes; texts are UTF-8 whatever is in them."""

from pathlib import Path

import pytest

from maskcls.system.errors import UserError
from maskcls.system.files import MAX_BYTES, check_folder, truncate_name, write_text
from tests.helpers.training import one_line


def test_a_name_is_cut_between_letters() -> None:
    assert truncate_name("名" * 100, MAX_BYTES) == "名" * 85
    assert truncate_name("名" * 100, 10) == "名" * 3
    assert truncate_name("a名", 3) == "a"
    assert truncate_name("short", MAX_BYTES) == "short"


def test_a_text_with_a_name_that_is_no_utf8_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "crash.txt", "no file a\udcffb, Größe")
    assert (tmp_path / "crash.txt").read_text(encoding="utf-8") == r"no file a\udcffb, Größe"


def test_a_folder_that_is_there_or_can_be_made_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (tmp_path, tmp_path / "new", tmp_path / "new" / "newer", tmp_path / "link", tmp_path / "link" / "new"):
        check_folder(path, "--runs")


def test_what_stands_in_a_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/not/mounted")
    (tmp_path / "file").touch()
    for path, hint in (("link", "is a link to /not/mounted"), ("file/below", "is a file, not a folder")):
        with pytest.raises(UserError) as caught:
            check_folder(tmp_path / path, "--runs")
        assert hint in one_line(caught.value)
