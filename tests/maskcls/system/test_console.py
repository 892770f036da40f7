"""What all commands share: exit status and the one line on stderr."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer

from maskcls.config import change
from maskcls.system.cores import num_cores
from maskcls.system.errors import UserError, nearest, some
from maskcls.train import main as train
from maskcls.training.numerics import pick_device, resolve
from tests.helpers.training import TINY, run


def test_bad_input_ends_in_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise UserError("epochs must be at least 1, not 0.")

    assert run(command) == 2
    assert capsys.readouterr() == ("", "error: epochs must be at least 1, not 0.\n")


def test_a_setting_may_be_empty() -> None:
    def command(set_: str = typer.Option("", "--set")) -> int:
        return 3 if set_ == "augment=" else 0

    for words in (["--set", "augment="], ["--set=augment="]):
        assert run(command, *words) == 3


@pytest.mark.parametrize(
    ("words", "what"), [(["--runs", ""], "--runs"), (["--runs="], "--runs"), ([""], "an argument")]
)
def test_an_empty_value_is_refused(words: list[str], what: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command(runs: Path = Path("runs")) -> None:
        raise AssertionError("not to be reached")

    assert run(command, *words) == 2
    assert capsys.readouterr().err == f"error: The value of {what} is empty; give one, or leave it out.\n"


@pytest.mark.parametrize(
    ("output", "status", "told"),
    [
        (">/dev/full", 1, "error: The output could not be written: No space left on device.\n"),
        ("| true", 0, ""),  # nobody reads
    ],
)
def test_output_that_is_lost_is_no_success(output: str, status: int, told: str) -> None:
    command = "lambda: [say('x' * 100) for _ in range(2000)] and 0"
    script = f"from maskcls.system.console import run_command, say; run_command({command})"
    words = ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {output}', sys.executable, script]
    ended = subprocess.run(words, capture_output=True, encoding="utf-8", check=False)
    assert (ended.returncode, ended.stderr) == (status, told)


def test_interrupted_command_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise KeyboardInterrupt

    assert run(command) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_number_that_a_command_returns_is_its_status() -> None:
    assert run(lambda: 3) == 3
    assert run(lambda: None) == 0


def test_bug_keeps_its_traceback() -> None:
    def command() -> None:
        raise ValueError("not the user's")

    with pytest.raises(ValueError, match="not the user's"):
        run(command)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "data"),
        (["--data", "photos"], "out"),
        (["--dta", "photos"], "--dta"),
        (["--data", "d", "-o", "o", "photos"], "photos"),
    ],
)
def test_wrong_options_end_in_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(train, *arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert says in printed


def test_long_lists_are_cut_and_lists_of_phrases_keep_apart() -> None:
    assert some(range(3)) == "0, 1, 2"
    assert some(range(8), limit=5) == "0, 1, 2, 3, 4 and 3 more"
    assert some(["a, b", "c"]) == "a, b; c"
    assert nearest("drop_out", ["drop_rate", "seed"]) == " Nearest: drop_rate."
    assert nearest("zzz", ["drop_rate", "seed"]) == ""


def test_numerics_are_resolved_once_and_kept() -> None:
    cpu = torch.device("cpu")
    config = change(TINY, micro_batch=0, dtype="auto", memory_format="auto", threads=0)
    resolved = resolve(config, cpu)
    assert resolved == change(TINY, micro_batch=32, dtype="float32", memory_format="channels_last", threads=num_cores())
    assert resolve(resolved, cpu) == resolved
    assert resolve(change(config, backbone="regnety_002"), cpu).memory_format == "contiguous"
    assert resolve(change(config, threads=1024, dtype="bfloat16"), cpu) == resolved
    assert resolve(change(config, threads=1, micro_batch=8), cpu) == change(resolved, threads=1, micro_batch=8)


def test_devices_that_are_not_there_are_refused() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "mps", "meta", "", "cuda:-2"):
        with pytest.raises(UserError, match="--device takes auto, cpu, cuda or cuda:N, not"):
            pick_device(name)
    with pytest.raises(UserError, match=r"There is no device cuda:77: torch sees \d+ GPUs\. Use --device cpu\."):
        pick_device("cuda:77")


def test_a_command_prints_what_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        logger = logging.getLogger("maskcls.data.cache")
        logger.info("100 % of \x1b[31m the photos")
        logger.warning("waiting for postgresql://ada:secret-word@host/db")
        logger.debug("for nobody")
        logging.getLogger("a.library").info("its own affair")

    for _ in range(2):  # once each time, however many commands a process has run
        assert run(command) == 0
        assert capsys.readouterr() == (
            "100 % of \\u001b[31m the photos\n",
            "waiting for postgresql://ada:***@host/db\n",
        )
