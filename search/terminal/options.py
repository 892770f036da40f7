"""Options that several commands share. --help imports this module, so that it must import nothing heavy."""

from pathlib import Path
from typing import Annotated

import typer

from search.system.processes import MIN_STALL
from search.system.storage_url import STORAGE_VARIABLE

StudyOption = Annotated[str, typer.Option(help="The study's stored name.")]

StudiesOption = Annotated[
    list[str], typer.Option("--study", help="Stored name of a study whose trials may join. Repeatable.")
]

StorageOption = Annotated[
    str | None,
    typer.Option(envvar=STORAGE_VARIABLE, help="Optuna storage URL. Default: studies.db in the --runs folder."),
]
"""A URL with a password belongs into the environment: ``ps`` shows options to every user of the machine."""

RunsOption = Annotated[Path, typer.Option(help="Folder of the studies and their files.")]

RUNS = Path("runs")
"""Default of --runs."""

PriorOption = Annotated[
    str | None,
    typer.Option(
        help="Reweight scores as if people (groups) came in these shares of the label's classes: in the mask task"
        " male=0.6,old=0.25 (male, female, young, middle, old)."
    ),
]

DeviceOption = Annotated[str, typer.Option(help="auto (every idle GPU, else the CPU), cpu, cuda or cuda:N.")]

WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        envvar="MASKCLS_WORKERS",
        help="Number of worker processes. Default: one per idle GPU, up to 3 where it has 40 GB and NVIDIA MPS; on a"
        " CPU up to 4, as cores and memory allow.",
    ),
]

ForceOption = Annotated[
    bool, typer.Option("--force", help="Start all --workers, even more than cores and memory allow.")
]

RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="auto|HOST:PORT",
        help="Run the workers on this Ray cluster, of which this machine is a node; auto: the one that runs here.",
    ),
]

GpusPerWorkerOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="With --ray, each worker's share of a GPU; 0: the CPU. Default: 1 where the cluster has GPUs.",
    ),
]

TimeoutOption = Annotated[
    float | None, typer.Option(min=0, help="Stop after this many seconds; the same command continues.")
]

StallOption = Annotated[
    float, typer.Option(min=MIN_STALL, help="Replace a worker that makes no progress for this many seconds.")
]
