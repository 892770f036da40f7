"""A report as one self-contained web page, and as Markdown with its figures beside it."""

import base64
import re
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from maskcls.scoring.rounds import NO_DIFFERENCE
from maskcls.system.outputs import write_output_text
from search.answer.format import NOT_DISTINCT, with_sign
from search.answer.markup import fenced, finalize, markdown
from search.page.blocks import Block, Bullets, Code, Facts, Figure, Figures, Gallery, Report, Section, Table, Text

TONES = {"better": "good", "worse": "bad", NO_DIFFERENCE: "same", NOT_DISTINCT: "same"}


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write report.html, and report.md with its figures; returns the paths of both."""
    folder.mkdir(parents=True, exist_ok=True)
    page, twin = folder / "report.html", folder / "report.md"
    for figure in _figures_of(report):
        write_output_text(folder / f"{figure.name}.svg", figure.svg)
    write_output_text(page, to_html(report))
    write_output_text(twin, to_markdown(report))
    return page, twin


def to_html(report: Report) -> str:
    """The report as one page with its figures and photos inside; no script, no network."""
    template = resources.files("search.page").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, finalize=finalize, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"typeset": typeset, "cell": _cell, "inline": _inline, "jpeg": _data_url}
    environment.globals["kind"] = lambda block: type(block).__name__
    tone = TONES.get(report.verdict, "open")
    return environment.from_string(template).render(report=report, badge=with_sign(report.verdict), tone=tone)


def typeset(text: str) -> str:
    """The text with minus signs before numbers, and percent signs that stay with their numbers."""
    return re.sub(r"(?<=\d) %", "\u00a0%", re.sub(r"(?<![\w.])-(?=\d)", "−", text))


def _cell(text: str) -> Markup:
    """A table cell whose value and interval may stand on two lines, neither of which breaks."""
    parts = [Markup("<span>{}</span>").format(part) for part in re.split(r" (?=\()", typeset(text))]
    return Markup(" ").join(parts)


def _inline(figure: Figure) -> Markup:
    """The figure's SVG, with its alternative text."""
    alt = Markup.escape(figure.alt)
    return Markup(figure.svg.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1))


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def to_markdown(report: Report) -> str:
    """The report in Markdown, with links to its figures and without photos."""
    answer = markdown(" ".join(report.sentences))
    head = f"# {markdown(report.question)}\n\n**{markdown(with_sign(report.verdict))}**\n\n{answer}\n"
    parts = [head, *map(_block, report.lead), *map(_section, report.sections), f"---\n\n{markdown(report.footer)}\n"]
    return "\n".join(parts)


def _section(section: Section) -> str:
    return "\n".join([f"## {markdown(section.title)}\n", *map(_block, section.blocks)])


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return f"{markdown(text)}\n"
        case Bullets(items):
            return "".join(f"- {markdown(item)}\n" for item in items)
        case Facts(items):
            return "".join(f"- **{markdown(name)}**: {markdown(text)}\n" for name, text in items)
        case Table():
            return _table(block)
        case Figure():
            return _figure(block)
        case Figures(figures):
            return "\n".join(map(_figure, figures))
        case Code(text):
            return fenced(text)
        case Gallery(pictures):
            lines = (markdown("; ".join((picture.title, *picture.lines))) for picture in pictures)
            return "".join(f"{index}. {line}\n" for index, line in enumerate(lines, 1))


def _table(table: Table) -> str:
    rule = ["---:" if title in table.numbers else "---" for title in table.titles]
    rows = [table.titles, *table.rows]
    lines = [f"| {' | '.join(map(markdown, row))} |\n" for row in rows]
    caption = f"{markdown(table.caption)}\n\n" if table.caption else ""
    note = f"\n{markdown(table.note)}\n" if table.note else ""
    return "".join([caption, lines[0], f"| {' | '.join(rule)} |\n", *lines[1:], note])


def _figure(figure: Figure) -> str:
    caption = f"\n{markdown(figure.caption)}\n" if figure.caption else ""
    return f"![{markdown(figure.alt)}]({figure.name}.svg)\n{caption}"


def _figures_of(report: Report) -> list[Figure]:
    figures: list[Figure] = []
    for block in (*report.lead, *(block for section in report.sections for block in section.blocks)):
        if isinstance(block, Figure):
            figures.append(block)
        elif isinstance(block, Figures):
            figures += block.figures
    return figures
