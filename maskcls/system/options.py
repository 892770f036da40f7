"""Options that several commands share. Imported before --help is shown, so nothing here is slow to load."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.files import check_folder

DATA_HELP = "Folder of photos: the mask task's, a folder for every class, or with a table of labels. Or: synthetic."

DataOption = Annotated[str, typer.Option(help=DATA_HELP, envvar="MASKCLS_DATA")]

TableOption = Annotated[
    str, typer.Option(help="CSV, TSV or Parquet file with a row for every photo; none: the folders are the classes.")
]
PathOption = Annotated[str, typer.Option(help="The table's column of paths. Default: the one that names photos.")]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(help="The table's column of labels; several make up one label, such as species and age. Repeatable."),
]
GroupOption = Annotated[
    str, typer.Option(help="The table's column of what belongs together (a patient): it is never on both sides.")
]
SplitOption = Annotated[
    str, typer.Option(help="The table's column that says train, valid or test. none: draw the split.")
]
MetricOption = Annotated[
    str, typer.Option(help="What models are judged by: macro_f1 (default), accuracy or balanced_accuracy.")
]

ENSEMBLE_SIZE = 5
"""Most models of an ensemble, where no other number is asked for."""

ModelOption = Annotated[
    Path,
    typer.Option(
        help="Folder of a trained model (the -o of maskcls.train or search.soup, or a trial's), or the file of"
        " search.compose or search.ensemble."
    ),
]

FlipOption = Annotated[
    bool,
    typer.Option("--flip", help="Average each photo and its mirror image; tta = flip does it always."),
]

DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]

LabelFixesOption = Annotated[
    str, typer.Option(help="CSV of label corrections, auto (the list that comes with the project), or none.")
]

SkipUnreadableOption = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out damaged photos instead of stopping.")
]

CACHE_VARIABLE = "MASKCLS_CACHE"
"""Environment variable with the default of every command's --cache."""

CacheOption = Annotated[
    Path | None,
    typer.Option(
        envvar=CACHE_VARIABLE,
        help="Folder for the cache of decoded photos, and for those of hf:DIR, best on a local disk. Default: cache/ in"
        " the --runs folder.",
    ),
]

RunsOfModelOption = Annotated[
    Path, typer.Option(help="Folder for synthetic photos, timings of a GPU and, by default, the cache.")
]
"""--runs of commands that keep no study there."""


def cache_folder(cache: Path | None, runs: Path) -> Path:
    """The folder that --cache means. Raises UserError for a place that cannot be a folder."""
    if cache is not None:
        check_folder(cache, "--cache")
    return runs / "cache" if cache is None else cache
