"""The report's first part: the answer's figure, the levels, the confirmation, the best trial beside the baseline."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial

from maskcls.labels import PARTS
from maskcls.scoring.intervals import Estimate
from maskcls.system.errors import count_of
from search.answer.answer import Answer, Comparison, Confirmation, FactorAnswer, Finalist, Level, Winner
from search.answer.format import (
    NONE,
    as_score,
    bare,
    describe_values,
    difference_cell,
    listed,
    score_cell,
    spread,
    with_sign,
)
from search.answer.wording import chosen_from, verdict_of
from search.page.blocks import Block, Bullets, Figure, Section, Table, Text
from search.page.data import Material
from search.page.figures import Dot, draw_dots
from search.study.attributes import ACCURACY, LOSS, part_f1


def lead_blocks(answer: Answer) -> tuple[Block, ...]:
    """Below the two sentences: what they rest on, as a drawing, and the caveats."""
    figure = confirmation_figure(answer.confirmation) or levels_figure(answer)
    caveats = Bullets(answer.caveats) if answer.caveats else None
    return tuple(block for block in (figure, caveats) if block is not None)


def levels_figure(answer: Answer) -> Figure | None:
    """Every level's score with its interval; None while no level has one."""
    dots = [
        Dot(level.text, level.score, _shown_verdict(level), level.against is None and index == factor.reference)
        for factor in answer.factors
        for index, level in enumerate(factor.levels)
        if level.score is not None
    ]
    if not dots:
        return None
    seen = "; ".join(f"{dot.text} {score_cell(dot.estimate)}" for dot in dots)
    return draw_dots(
        "levels",
        dots,
        "macro F1",
        f"Macro F1 of each level with its 95 % interval: {seen}.",
        "Each level at its best: macro F1 and its 95 % interval over people. Diamond: the level that the others are"
        " compared with. A triangle up or down marks a level beyond noise.",
    )


def _shown_verdict(level: Level) -> str:
    return "" if level.against is None else bare(verdict_of(level.against))


def levels_section(material: Material) -> Section:
    """Every level of what is compared, beside the reference: a table for each factor."""
    answer = material.answer
    if not answer.factors:
        return Section("Levels", (Text("This study compares no levels; it looks for the best recipe."),))
    text = Text(
        "Every level is shown at the best setting found for it, with about the same number of trials spent on each."
        " Differences are from the reference level, on the same people. The interval of these models is over people"
        " alone. That of the recipes has the spread from training seed to training seed in it, and where it is known"
        " the verdict goes by it."
    )
    leads = confirmation_figure(answer.confirmation) is None
    figure = None if leads else levels_figure(answer)
    tables = (_levels_table(factor) for factor in answer.factors)
    return Section("Levels", (text, *((figure,) if figure else ()), *tables))


LEVEL_TITLES = (
    *("level", "complete", "pruned", "macro F1 (95 % interval)", "difference, these models", "difference, the recipes"),
    *("verdict", "runs", "best setting"),
)
RUNS_NOTE = "runs: trainings on each side of the difference"


def _levels_table(factor: FactorAnswer) -> Table:
    rows = tuple(_level_row(level, factor, index) for index, level in enumerate(factor.levels))
    note = f"complete, pruned: trials, replicates left out; {RUNS_NOTE}, replicates counted."
    return Table(LEVEL_TITLES, rows, LEVEL_TITLES[1:6], caption=factor.param, note=note)


def _level_row(level: Level, factor: FactorAnswer, index: int) -> tuple[str, ...]:
    values = {name: value for name, value in level.values.items() if name != factor.param}
    score = NONE if level.score is None else score_cell(level.score)
    compared = comparison_cells(level.against)
    if level.left_out:
        compared = (NONE, NONE, "… left out", NONE)
    if index == factor.reference:
        compared = (NONE, NONE, "reference", str(len(level.trials)))
    return (level.text, str(level.complete), str(level.pruned), score, *compared, _setting(values, level.trials))


def comparison_cells(compared: Comparison | None) -> tuple[str, str, str, str]:
    """Difference of these models, of the recipes, verdict, runs."""
    if compared is None:
        return (NONE, NONE, "… no trial yet", NONE)
    if compared.about == "recipes":
        models, recipes = NONE, difference_cell(compared.estimate)
    else:
        models = difference_cell(compared.estimate)
        recipes = NONE if compared.with_seeds is None else difference_cell(compared.with_seeds)
    ours, theirs = compared.runs
    return (models, recipes, with_sign(verdict_of(compared)), f"{ours}:{theirs}")


def _setting(values: Mapping[str, Any], trials: tuple[int, ...]) -> str:
    if not trials:
        return NONE
    which = f"trial {trials[0]}" if len(trials) == 1 else f"trials {listed(trials)}"
    return f"{describe_values(values)} ({which})".strip()


def confirmation_figure(confirmation: Confirmation | None) -> Figure | None:
    """What the confirmation says to the question: the levels less the reference one, or else finalists less baseline.

    None while nothing is confirmed.
    """
    finalists = confirmation.finalists if confirmation else ()
    levels = {one.name: one.against_reference for one in finalists if one.against_reference is not None}
    found = levels or {one.name: one.against for one in finalists if one.against is not None}
    if not found:
        return None
    reference = next((one.name for one in finalists if levels and one.level == "reference"), "the baseline")
    seen = "; ".join(f"{name} {difference_cell(estimate)}" for name, estimate in found.items())
    alt = f"Difference of macro F1 from {reference}, with its 95 % interval: {seen}."
    caption = (
        f"Confirmed: less {reference}, trained again and judged by people who chose none of them, with 95 % intervals"
        " over people and training seeds. A triangle up or down is beyond noise."
    )
    dots = [Dot(name, estimate, estimate.verdict) for name, estimate in found.items()]
    return draw_dots("confirmation", dots, f"macro F1 less that of {reference}", alt, caption, zero=True)


CONFIRM_TITLES = (
    *("recipe", "mean macro F1 (range)", "less the baseline", "verdict", "less the reference level", "verdict there"),
    "setting",
)


def confirmation_section(material: Material) -> Section | None:
    """Finalists and baseline, trained again and judged by people who chose nobody; None before a confirmation."""
    confirmation = material.answer.confirmation
    if confirmation is None:
        return None
    rows = tuple(_finalist_row(finalist, index == 0) for index, finalist in enumerate(confirmation.finalists))
    text = Text(
        f"The baseline and {count_of(len(rows) - 1, 'finalist')} were trained again with seeds of their own,"
        f" {confirmation.repeats} of {confirmation.planned} repeats so far, and judged by"
        f" {count_of(confirmation.judges, 'person', 'people')} who chose none of them (study {confirmation.study})."
        " Intervals are over people and training seeds. The question is answered by the levels, each at its best: less"
        " the reference level."
    )
    numbers = ("mean macro F1 (range)", "less the baseline", "less the reference level")
    return Section("Confirmation", (text, Table(CONFIRM_TITLES, rows, numbers, strong=(confirmation.winner,))))


def _finalist_row(finalist: Finalist, is_baseline: bool) -> tuple[str, ...]:
    scores = finalist.scores
    mean = f"{as_score(fmean(scores))} ({as_score(min(scores))} to {as_score(max(scores))})" if scores else NONE
    against = _compared(finalist.against, is_baseline)
    if finalist.diverged:
        against = (NONE, f"diverged in repeat {listed(finalist.diverged)}")
    levels = _compared(finalist.against_reference, finalist.level == "reference")
    return (finalist.name, mean, *against, *levels, describe_values(finalist.values))


def _compared(found: Estimate | None, is_reference: bool) -> tuple[str, str]:
    """Difference and verdict."""
    if found is None:
        return (NONE, "reference" if is_reference else NONE)
    return (difference_cell(found), with_sign(found.verdict))


BEST_TITLES = ("", "trial", "macro F1", "95 % interval", "mask", "gender", "age", "accuracy", "loss", "setting")


def best_section(material: Material) -> Section:
    """The best trial with its score corrected for being chosen, beside the baseline."""
    title, winner = "Best trial and baseline", material.answer.winner
    if winner is None or material.best is None:
        return Section(title, (Text(material.missing() or "No trial is complete yet."),))
    rows = [_trial_row("best trial", material.best, material)]
    if material.baseline is not None and material.baseline.number != winner.trial:
        rows.append(_trial_row("baseline", material.baseline, material))
    text = f"{_chosen(material.answer, winner)} {material.same_configuration}".strip()
    table = Table(BEST_TITLES, tuple(rows), BEST_TITLES[1:9])
    return Section(title, (Text(text), table, *_against_baseline(winner.against_baseline)))


def _chosen(answer: Answer, winner: Winner) -> str:
    """From how many, and what that does to its score."""
    if winner.candidates == 1:
        return (
            f"Trial {winner.trial} is the only complete one with predictions. It scores {as_score(winner.score.value)}."
        )
    return (
        f"Trial {winner.trial} is the best of {chosen_from(answer, winner)}. It scores"
        f" {as_score(winner.score.value)} on the people who chose it; on people who did not,"
        f" {as_score(winner.corrected)} is to be expected."
    )


def _against_baseline(compared: Comparison | None) -> tuple[Block, ...]:
    if compared is None:
        return ()
    models, recipes, verdict, runs = comparison_cells(compared)
    ours, theirs = _mean_of(compared.ours, compared.runs[0]), _mean_of(compared.theirs, compared.runs[1])
    row = (f"{ours} less {theirs}", models, recipes, verdict, runs)
    text = (
        "The difference of the two settings is shown, but it is not the answer to the question: the one was tuned and"
        " chosen, the other was not."
    )
    return (Text(text), Table(("", *LEVEL_TITLES[4:8]), (row,), LEVEL_TITLES[4:6], note=f"{RUNS_NOTE}."))


def _mean_of(name: str, runs: int) -> str:
    """``trial 12``, ``trial 12 (mean of its 2 runs)``."""
    return name if runs == 1 else f"{name} (mean of its {runs} runs)"


def _trial_row(role: str, trial: FrozenTrial, material: Material) -> tuple[str, ...]:
    keys = (*map(part_f1, PARTS), ACCURACY, LOSS)
    scores = (as_score(trial.user_attrs.get(key)) for key in keys)
    found = material.interval(trial)
    shown = NONE if found is None else spread(found)
    return (role, str(trial.number), as_score(trial.value), shown, *scores, describe_values(material.values(trial)))
