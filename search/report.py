"""python -m search.report: a study as one web page to send, with its Markdown twin; both go to the dashboard too.

Works while the study runs: what is not known yet says so. Needs no GPU and imports no torch.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError
from maskcls.system.outputs import check_output_folder
from search.system.storage_url import StorageOption

if TYPE_CHECKING:
    from search.page.blocks import Report
    from search.page.data import Material


def main(
    study: Annotated[str, typer.Option(help="The study's stored name.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write into. Default: report/ in the study's folder.")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="Re-weight scores to these shares: male, female, young, middle, old. male=0.6,old=0.25"),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the photos. Default: where the study had them.")] = None,
    no_photos: Annotated[
        bool, typer.Option("--no-photos", help="Neither photos nor their names among the mistakes.")
    ] = False,
    storage: StorageOption = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("runs"),
) -> None:
    """Write a study's report: report.html, which needs nothing else, and report.md with its drawings."""
    from search.answer.evidence import answer_of
    from search.database.connect import default_url, load_study, open_to_read
    from search.page.build import make_report
    from search.page.data import Material, Options
    from search.page.gallery import photo_folder
    from search.study.record import read_search

    if out is not None:
        check_output_folder(out)
    if data is not None and not data.is_dir():
        raise UserError(f"There is no folder {data}; --data takes the folder with images/.")
    found = load_study(open_to_read(storage or default_url(runs)), study)
    stored = read_search(found)
    options = Options(runs, storage, data, not no_photos, prior)
    material = Material(found, stored, answer_of(found, stored, runs), options)
    report = make_report(material)
    page, twin = _write(report, out or material.shelf.folder / "report")
    _share(material, page, twin)
    say(" ".join(report.sentences))
    folder = photo_folder(material)
    if options.photos and not folder.is_dir():
        say(f"Without photos: there is no folder {folder} here. --data names another.")
    say(f"{page}")
    say(f"{twin}")


def _share(material: "Material", page: Path, twin: Path) -> None:
    """In the dashboard too, where that may be written to."""
    from search.database.connect import default_url, load_study, open_storage
    from search.database.errors import DatabaseError
    from search.page.dashboard import show_in_dashboard

    url = material.options.storage or default_url(material.options.runs)
    try:
        show_in_dashboard(
            replace(material, study=load_study(open_storage(url, create=False), material.study.study_name)), page, twin
        )
    except (DatabaseError, UserError, OSError) as error:
        say(f"The dashboard's copy was left out: {str(error).rstrip('.')}.")


def _write(report: "Report", folder: Path) -> tuple[Path, Path]:
    """(page, twin)"""
    from maskcls.system.outputs import write_output_text
    from search.page.render import figures_of, to_html, to_markdown

    folder.mkdir(parents=True, exist_ok=True)
    page, twin = folder / "report.html", folder / "report.md"
    for figure in figures_of(report):
        write_output_text(folder / f"{figure.name}.svg", figure.svg)
    write_output_text(page, to_html(report))
    write_output_text(twin, to_markdown(report))
    return page, twin


if __name__ == "__main__":
    run_command(main)
