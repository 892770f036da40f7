"""python -m search.report: a study as one web page to send, and as Markdown; the dashboard shows both too.

It works while the study runs, and says what is not known yet. It needs no GPU and imports no torch.
"""

from pathlib import Path
from typing import Annotated

import typer

from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError
from maskcls.system.options import CacheOption, cache_folder
from maskcls.system.outputs import check_output_folder
from search.terminal.options import RUNS, PriorOption, RunsOption, StorageOption, StudyOption


def main(
    study: StudyOption,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write into. Default: report/ in the study's folder.")
    ] = None,
    prior: PriorOption = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the photos. Default: where the study had them.")] = None,
    no_photos: Annotated[
        bool, typer.Option("--no-photos", help="Leave out the photos of mistakes and their file names.")
    ] = False,
    storage: StorageOption = None,
    cache: CacheOption = None,
    runs: RunsOption = RUNS,
) -> None:
    """Write a study's report: report.html, a single page with everything in it, and report.md with its figures."""
    from search.database.connect import default_url, load_study, open_to_read
    from search.page.build import make_report
    from search.page.dashboard import share
    from search.page.data import ReportOptions, gather
    from search.page.gallery import photo_folder
    from search.page.render import write_report

    if out is not None:
        check_output_folder(out)
    if data is not None and not data.is_dir():
        raise UserError(f"There is no folder {data}; --data takes the folder of the photos.")
    options = ReportOptions(runs, storage, data, not no_photos, prior, cache_folder(cache, runs))
    material = gather(load_study(open_to_read(storage or default_url(runs)), study), options)
    report = make_report(material)
    page, twin = write_report(report, out or material.shelf.folder / "report")
    share(material, page, twin)
    say(" ".join(report.sentences))
    folder = photo_folder(material)
    if options.photos and not folder.is_dir():
        say(f"Without photos: there is no folder {folder} here; --data takes another.")
    say(f"{page}")
    say(f"{twin}")


if __name__ == "__main__":
    run_command(main)
