"""Reports of many classes with names by strangers: capped, said so, escaped, and cut at a readable length."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from maskcls.labels import Factor, LabelSpace
from maskcls.system.printable import shortened
from maskcls.tasks.task import Source, Task
from search.page.blocks import Figure, Figures, Report, Section, Table, Text
from search.page.classes import class_changes, classes_section, matrices_section
from search.page.dashboard import _classes
from search.page.data import Material, ReportOptions, gather
from search.page.gallery import gallery_section
from search.page.render import to_html, to_markdown

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from many_classes import NAME, store

from search.database.connect import default_url, load_study, open_to_read

CLASSES = 60
NAMES = tuple(
    f"{number:02d} <script>alert({number})</script> $\\frac$ [a](http://b) |\n\x1b[31m\u202e {'naïve 漢字 ' * 40}"
    for number in range(CLASSES)
)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    runs = tmp_path_factory.mktemp("runs")
    task = Task("many", LabelSpace((Factor("kind", NAMES),)), Source("folders"))
    store(runs, task, photos=600, people=0, trials=12)
    return gather(load_study(open_to_read(default_url(runs)), NAME), ReportOptions(runs, photos=False))


def test_the_table_has_the_classes_that_gained_and_lost_most_and_says_so(material: Material) -> None:
    section = classes_section(material)
    tables = [block for block in section.blocks if isinstance(block, Table)]
    texts = [block.text for block in section.blocks if isinstance(block, Text)]
    changes = sorted(class_changes(material), key=lambda change: -change.estimate.value)
    assert len(changes) == CLASSES
    shown = [change.name for change in (*changes[:20], *changes[-20:])]
    values = [float(row[4]) for row in tables[0].rows]
    assert values == sorted(values, reverse=True)
    assert values == [pytest.approx(change.estimate.value, abs=6e-5) for change in (*changes[:20], *changes[-20:])]
    assert {row[0][:2] for row in tables[0].rows} <= {name[:2] for name in NAMES}
    assert len(tables[0].rows) == len(shown) == 40
    assert "Of 60 classes the 20 that gained most and the 20 that lost most are shown." in texts


def test_the_matrices_have_the_same_classes_before_and_after(material: Material) -> None:
    section = matrices_section(material)
    assert "the 25 most confused of 60 classes, and the other 35 as one" in section.blocks[0].text  # type: ignore[union-attr]
    drawn = [figure for block in section.blocks if isinstance(block, Figures) for figure in block.figures]
    assert len(drawn) == 4
    assert all(figure.svg.count("<text") == 0 for figure in drawn)  # letters are drawn
    assert max(len(figure.svg) for figure in drawn) < 700_000


def test_names_are_text_and_never_markup(material: Material) -> None:
    sections = classes_section(material), matrices_section(material), gallery_section(material)
    html, twin = _rendered(sections)
    assert "<script" not in html
    assert "&lt;scr" in html
    assert "<script" not in twin
    assert "\x1b" not in html + twin
    assert "\u202e" not in html + twin
    for block in (block for section in sections for block in section.blocks):
        for figure in block.figures if isinstance(block, Figures) else [block] if isinstance(block, Figure) else []:
            ET.fromstring(figure.svg)
    for table in (block for section in sections for block in section.blocks if isinstance(block, Table)):
        assert all(row[0] == shortened(row[0], 60) for row in table.rows)
    assert max(map(len, html.split("\n"))) < 700_000


def _rendered(sections: tuple[Section, ...]) -> tuple[str, str]:
    report = Report("many", "Does it help?", "open", ("Not yet.",), (), sections, "")
    return to_html(report), to_markdown(report)


def test_the_dashboard_s_figure_has_the_same_classes_as_text(material: Material) -> None:
    figure = _classes(material)
    assert figure is not None
    names = figure.data[0].y
    assert len(names) == 40
    assert not any("<" in name for name in names)
    assert figure.layout.yaxis.type == "category"
