"""python -m search.soup: one model whose weights are the mean of several trials', where that is better."""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.console import run_command
from maskcls.system.options import CacheOption, DeviceOption, cache_folder
from maskcls.system.outputs import check_output_folder
from search.terminal.options import RUNS, RunsOption, StorageOption, StudiesOption


def main(
    study: StudiesOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write the model to.")],
    data: Annotated[
        str | None,
        typer.Option(help="Where the photos of the studies are now. Default: where they were when the best trial ran."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write the soup even if it is not better than the best single model.")
    ] = False,
    device: DeviceOption = "auto",
    storage: StorageOption = None,
    cache: CacheOption = None,
    runs: RunsOption = RUNS,
) -> None:
    """Average the weights of trials that were fine-tuned from the same pretrained ones: a soup, as fast as one model.

    The trials may be of several studies of the same photos, if they have the same architecture, preprocessing and
    pretrained weights. The soup of all such trials is tried, and one that is made greedily, the best trials first. The
    better one is compared with the best single model on the same photos, and written if it is better beyond noise.
    """
    check_output_folder(out)
    cached = cache_folder(cache, runs)
    from search.database.connect import default_url, load_study, open_to_read
    from search.terminal.souping import make_soup

    stored = open_to_read(storage or default_url(runs))
    make_soup([load_study(stored, name) for name in dict.fromkeys(study)], out, data, device, force, runs, cached)


if __name__ == "__main__":
    run_command(main)
