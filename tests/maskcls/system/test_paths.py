"""Paths of options: ~ is the home folder everywhere, names are text, and what is kept is found from any folder."""

import os
from pathlib import Path
from typing import Annotated

import pytest
import typer

import search.compare
import search.compose
import search.confirm
import search.dashboard
import search.delete
import search.export
import search.report
import search.run
import search.status
import search.supervisor.start
from maskcls.config import save_config
from maskcls.evaluate import main as evaluate
from maskcls.predict import main as predict
from maskcls.system.errors import UserError
from maskcls.system.paths import absolute_if_path, expand_home
from maskcls.train import main as train
from tests.helpers.search import MINE, complain
from tests.helpers.training import TINY, make_folder, run

FOREIGN = os.fsdecode(b"caf\xe9")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and beside it the one to work in."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    return home


def test_a_tilde_is_the_home_folder(home: Path) -> None:
    assert expand_home("~/a b") == f"{home}/a b"
    assert expand_home("~") == str(home)
    assert expand_home("sqlite:///~/x.db") == f"sqlite:///{home}/x.db"
    for same in ("a/~/b", "./~", "synthetic", "", "/a~", "sqlite:///x~.db", "postgresql+psycopg://~@h/~d"):
        assert expand_home(same) == same
    with pytest.raises(UserError, match=r"No home folder is known for ~nobody-here; .* write \./~nobody-here/x\."):
        expand_home("~nobody-here/x")


def test_every_path_of_a_command_is_expanded_and_no_other_word(home: Path) -> None:
    heard: dict[str, object] = {}

    def command(
        data: Annotated[str, typer.Option(envvar="MASKCLS_DATA")],
        out: Annotated[Path, typer.Option("-o", "--out")],
        name: Annotated[str, typer.Option()],
        storage: Annotated[str | None, typer.Option()] = None,
        weights: Annotated[str | None, typer.Option()] = None,
        set_: Annotated[list[str] | None, typer.Option("--set")] = None,
        runs: Annotated[Path, typer.Option()] = Path("runs"),
    ) -> None:
        """Words."""
        heard.update(data=data, out=out, name=name, storage=storage, weights=weights, set_=set_, runs=runs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKCLS_DATA", "~/photos")
        words = ("-o", "~/out", "--name", "~", "--storage", "sqlite:///~/x.db", "--weights", "scratch", "--set", "~=1")
        assert run(command, *words) == 0
    assert heard == {
        "data": f"{home}/photos",
        "out": home / "out",
        "name": "~",
        "storage": f"sqlite:///{home}/x.db",
        "weights": "scratch",
        "set_": ["~=1"],
        "runs": Path("runs"),
    }


def test_training_from_home_makes_no_folder_named_tilde(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(home / "photos")
    save_config(home / "tiny.toml", TINY, {})
    monkeypatch.setenv("MASKCLS_DATA", "~/photos")
    assert run(train, "--config=~/tiny.toml", "--runs=~/runs", "-o", "~/model", "--weights=~/none") == 2
    assert list(Path.cwd().iterdir()) == []


def test_a_study_of_drawn_photos_ignores_the_variable_however_it_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MASKCLS_DATA is for studies that need data; only --data means other photos."""
    heard: list[str] = []
    monkeypatch.setattr(
        search.supervisor.start, "run_study", lambda request, *_: heard.append(request.to_stored().data) or 0
    )
    monkeypatch.setenv("MASKCLS_DATA", "~/photos")
    (home / "photos").mkdir()
    assert run(search.run.main, "--study", "quickstart") == 0
    assert run(search.run.main, "--study", "dropout") == 0
    assert heard == ["synthetic", f"{home}/photos"]


STUDY = ("--study", "a")
COMMANDS = {
    "run": (search.run.main, ("--study", "quickstart")),
    "confirm": (search.confirm.main, STUDY),
    "report": (search.report.main, STUDY),
    "export": (search.export.main, (*STUDY, "-o", "a.toml")),
    "delete": (search.delete.main, STUDY),
    "status": (search.status.main, ()),
    "dashboard": (search.dashboard.main, ()),
    "compare": (search.compare.main, ("a:1", "a:2")),
    "compose": (search.compose.main, ("--mask", "a", "--gender", "a", "--age", "a", "-o", "a.toml")),
    "train": (train, ("--data", "a", "-o", "b")),
    "evaluate": (evaluate, ("--data", "a", "--model", "b")),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_whose_name_is_no_text_is_refused_before_any_work(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main, words = COMMANDS[name]
    told = complain(monkeypatch, capsys, main, *words, "--runs", f"{home}/{FOREIGN}")
    assert rf"Names must be UTF-8, and {home}/caf\xe9 is not; rename it, or make a link to it" in told
    assert list(home.iterdir()) == []
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("option", ["--data", "--weights", "--storage", "--label-fixes", "--study", "--name", "--set"])
def test_so_is_any_other_word(
    option: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--study", "quickstart"] if option != "--study" else []
    assert r"caf\xe9 is not" in complain(monkeypatch, capsys, search.run.main, *words, option, FOREIGN)
    assert list(Path.cwd().iterdir()) == []


def test_predict_refuses_it_too(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert r"caf\xe9 is not" in complain(
        monkeypatch, capsys, predict, "--model", "m", "--images", FOREIGN, "-o", "a.csv"
    )


def test_what_is_kept_is_absolute_and_words_stay_words(home: Path) -> None:
    for name in ("photos", "auto", "scratch", "synthetic", "none"):
        Path(name).mkdir()
    assert absolute_if_path("photos") == str(Path.cwd() / "photos")
    assert absolute_if_path("./auto") == str(Path.cwd() / "auto")
    assert [absolute_if_path(word) for word in ("auto", "scratch", "synthetic", "none", "absent")] == [
        "auto",
        "scratch",
        "synthetic",
        "none",
        "absent",
    ]
    Path("now").symlink_to("photos")
    assert absolute_if_path("now") == str(Path.cwd() / "now")


def test_data_in_a_working_folder_whose_name_is_no_text_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / FOREIGN).mkdir()
    monkeypatch.chdir(home / FOREIGN)
    make_folder(Path("photos"))
    Path("mine.py").write_text(MINE, encoding="utf-8")
    told = complain(monkeypatch, capsys, search.run.main, "--study", "mine.py", "--data", "photos")
    assert r"caf\xe9/photos is not" in told
    assert not Path("runs").exists()
