"""What a terminal is sent: text that it only shows, in letters that it has; a JSON document stays the same one."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

import search.status
from maskcls.scoring.metrics import Scores
from maskcls.system.console import say
from maskcls.system.errors import UserError
from maskcls.system.printable import one_printable_line, printable, shortened
from search.database.connect import create_study, default_url, open_storage
from search.study.attributes import FAILURES
from search.study.record import KEY, Stored
from search.terminal.progress import LiveWatcher, Progress, sparkline
from search.terminal.tables import show_table
from tests.helpers.search import TOY_STUDY
from tests.helpers.training import run

EVIL = "x\x1b[2J\x1b]0;OWNED\x07\x9b31m\x08\x7f\r\u202eabc\u2066\u2028\ufeff\U000e0041"
ACTIVE = [
    *(chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))),
    *"\u202a\u202e\u2066\u2069\u200e\u200f",
]


class Terminal(io.TextIOWrapper):
    """A stream of an encoding, which calls itself a terminal or not."""

    def __init__(self, encoding: str, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal

    def text(self) -> str:
        found = self.buffer
        assert isinstance(found, io.BytesIO)
        return found.getvalue().decode(self.encoding)


@pytest.fixture
def stdout(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Terminal]:
    def replace(encoding: str, is_terminal: bool = False) -> Terminal:
        stream = Terminal(encoding, is_terminal)
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return replace


def scores(macro_f1: float) -> Scores:
    return Scores(macro_f1, 0.5, 1.0, {"mask": 0.5}, {"a": 0.5})


def test_nothing_that_a_terminal_acts_upon_is_left() -> None:
    for letter in ACTIVE:
        assert printable(f"a{letter}b") == f"a\\u{ord(letter):04x}b"
    assert printable("a\U000e0041b") == r"a\udb40\udc41b"
    assert printable("a\udcffb") == r"a\udcffb"  # a byte of a file name that is no UTF-8
    assert printable("a\n\tb Größe 한국어 🙂") == "a\n\tb Größe 한국어 🙂"
    assert one_printable_line("a\n\tb") == r"a\u000a\u0009b"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_json_document_is_the_same_document_in_any_encoding(encoding: str) -> None:
    document = {"name": EVIL, "question": 'Größe – 한국어 🙂 "\\"?', "list": ["\\\x1b", "a\nb"]}
    text = printable(json.dumps(document, indent=2, ensure_ascii=False), encoding)
    assert json.loads(text) == document
    text.encode(encoding)


def test_say_never_fails_for_a_letter(stdout: Callable[..., Terminal]) -> None:
    stream = stdout("ascii")
    say("Größe – 한국어 🙂")
    assert stream.text() == r"Gr\u00f6\u00dfe \u2013 \ud55c\uad6d\uc5b4 \ud83d\ude42" + "\n"
    stream = stdout("latin-1")
    say("Größe – " + EVIL[:5])
    assert stream.text() == "Größe \\u2013 x\\u001b[2J\n"


def test_an_error_is_one_line_of_printable_text(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise UserError(f"No study named {EVIL}\nerror: fake")

    assert run(command) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not any(letter in told for letter in ACTIVE)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_cell_of_a_table_is_one_line_of_printable_text(stdout: Callable[..., Terminal], is_terminal: bool) -> None:
    stream = stdout("ascii", is_terminal)
    for start in range(len(EVIL)):
        show_table(("study", "question"), [(f"a{EVIL[start : start + 3]}\nfake", "Größe"), ("b", "plain")])
    told = stream.text()
    shown = told.replace("\x1b[2m", "").replace("\x1b[0m", "")  # Rich's own
    assert not any(letter in shown for letter in ACTIVE)
    assert not any(line.startswith("fake") for line in told.splitlines())
    assert "plain" in told


def test_columns_stand_below_each_other_whatever_the_letters(stdout: Callable[..., Terminal]) -> None:
    stream = stdout("utf-8")
    show_table(("study", "best"), [("한국어", "|"), ("abc", "|")])
    header, wide, narrow = stream.text().splitlines()
    assert Console().measure(wide[: wide.index("|")]).maximum == narrow.index("|") == header.index("best")


def test_the_live_table_is_drawn_in_an_encoding_without_bars(stdout: Callable[..., Terminal]) -> None:
    stream = stdout("ascii", is_terminal=True)
    watcher = LiveWatcher(Progress(2, 0, None))
    with watcher:
        watcher.trial_began(0, {"backbone": "한\x1b[2J"})
        watcher.evaluated(0, 1, 3, scores(0.5))
        say("한")  # goes through the table, to the same terminal
        watcher.trial_ended(0, TrialState.FAIL, None, "Größe\nfake")
    told = stream.text()
    assert r"Gr\u00f6\u00dfe\u000afake" in told
    assert "\x1b[2J" not in told
    assert "#.." in told


def test_a_sparkline_has_a_plain_form(stdout: Callable[..., Terminal]) -> None:
    stdout("latin-1")
    assert sparkline([0.0, 0.5, 1.0], 5, 1.0) == "_+#.."


@pytest.mark.parametrize("words", [(), ("--study", EVIL), ("--json",), ("--study", EVIL, "--json")])
def test_status_shows_what_others_wrote_into_a_database_and_does_not_act_on_it(
    tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    document = Stored(TOY_STUDY, "synthetic", "", {"source": "scratch"}, "scratch", "auto", False, 0).to_json()
    study: optuna.Study = create_study(
        open_storage(default_url(tmp_path), create=True), EVIL, {KEY: {**document, "question": EVIL}}
    )
    failure = {"kind": "crash", "error": EVIL, "when": 0.0}
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={FAILURES: [failure]}))
    assert run(search.status.main, *words, "--runs", str(tmp_path)) == 0
    told = capsys.readouterr().out
    assert not any(letter in told for letter in ACTIVE)
    if "--json" in words:
        found = json.loads(told)
        assert (found if "--study" in words else found["studies"][0])["name"] == EVIL


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert shortened("Quercus robur", 20) == "Quercus robur"
    assert shortened("Quercus robur subspecies robur, plot 17", 20) == "Quercus r...plot 17"
    assert shortened("漢字" * 20, 21) == "漢字漢字...漢字漢字"
    assert shortened("a\nb\x1b[31m\u202e", 40) == r"a\u000ab\u001b[31m\u202e"
