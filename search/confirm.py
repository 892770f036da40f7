"""python -m search.confirm: more rounds of fresh trainings for a study whose question is still open, or for a team."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.console import run_command
from maskcls.system.errors import UserError
from maskcls.system.options import CacheOption, cache_folder
from search.system.processes import STALL_SECONDS
from search.terminal.options import (
    RUNS,
    DeviceOption,
    ForceOption,
    GpusPerWorkerOption,
    RayOption,
    RunsOption,
    StallOption,
    StorageOption,
    StudyOption,
    TimeoutOption,
    WorkersOption,
)

TOP = 3
"""Finalists without --top."""


def main(
    study: StudyOption,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Finalists, in a study of an earlier version, which has no rounds. Default: {TOP}.",
        ),
    ] = None,
    repeats: Annotated[
        int,
        typer.Option(
            min=2,
            max=100,
            help="Rounds to add, each with new judges and a new seed; with --ensemble how often each model is trained.",
        ),
    ] = 5,
    own_best: Annotated[
        bool,
        typer.Option(
            "--own-best",
            help="Rounds with each level at its own best setting, which answer apart from the others.",
        ),
    ] = False,
    ensemble: Annotated[
        Path | None,
        typer.Option(
            "--ensemble",
            help="Confirm the team in this file of search.export --ensemble, in a study of its own.",
        ),
    ] = None,
    keep_test: Annotated[
        bool,
        typer.Option(
            "--keep-test",
            help="Leave the photos that the data holds back for a test unseen, for a later command.",
        ),
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="Where the study's photos are now. Default: where they were.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="As in search.run. Default: as in the study.")] = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    force: ForceOption = False,
    ray: RayOption = None,
    gpus_per_worker: GpusPerWorkerOption = None,
    stall: StallOption = STALL_SECONDS,
    timeout: TimeoutOption = None,
    storage: StorageOption = None,
    cache: CacheOption = None,
    runs: RunsOption = RUNS,
) -> int:
    """Add rounds of fresh trainings to a study whose question is still open.

    Each round has its own seed and judges, who chose nothing; what is decided is trained no more. With --own-best
    every level has the best setting that was found for it alone; these rounds are looked at apart. At the end,
    decided or not, the photos that the data holds back for a test are scored, once, unless --keep-test says otherwise.
    A study of an earlier version, without rounds, has its best configurations and its baseline trained again in their
    own study.

    With --ensemble the members of a team and the best single model that its file names are trained again, in a study of
    their own: in every repeat the same new judges score the mean of the members' probabilities and the single model;
    the photos held back for a test stay unseen, with --keep-test and without it.
    """
    if ensemble is not None and (top is not None or own_best):
        option = "--own-best" if own_best else "--top"
        raise UserError(f"{option} says what is trained again, and so does the file of --ensemble; give one of them.")
    from search.engines.choice import choose_engine
    from search.supervisor.launch import Launch
    from search.supervisor.start_confirmation import confirm_study, confirm_team

    engine = choose_engine(ray, gpus_per_worker)
    cached = cache_folder(cache, runs)
    launch = Launch(runs, storage, device, workers, force, timeout, stall, cached, engine=engine)
    if ensemble is not None:
        return confirm_team(study, ensemble, repeats, data, weights, launch)
    return confirm_study(study, top or TOP, repeats, data, weights, launch, own_best, keep_test)


if __name__ == "__main__":
    run_command(main)
