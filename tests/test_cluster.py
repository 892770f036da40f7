"""The benchmark of many workers measures what a call costs on whatever server it is given."""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("psycopg")
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import cluster


@pytest.mark.parametrize("mariadb", [True, False])
def test_the_table_of_costs_has_a_line_for_every_call(
    mariadb: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked_for: list[bool] = []

    @contextmanager
    def serving(mariadb: bool = False) -> Iterator[cluster.Serving]:
        """An SQLite file, with this process as its server."""
        asked_for.append(mariadb)
        server = Namespace(process=Namespace(pid=os.getpid()))
        yield cluster.Serving(server, f"sqlite:///{tmp_path}/studies.db", list, ())

    monkeypatch.setattr(cluster, "serving", serving)
    cluster.cost(Namespace(mariadb=mariadb, stored=3, running=2, times=2, sampler="random"))
    lines = capsys.readouterr().out.splitlines()
    assert asked_for == [mariadb]
    assert [line.split(" | ")[0] for line in lines[3:]] == [
        "| read the trials",
        "| report",
        "| report on a new connection",
        "| ask",
        "| ask when all has begun",
        "| end",
    ]
    assert all(len([float(number) for number in line.strip("| ").split(" | ")[1:]]) == 2 for line in lines[3:])
