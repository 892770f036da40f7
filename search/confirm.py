"""python -m search.confirm: train a study's finalists and its baseline again, judged by other people."""

from typing import Annotated

import typer

from maskcls.system.console import run_command
from search.system.processes import STALL_SECONDS
from search.terminal.options import (
    RUNS,
    DeviceOption,
    ForceOption,
    RunsOption,
    StallOption,
    StorageOption,
    StudyOption,
    TimeoutOption,
    WorkersOption,
)


def main(
    study: StudyOption,
    top: Annotated[int, typer.Option(min=1, help="Finalists besides the baseline and the best of its level.")] = 3,
    repeats: Annotated[
        int, typer.Option(min=2, max=100, help="Trainings of each finalist, with new judges and seeds.")
    ] = 5,
    data: Annotated[
        str | None, typer.Option(help="Where the study's photos are now. Default: where they were.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="As in search.run. Default: as in the study.")] = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    force: ForceOption = False,
    stall: StallOption = STALL_SECONDS,
    timeout: TimeoutOption = None,
    storage: StorageOption = None,
    runs: RunsOption = RUNS,
) -> int:
    """Train a study's best configurations and its baseline again, and say whether the differences hold.

    Each repeat has its own seed and judges: training people of the search, who chose none of the finalists. The same
    command again continues; a larger --repeats adds repeats.
    """
    from search.supervisor.launch import Launch
    from search.supervisor.start_confirmation import confirm_study

    launch = Launch(runs, storage, device, workers, force, timeout, stall)
    return confirm_study(study, top, repeats, data, weights, launch)


if __name__ == "__main__":
    run_command(main)
