"""What an error of a database driver means."""

import pytest
import sqlalchemy.exc

from search.database.errors import is_crowded, is_transient


class DriverError(Exception):
    """As pymysql's: a number, a text, and a state that says less than the number."""

    def __init__(self, number: int, text: str, sqlstate: str | None) -> None:
        super().__init__(number, text)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("number", "sqlstate", "expected"),
    [
        (1205, "HY000", True),  # lock wait timeout
        (1213, "40001", True),  # deadlock
        (1290, "HY000", True),  # read-only
        (2013, None, True),  # lost
        (1406, "22001", False),  # too long
        (1366, "HY000", False),  # a character that the column cannot hold
        (1045, "28000", False),  # a wrong password
    ],
)
def test_an_error_of_mysql_is_known_by_its_number(number: int, sqlstate: str | None, expected: bool) -> None:
    error = sqlalchemy.exc.OperationalError("SELECT 1", {}, DriverError(number, "...", sqlstate))
    assert is_transient(error) is expected
    assert not is_crowded(error)
