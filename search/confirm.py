"""python -m search.confirm: more rounds of fresh trainings for a study whose question is still open."""

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
    top: Annotated[
        int,
        typer.Option(
            min=1,
            help="Finalists, in a study of an earlier version, which has no rounds.",
        ),
    ] = 3,
    repeats: Annotated[
        int,
        typer.Option(
            min=2,
            max=100,
            help="Rounds to add, each with new judges and a new seed.",
        ),
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
    """Add rounds of fresh trainings to a study whose question is still open.

    Each round has its own seed and judges, who chose nothing; what is decided is trained no more. At the end the photos
    that the data holds back for a test are scored, once. A study of an earlier version, without rounds, has its best
    configurations and its baseline trained again in a study of their own.
    """
    from search.supervisor.launch import Launch
    from search.supervisor.start_confirmation import confirm_study

    launch = Launch(runs, storage, device, workers, force, timeout, stall)
    return confirm_study(study, top, repeats, data, weights, launch)


if __name__ == "__main__":
    run_command(main)
