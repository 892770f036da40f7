"""python -m search.run: run a study until it has --n-trials trials; the same command again continues it."""

from typing import Annotated

import typer

from maskcls.system.console import run_command
from maskcls.system.options import (
    DATA_HELP,
    CacheOption,
    GroupOption,
    LabelFixesOption,
    LabelOption,
    MetricOption,
    PathOption,
    SkipUnreadableOption,
    SplitOption,
    TableOption,
    cache_folder,
)
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
    TimeoutOption,
    WorkersOption,
)

N_TRIALS = 50
"""Default of --n-trials."""


def main(
    study: Annotated[str, typer.Option(help="A study in studies/, or the path of your own study file.")],
    n_trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials the study should reach, over all runs. Default: 50; with --join: as planned."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            envvar="MASKCLS_DATA",
            help=f"{DATA_HELP} Default: a preview of the study on synthetic photos.",
        ),
    ] = None,
    table: TableOption = "",
    path: PathOption = "",
    label: LabelOption = None,
    group: GroupOption = "",
    split: SplitOption = "",
    metric: MetricOption = "",
    storage: StorageOption = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="auto (timm's hub, or scratch when it cannot be reached), pretrained, scratch, or a folder of"
            " <backbone>.safetensors. Default: auto; scratch on synthetic photos."
        ),
    ] = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    force: ForceOption = False,
    ray: RayOption = None,
    gpus_per_worker: GpusPerWorkerOption = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: fix a hyperparameter. Repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to store the study under. Default: the study's own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampler and of every trial's training.")] = 0,
    timeout: TimeoutOption = None,
    stall: StallOption = STALL_SECONDS,
    max_epochs: Annotated[
        float | None, typer.Option(min=0, help="Start no trial once all together have trained this many epochs.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="End the search after so many without a gain larger than the noise."),
    ] = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="No warm starts, neither from known configurations nor from earlier studies.")
    ] = False,
    keep: Annotated[
        int, typer.Option(min=0, help="Keep the weights of this many best trials, and of the best ensemble's.")
    ] = 5,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Start from a copy of this stored study, to add choices; needs --name."),
    ] = None,
    join: Annotated[
        bool,
        typer.Option("--join", help="Work on the stored study of this name, without a plan; wait until it is stored."),
    ] = False,
    people: Annotated[
        int | None, typer.Option(min=2, help="Use only this many people (groups), for a quick look.")
    ] = None,
    label_fixes: LabelFixesOption = "auto",
    skip_unreadable: SkipUnreadableOption = False,
    cache: CacheOption = None,
    runs: RunsOption = RUNS,
) -> int:
    """Run a study, or continue it, until it has --n-trials trials (complete or pruned).

    After Ctrl-C the running trials finish their evaluation and go back into the queue; a second Ctrl-C stops them at
    once. Run the same command again to continue, or at the same time to share the work; on other machines with --join.
    """
    from maskcls.reading.source import SourceOptions
    from search.engines.choice import choose_engine
    from search.policy.stopping import StoppingCriteria
    from search.study.request import StudyRequest
    from search.supervisor.launch import Launch
    from search.supervisor.start import run_study

    photos = SourceOptions(table, path, tuple(label or ()), group, split, metric)
    request = StudyRequest(
        study, name, data, weights, label_fixes, skip_unreadable, seed, set_ or (), people, photos, copy_of=from_
    )
    engine = choose_engine(ray, gpus_per_worker)
    cached = cache_folder(cache, runs)
    launch = Launch(runs, storage, device, workers, force, timeout, stall, cached, engine=engine)
    if join:
        from search.supervisor.start_join import join_study

        limits = {"--n-trials": n_trials, "--max-epochs": max_epochs, "--patience": patience}
        return join_study(request, launch, limits, keep, cold)
    return run_study(request, launch, StoppingCriteria(n_trials or N_TRIALS, max_epochs, patience), keep, cold)


if __name__ == "__main__":
    run_command(main)
