"""python -m search.report: a study as one web page to send, with its Markdown twin; both go to the dashboard too.

Works while the study runs: what is not known yet says so. Needs no GPU and imports no torch.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskcls.cli import run_command, say
from maskcls.errors import UserError
from maskcls.files import check_folder

if TYPE_CHECKING:
    from search.report_blocks import Report


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
    no_photos: Annotated[bool, typer.Option("--no-photos", help="No photos in the gallery of mistakes.")] = False,
    storage: Annotated[
        str | None, typer.Option(help="Optuna storage URL. Default: studies.db in the --runs folder.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("runs"),
) -> None:
    """Write a study's report: report.html, which needs nothing else, and report.md with its drawings."""
    from search.answering import answer_of
    from search.report_data import Material, Options
    from search.report_making import make_report
    from search.report_share import share
    from search.storage import default_url, load_study, open_storage
    from search.stored import read_search

    if data is not None and not data.is_dir():
        raise UserError(f"There is no folder {data}; --data takes the folder with images/.")
    if out is not None:
        check_folder(out, "-o")
    found = load_study(open_storage(storage or default_url(runs), create=False), study)
    stored = read_search(found)
    options = Options(runs, storage, data, not no_photos, prior)
    material = Material(found, stored, answer_of(found, stored, runs), options)
    report = make_report(material)
    page, twin = _write(report, out or runs / study / "report")
    share(material, page, twin)
    say(" ".join(report.sentences))
    say(f"{page}")
    say(f"{twin}")


def _write(report: "Report", folder: Path) -> tuple[Path, Path]:
    """(page, twin)"""
    from maskcls.files import write_text
    from search.report_page import figures_of, to_html, to_markdown

    folder.mkdir(parents=True, exist_ok=True)
    page, twin = folder / "report.html", folder / "report.md"
    for figure in figures_of(report):
        write_text(folder / f"{figure.name}.svg", figure.svg)
    write_text(page, to_html(report))
    write_text(twin, to_markdown(report))
    return page, twin


if __name__ == "__main__":
    run_command(main)
