"""python -m search.confirm: more rounds of fresh trainings for a study whose question is still open."""

from typing import Annotated

import typer

from maskcls.system.console import run_command
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
    own_best: Annotated[
        bool,
        typer.Option(
            "--own-best",
            help="Rounds with each level at its own best setting, which answer apart from the others.",
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
    every level has the best setting that was found for it alone; these rounds are looked at apart. At the end the
    photos that the data holds back for a test are scored, once. A study of an earlier version, without rounds, has its
    best configurations and its baseline trained again in their own study.
    """
    from search.engines.choice import choose_engine
    from search.supervisor.launch import Launch
    from search.supervisor.start_confirmation import confirm_study

    engine = choose_engine(ray, gpus_per_worker)
    cached = cache_folder(cache, runs)
    launch = Launch(runs, storage, device, workers, force, timeout, stall, cached, engine=engine)
    return confirm_study(study, top, repeats, data, weights, launch, own_best)


if __name__ == "__main__":
    run_command(main)
