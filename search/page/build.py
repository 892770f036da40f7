"""From a study to its report: the sections in their order."""

from datetime import datetime

from maskcls.system.errors import count_of
from maskcls.system.provenance import commit
from search.page.answer import best_section, confirmation_section, lead_of, levels_section
from search.page.blocks import Report, Section
from search.page.classes import classes_section, confusion_section
from search.page.commands import commands_section
from search.page.confusions import confused_section
from search.page.data import Material
from search.page.gallery import gallery_section
from search.page.reweighting import check_prior, prior_section
from search.page.training import cost_section, curves_section, importance_section, noise_section


def make_report(material: Material) -> Report:
    """The whole report. Raises UserError for a prior that cannot be had."""
    check_prior(material)
    answer = material.answer
    return Report(
        study=material.study.study_name,
        question=answer.question,
        verdict=answer.verdict,
        sentences=answer.sentences,
        lead=lead_of(answer),
        sections=_sections(material),
        footer=_footer(material),
    )


def _sections(material: Material) -> tuple[Section, ...]:
    confirmation, prior = material.answer.confirmation, prior_section(material)
    return (
        *((confirmation_section(confirmation),) if confirmation else ()),
        levels_section(material),
        best_section(material),
        classes_section(material),
        confusion_section(material),
        confused_section(material),
        gallery_section(material),
        importance_section(material),
        curves_section(material),
        noise_section(material),
        cost_section(material),
        *((prior,) if prior else ()),
        commands_section(material),
    )


def _footer(material: Material) -> str:
    counts = f"{count_of(len(material.finished), 'finished trial')} of {len(material.trials)}"
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    return (
        f"Made {now} by search.report at commit {commit()}, from {counts}. Intervals hold at 95 %: over people, and"
        " over training seeds as well where that is said."
    )
