"""python -m search.run: run a study until it has so many trials; the same command again goes on."""

from typing import Annotated

import typer

from maskcls.system.console import run_command
from maskcls.system.options import LabelFixesOption, SkipUnreadableOption
from search.system.processes import STALL_SECONDS
from search.terminal.options import (
    RUNS,
    DeviceOption,
    ForceOption,
    RunsOption,
    StallOption,
    StorageOption,
    TimeoutOption,
    WorkersOption,
)


def main(
    study: Annotated[str, typer.Option(help="A study of studies/, or the path of a study file of your own.")],
    n_trials: Annotated[int, typer.Option(min=1, help="Trials the study should reach, over all runs.")] = 50,
    data: Annotated[
        str | None,
        typer.Option(
            envvar="MASKCLS_DATA",
            help="Folder with images/, or: synthetic. Without it a study runs as a preview on synthetic photos.",
        ),
    ] = None,
    storage: StorageOption = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="auto (timm's hub, from scratch when it cannot be reached), pretrained, scratch, or a folder of"
            " <backbone>.safetensors. Default: auto; scratch on synthetic photos."
        ),
    ] = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    force: ForceOption = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: fix a knob of the training config. May repeat.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to store the study under. Default: the study's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler and of every trial's training.")] = 0,
    timeout: TimeoutOption = None,
    stall: StallOption = STALL_SECONDS,
    max_epochs: Annotated[
        float | None, typer.Option(min=0, help="Begin no trial once all have trained for so many epochs together.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Begin no trial once so many have ended without a better best.")
    ] = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="No warm starts: neither known settings nor earlier studies.")
    ] = False,
    keep: Annotated[int, typer.Option(min=0, help="Trials whose best weights stay on the disk.")] = 5,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Begin as a copy of this stored study, with more choices; needs --name."),
    ] = None,
    people: Annotated[int | None, typer.Option(min=2, help="Use only this many people, for a quick look.")] = None,
    label_fixes: LabelFixesOption = "auto",
    skip_unreadable: SkipUnreadableOption = False,
    runs: RunsOption = RUNS,
) -> int:
    """Run a study until it has --n-trials trials (complete or pruned).

    Ctrl-C once: the running trials finish their evaluation and go back into the queue; twice: at once. The same
    command again goes on from there; a second one beside it shares the work.
    """
    from search.policy.stopping import StoppingCriteria
    from search.study.request import StudyRequest
    from search.supervisor.launch import Launch
    from search.supervisor.start import run_study

    settings = set_ or ()
    request = StudyRequest(study, name, data, weights, label_fixes, skip_unreadable, seed, settings, people, from_)
    launch = Launch(runs, storage, device, workers, force, timeout, stall)
    return run_study(request, launch, StoppingCriteria(n_trials, max_epochs, patience), keep, cold)


if __name__ == "__main__":
    run_command(main)
