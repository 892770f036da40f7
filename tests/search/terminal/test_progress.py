"""What the terminal shows while a study runs."""

import re
import sys

import pytest
from optuna.trial import TrialState
from rich.console import Console

from maskcls.scoring.metrics import Scores
from search.answer.format import describe_values, duration
from search.terminal.progress import LiveWatcher, PlainWatcher, Progress, Screen, is_terminal, sparkline


def scores(macro_f1: float) -> Scores:
    return Scores(macro_f1, 0.9, 0.3, (macro_f1,) * 18, {"mask": 0.97, "gender": 0.95, "age": 0.61})


def play_three(watcher: Screen) -> None:
    """Trial 0 complete, 1 pruned, 2 crashed, 3 interrupted, 4 running."""
    watcher.trial_began(0, {"drop_rate": 0.0, "augment": ("flip", "cutmix")})
    for step, value in enumerate((0.2, 0.5, 0.4), start=1):
        watcher.evaluated(0, step, 3, scores(value))
    watcher.progress.finished, watcher.progress.best = 1, (0.5, 0)
    watcher.trial_ended(0, TrialState.COMPLETE, 0.5)
    watcher.trial_began(1, {"drop_rate": 0.7, "augment": ()})
    watcher.evaluated(1, 1, 3, scores(0.1))
    watcher.progress.finished = 2
    watcher.trial_ended(1, TrialState.PRUNED, 0.1)
    watcher.trial_began(2, {"drop_rate": 0.2, "augment": ()})
    watcher.trial_ended(2, TrialState.FAIL, None, "the disk is on fire")
    watcher.trial_began(3, {"drop_rate": 0.2, "augment": ()})
    watcher.evaluated(3, 1, 3, scores(0.3))
    watcher.trial_ended(3, TrialState.WAITING, None)
    watcher.trial_began(4, {"drop_rate": 0.4, "augment": ()})
    watcher.evaluated(4, 1, 3, scores(0.25))


def test_plain_lines_tell_every_evaluation_and_every_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainWatcher(Progress(8, 0, None)) as watcher:
        play_three(watcher)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trial 0: drop_rate=0 augment=flip+cutmix"
    assert lines[2].startswith("trial 0: evaluation 2 of 3  macro F1 0.5000")
    assert "mask 0.9700" in lines[2]
    assert "age 0.6100" in lines[2]
    assert lines[4].startswith("trial 0: complete, macro F1 0.5000, ")
    assert "1 of 8 trials, best 0.5000 (trial 0), 0 pruned" in lines[4]
    (pruned,) = [line for line in lines if line.startswith("trial 1: pruned, macro F1 0.1000")]
    assert "2 of 8 trials, best 0.5000 (trial 0), 1 pruned" in pruned
    assert any(line.startswith("trial 2: failed") for line in lines)
    assert "trial 2: the disk is on fire" in lines
    assert any(line.startswith("trial 3: interrupted, macro F1 0.3000") for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_the_headline_counts_what_earlier_commands_did() -> None:
    progress = Progress(10, 4, (0.8, 2))
    assert progress.headline() == "4 of 10 trials, best 0.8000 (trial 2), 0 pruned"
    for number in (5, 6):
        progress.began(number, "")
        progress.ended(number, TrialState.COMPLETE)
    progress.finished, progress.best = 6, (0.9, 6)
    assert progress.headline().startswith("6 of 10 trials, best 0.9000 (trial 6), 0 pruned, about ")
    assert progress.headline().endswith(" left")


def test_the_time_left_is_that_of_the_trials_left() -> None:
    progress = Progress(5, 2, None)
    for number, seconds in ((0, 100.0), (1, 200.0)):
        progress.began(number, "")
        progress.ended(number, TrialState.COMPLETE).seconds = seconds
    assert "about 8 min left" in progress.headline()  # 3 * 150 s
    progress.num_workers = 3
    assert "about 2 min left" in progress.headline()
    assert "left" not in Progress(0, 0, None).headline()


def test_the_live_table_shows_every_trial_with_its_curve() -> None:
    watcher = LiveWatcher(Progress(8, 0, None))
    play_three(watcher)
    console = Console(record=True, width=120, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    console.print(watcher.live.get_renderable())
    lines = console.export_text().splitlines()
    rows = {match[1]: line for line in lines[:-1] if (match := re.match(r" *(\d) ", line))}
    assert list(rows) == ["0", "1", "2", "3", "4"]
    for number, words in {
        "0": ("complete", "0.5000", "drop_rate=0 augment=flip+cutmix"),
        "1": ("pruned", "0.1000", "··"),
        "2": ("failed", "the disk is on fire"),
        "3": ("interrupted", "0.3000"),
        "4": ("running", "0.2500", "drop_rate=0.4"),
    }.items():
        assert all(word in rows[number] for word in words), rows[number]
    assert "2 of 8 trials, best 0.5000 (trial 0), 1 pruned" in lines[-1]


def test_the_live_table_shows_the_latest_trials_only() -> None:
    watcher = LiveWatcher(Progress(80, 0, None))
    for number in range(50):
        watcher.trial_began(number, {"lr": 1e-3})
        watcher.trial_ended(number, TrialState.COMPLETE, 0.5)
    watcher.progress.finished = 50
    console = Console(record=True, width=100, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    console.print(watcher.live.get_renderable())
    text = console.export_text()
    assert len(text.splitlines()) < 24  # a small terminal
    assert " 49 " in f" {text}"
    assert "50 of 80 trials" in text


def test_a_sparkline_has_a_bar_an_evaluation_and_a_dot_for_those_to_come() -> None:
    assert sparkline([0.0, 0.5, 1.0], 5, 1.0) == "▁▅█··"
    assert sparkline([], 3, 1.0) == "···"
    assert sparkline([0.25], 1, 0.25) == "█"
    assert len(sparkline([0.1] * 7, 7, 0.5)) == 7


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (12, "12 s"), (89, "89 s"), (90, "2 min"), (600, "10 min"), (5400, "1.5 h"), (36000, "10.0 h")],
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_values_are_told_in_few_letters() -> None:
    values = {"lr": 0.00021234, "augment": (), "heads": "joint", "old_from": 58, "crop": (0.8, 0.6)}
    assert describe_values(values) == "lr=0.000212 augment=none heads=joint old_from=58 crop=0.8+0.6"


ERRORS = (
    "RuntimeError: [enforce fail at inline_container.cc:664] . unexpected pos 1856 vs 1750",
    "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:598] Connection closed by peer",
    "KeyError: '[bold]' [link=file:///etc]here[/link] [/] :warning:",
)


def rendered(watcher: LiveWatcher, width: int = 200) -> str:
    console = Console(record=True, width=width, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115, PTH123
    console.print(watcher.live.get_renderable())
    return console.export_text()


@pytest.mark.parametrize("text", ERRORS)
@pytest.mark.parametrize("columns", ["200", "30"])
def test_brackets_in_errors_and_values_are_text(text: str, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    watcher = LiveWatcher(Progress(3, 0, None))
    watcher.trial_began(0, {"class": "[red]worn[/red]", "path": "[/tmp]"})
    watcher.trial_ended(0, TrialState.FAIL, None, text)
    shown = rendered(watcher)
    assert f"class=[red]worn[/red] path=[/tmp]  {text}" in shown


def test_what_would_move_the_cursor_is_shown_as_nothing() -> None:
    watcher = LiveWatcher(Progress(3, 0, None))
    watcher.trial_began(0, {"lr": 0.1})
    watcher.trial_ended(0, TrialState.FAIL, None, "first\x1b[2J\x1b]0;title\x07\r\nsecond \x9b31m third")
    row = next(line for line in rendered(watcher).splitlines() if "first" in line)
    assert "second" in row
    assert "third" in row
    assert row.isprintable()


@pytest.mark.parametrize("columns", [20, 30, 50, 58])
def test_a_narrow_terminal_loses_nothing(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    watcher = LiveWatcher(Progress(8, 0, None))
    play_three(watcher)
    lines = rendered(watcher, columns).splitlines()
    assert max(map(len, lines)) <= columns
    told = " ".join(" ".join(lines).split())
    for words in (
        "0 complete 0.5000 3/3 drop_rate=0 augment=flip+cutmix",
        "1 pruned 0.1000 1/3",
        "2 failed drop_rate=0.2",
        "the disk is on fire",
        "3 interrupted 0.3000 1/3",
        "4 running 0.2500 1/3 drop_rate=0.4 augment=none",
        "2 of 8 trials, best 0.5000 (trial 0), 1 pruned",
    ):
        assert words in told


def test_a_narrow_terminal_shows_as_many_trials_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "11")
    watcher = LiveWatcher(Progress(80, 0, None))
    for number in range(9):
        watcher.trial_began(number, {"lr": 1e-3})
    told = rendered(watcher, 30)
    assert [line.split()[0] for line in told.splitlines() if "running" in line] == ["6", "7", "8"]


class Screenlike:
    """A standard output that says it is a terminal, or cannot say."""

    def __init__(self, answer: bool | Exception) -> None:
        self.answer = answer

    def isatty(self) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("stream", "term", "more", "expected"),
    [
        (Screenlike(True), "xterm-256color", {}, True),
        (Screenlike(True), "dumb", {}, False),
        (Screenlike(True), "unknown", {}, False),
        (Screenlike(True), "DUMB", {}, False),
        (Screenlike(True), "xterm", {"TTY_COMPATIBLE": "0"}, False),
        (Screenlike(False), "xterm", {"FORCE_COLOR": "1"}, False),
        (Screenlike(False), "xterm", {"TTY_COMPATIBLE": "1"}, False),
        (Screenlike(ValueError("closed")), "xterm", {}, False),
        (Screenlike(OSError(5, "gone")), "xterm", {}, False),
        (None, "xterm", {}, False),
    ],
)
def test_a_table_is_drawn_only_where_it_can_be_drawn_again(
    stream: object, term: str, more: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": term, **more}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", stream)
    assert is_terminal() is expected
