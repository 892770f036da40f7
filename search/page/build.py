"""The report of a study: its sections in their order.

To add a section, write a function that makes it from the Material and the blocks of blocks.py, and add it to SECTIONS.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from maskcls.system.errors import count_of
from maskcls.system.provenance import commit
from search.answer.format import capital
from search.page.answer import best_section, confirmation_section, lead_blocks, levels_section, rounds_section
from search.page.blocks import Report, Section
from search.page.classes import classes_section, matrices_section
from search.page.commands import commands_section
from search.page.confusions import confusions_section
from search.page.data import Material
from search.page.gallery import gallery_section
from search.page.reweighting import check_prior, prior_section
from search.page.together import together_section
from search.page.training import cost_section, curves_section, importance_section, noise_section

SECTIONS: tuple[Callable[[Material], Section | None], ...] = (
    confirmation_section,
    best_section,
    classes_section,
    matrices_section,
    confusions_section,
    gallery_section,
    together_section,
    rounds_section,
    levels_section,
    importance_section,
    curves_section,
    noise_section,
    cost_section,
    prior_section,
    commands_section,
)
"""The sections in their order on the page; one that returns None is left out."""

METHOD = (
    *(rounds_section, levels_section, importance_section, curves_section, noise_section, cost_section),
    commands_section,
)
"""How the answer was found: folded on the page."""


def make_report(material: Material) -> Report:
    """The whole report. Raises UserError for a --prior that the study's predictions cannot be weighted to."""
    check_prior(material)
    answer = material.answer
    return Report(
        study=material.study.study_name,
        question=answer.question,
        verdict=answer.verdict,
        sentences=answer.sentences,
        lead=lead_blocks(answer),
        sections=tuple(_folded(make, section) for make in SECTIONS if (section := make(material)) is not None),
        footer=_footer(material),
    )


def _folded(make: Callable[[Material], Section | None], section: Section) -> Section:
    return replace(section, is_folded=True) if make in METHOD else section


def _footer(material: Material) -> str:
    counts = f"{count_of(len(material.finished), 'finished trial')} of {len(material.trials)}"
    task = material.stored.task
    leak = f" {capital(task.leak)}." if task.leak else ""
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    return (
        f"Made {now} by search.report at commit {commit()}, from {counts}. Intervals are 95 % intervals over"
        f" {task.unit.many}, and over training seeds as well where that is said.{leak}"
    )
