"""What comes from photos, studies and errors is shown in a report letter for letter, and is never markup."""

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from search.answer.markup import fenced, markdown, plain
from search.findings.notes import show_study
from search.page.build import make_report
from search.page.render import to_html, to_markdown
from tests.helpers.report import Played, make_study

HOSTILE = (
    "<script>alert(1)</script>",
    "<svg onload=alert(1)>",
    "[click](http://evil.example)",
    "![seen](http://evil.example/x.png)",
    "<http://evil.example>",
    "http://evil.example and www.evil.example",
    "# a heading",
    "- an item",
    "1. an item",
    "12) an item",
    "---",
    "===",
    "> a quote",
    "*a* _b_ **c** `d` ~~e~~ $f$",
    "snake_case_name stays",
    "a | b",
    "&lt; &amp;",
    "\\*",
    "+0.0348 -0.5 (95 % interval -0.2 to +0.1)",
)
UNSEEN = "\x1b[2J\x1b]0;title\x07 \x9b31m \u202egnp \x00 \ud800 \u2066"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("flavour", ["commonmark", "gfm-like"])
def test_markdown_shows_it_letter_for_letter(text: str, flavour: str) -> None:
    reader = MarkdownIt(flavour, {"html": True, "linkify": False})
    for before in ("", "a paragraph "):
        shown = reader.render(before + markdown(text))
        assert re.findall(r"<\w+", shown) == ["<p"]
        assert html.unescape(shown.strip().removeprefix("<p>").removesuffix("</p>")) == before + text


def test_a_cell_stays_a_cell() -> None:
    table = f"| a | b |\n| --- | --- |\n| {markdown('x | y')} | {markdown('back' + chr(92))} |\n"
    shown = MarkdownIt("commonmark").enable("table").render(table)
    assert re.findall("<td>(.*?)</td>", shown) == ["x | y", "back\\"]


def test_lines_stay_one_line() -> None:
    assert markdown("a\n# b\r\n\n- c") == "a # b - c"


def test_code_cannot_end_its_block() -> None:
    text = "echo '\n```\n# heading\n````\n'"
    (token,) = MarkdownIt("commonmark").parse(fenced(text))
    assert (token.type, token.content) == ("fence", f"{text}\n")


def test_what_a_terminal_or_a_browser_would_act_on_is_replaced() -> None:
    assert re.fullmatch("\ufffd.*", plain(UNSEEN))
    plain(UNSEEN).encode()
    assert not re.search("[\x00-\x08\x1b\x7f-\x9f\u202e\u2066]", plain(UNSEEN))
    assert plain("a\tb\n") == "a\tb\n"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> tuple[Played, str, str]:
    """A study whose question is all of that, with its report as a page and as Markdown."""
    played = make_study(tmp_path_factory.mktemp("runs"), synthetic_folder)
    question = " ".join((*HOSTILE[:6], UNSEEN))
    stored = replace(played.stored, study=replace(played.stored.study, question=question), data="/x/`</code>`\x1b[2J")
    played = replace(played, stored=stored)
    report = make_report(played.material())
    return played, to_html(report), to_markdown(report)


def test_a_hostile_question_does_nothing(hostile: tuple[Played, str, str]) -> None:
    _, page, twin = hostile
    assert "alert(1)" in page
    assert "<script" not in page
    assert "onload=alert(1)>" not in page
    shown = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(twin)
    assert "alert(1)" in shown
    assert not re.search(r"<(script|a |svg)", shown)
    assert all(link.endswith(".svg") for link in re.findall(r'src="(.*?)"', shown))
    for text in (page, twin):
        assert not re.search("[\x00-\x08\x1b\x7f-\x9f\u202e\u2066\ud800]", text)


def test_the_page_says_itself_that_it_needs_nothing(hostile: tuple[Played, str, str]) -> None:
    _, page, _ = hostile
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="(.*?)">', page)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert page.index(policy) < page.index("<title>")


def test_the_note_in_the_dashboard_is_no_markup_either(hostile: tuple[Played, str, str]) -> None:
    played, _, _ = hostile
    show_study(played.study, played.stored, "[x](http://evil.example)")
    note = played.study._storage.get_study_system_attrs(played.study._study_id)["dashboard:note_str:0"]
    shown = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(note)
    assert not re.search(r"<(script|a |svg|img)", shown)


def test_without_photos_nobody_is_named(tmp_path: Path, synthetic_folder: Path) -> None:
    played = make_study(tmp_path, synthetic_folder)
    person = next((synthetic_folder / "images").iterdir()).name
    named = re.compile(r"\d+_(?:fe)?male_\w+_\d+")
    assert named.fullmatch(person)
    for photos in (True, False):
        report = make_report(played.material(photos=photos))
        for text in (to_html(report), to_markdown(report)):
            assert bool(named.search(text.replace("\\_", "_"))) == photos
