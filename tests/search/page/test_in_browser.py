"""The report in a browser: at a desk and on a telephone nothing overflows, no picture is broken, nothing complains."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from search.page.build import make_report
from search.page.render import to_html
from tests.helpers.browser import Browser, browsing, needs_chromium
from tests.helpers.report import make_study

pytestmark = needs_chromium

OVERFLOWING = """[...document.querySelectorAll("main *")].filter(element => {
    const box = element.getBoundingClientRect();
    return box.right > innerWidth + 1 && !element.closest(".scroll");
}).map(element => element.outerHTML.slice(0, 80))"""

BROKEN = "[...document.images].filter(image => !image.complete || image.naturalWidth === 0).length"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> dict[str, str]:
    """A study that has everything, and one that has nothing yet; their addresses."""
    found = {}
    for name, has_trials in (("whole", True), ("empty", False)):
        folder = tmp_path_factory.mktemp(name)
        material = make_study(folder, synthetic_folder, trials=has_trials).material(prior="male=0.6,old=0.25")
        (folder / "report.html").write_text(to_html(make_report(material)))
        found[name] = (folder / "report.html").as_uri()
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["whole", "empty"])
def test_nothing_overflows_is_broken_or_complains(
    browser: Browser, pages: dict[str, str], name: str, width: int
) -> None:
    browser.open(pages[name], width)
    assert browser.ask("innerWidth") == width
    assert browser.ask("document.scrollingElement.scrollWidth") <= width
    assert browser.ask(OVERFLOWING) == []
    assert browser.ask(BROKEN) == 0
    assert browser.ask("document.images.length") == (12 if name == "whole" else 0)
    assert browser.complaints() == []


def test_drawings_have_a_size_and_a_name(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["whole"], 400)
    sizes = browser.ask(
        'Object.fromEntries([...document.querySelectorAll("svg[role=img]")].map('
        "drawing => [drawing.getAttribute('aria-label'), drawing.getBoundingClientRect().height]))"
    )
    assert len(sizes) == 8  # levels, classes, four matrices, importance, curves
    assert all(name.endswith(".") for name in sizes)
    assert min(sizes.values()) > 50


def test_on_paper_nothing_is_cut_off(browser: Browser, pages: dict[str, str]) -> None:
    browser.open(pages["whole"], 690)  # A4 without its margins
    browser.command("Emulation.setEmulatedMedia", media="print")
    try:
        scrolling = (
            '[...document.querySelectorAll(".scroll")].filter(box => box.scrollWidth > box.clientWidth + 1).length'
        )
        assert browser.ask(scrolling) == 0
        assert browser.ask("document.scrollingElement.scrollWidth") <= 690
    finally:
        browser.command("Emulation.setEmulatedMedia", media="")
