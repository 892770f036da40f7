"""CSV files as people save them: what is read, and what is refused with the way to save it."""

from pathlib import Path

import pytest

from maskcls.reading.csv_file import read_csv
from maskcls.system.errors import UserError
from tests.helpers.training import one_line


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_cells_are_strings_and_absent_ones_empty(tmp_path: Path) -> None:
    table = read_csv(written(tmp_path, "id,age,note\n000001,20,NA\n000002\n\n000003,,x\n"), ("id", "age"))
    assert table.values.tolist() == [["000001", "20", "NA"], ["000002", "", ""], ["000003", "", "x"]]
    assert table.index.tolist() == [2, 3, 5]


@pytest.mark.parametrize(
    "text",
    [
        "id,age\n000001,20,\n000002,30,\n",
        "id,age,\n000001,20,\n000002,30,\n",
        "id,age\n000001,20\n000002,30,,,\n,,\n",
        "\ufeffid,age\r\n000001,20\r\n000002,30\r\n",
        'id,age\n"000001","20"\n000002,30',
    ],
)
def test_commas_at_the_end_marks_and_quotes_change_nothing(tmp_path: Path, text: str) -> None:
    assert read_csv(written(tmp_path, text), ("id", "age")).values.tolist() == [["000001", "20"], ["000002", "30"]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("id,age\n가,20\n".encode("cp949"), "it is not UTF-8 (CP949, perhaps)"),
        ("id,age\n1,20\n".encode("utf-16"), "it looks like UTF-16"),
        ("id,age\n1,20\n".encode("utf-16-le"), "it looks like UTF-16"),
        ("id;age\n1;20\n", "separated by ';'. Save it with commas."),
        ("id\tage\n1\t20\n", "separated by tabs. Save it with commas."),
        ('"id"|"age"\n', "separated by '|'"),
        ("id,age\n1,20,male\n", "line 2 has 3 cells and the header 2"),
        ('id,age\n"1,20\n', "line 2"),
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ("id,years\n", "must have the columns id, age; age is missing"),
        ("id;years\n", "must have the columns id, age; id, age is missing"),
    ],
)
def test_other_files_are_refused_with_the_way_to_save_them(tmp_path: Path, content: bytes | str, says: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(UserError) as caught:
        read_csv(path, ("id", "age"))
    assert says in one_line(caught.value)
    assert str(path) in str(caught.value)


def test_how_to_save_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'Save it as "CSV UTF-8 \(comma delimited\)", or .* iconv -f CP949 -t UTF-8'):
        read_csv(written(tmp_path, "이름\n".encode("cp949")), ("id",))


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    with pytest.raises(UserError, match="a folder cannot be read as CSV: Is a directory"):
        read_csv(tmp_path / "a folder", ("id",))
