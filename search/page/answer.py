"""The report's first sections: the answer's figure, the confirmation, the levels, the best trial and the baseline."""

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
    """The figure and the caveats right below the answer's sentences."""
    figure = confirmation_figure(answer.confirmation) or levels_figure(answer)
    caveats = Bullets(answer.caveats) if answer.caveats else None
    return tuple(block for block in (figure, caveats) if block is not None)


def levels_figure(answer: Answer) -> Figure | None:
    """Every level's score with its interval; None while no level has a score."""
    dots = [
        Dot(level.text, level.score, _shown_verdict(level), level.against is None and index == factor.reference)
        for factor in answer.factors
        for index, level in enumerate(factor.levels)
        if level.score is not None
    ]
    if not dots:
        return None
    scores = "; ".join(f"{dot.text} {score_cell(dot.estimate)}" for dot in dots)
    return draw_dots(
        "levels",
        dots,
        "macro F1",
        f"Macro F1 of each level with its 95 % interval: {scores}.",
        "Each level at its best: macro F1 and its 95 % interval over people. Diamond: the reference level. Triangle up"
        " or down: better or worse beyond noise.",
    )


def _shown_verdict(level: Level) -> str:
    return "" if level.against is None else bare(verdict_of(level.against))


def levels_section(material: Material) -> Section:
    """A table for each factor: its levels, each compared with the reference level."""
    answer = material.answer
    if not answer.factors:
        return Section("Levels", (Text("This study compares no levels; it looks for the best configuration."),))
    text = Text(
        "Each level is shown with the best configuration found for it; all levels got about the same number of trials."
        " Differences are from the reference level, on the same people. The interval for these models covers people"
        " only; the one for the recipes also covers training seeds, and decides the verdict where it is known."
    )
    _, confirmed = confirmed_differences(answer.confirmation)
    figure = levels_figure(answer) if confirmed else None  # without a confirmation it leads the report
    tables = (_levels_table(factor) for factor in answer.factors)
    return Section("Levels", (text, *((figure,) if figure else ()), *tables))


LEVEL_TITLES = (
    *("level", "complete", "pruned", "macro F1 (95 % interval)", "difference, these models", "difference, the recipes"),
    *("verdict", "runs", "best configuration"),
)
RUNS_NOTE = "runs: trainings on each side of the difference"


def _levels_table(factor: FactorAnswer) -> Table:
    rows = tuple(_level_row(level, factor, index) for index, level in enumerate(factor.levels))
    note = f"complete, pruned: trials without replicates; {RUNS_NOTE}, with replicates."
    return Table(LEVEL_TITLES, rows, LEVEL_TITLES[1:6], caption=factor.param, note=note)


def _level_row(level: Level, factor: FactorAnswer, index: int) -> tuple[str, ...]:
    values = {name: value for name, value in level.values.items() if name != factor.param}
    score = NONE if level.score is None else score_cell(level.score)
    if index == factor.reference:
        compared = (NONE, NONE, "reference", str(len(level.trials)))
    elif level.left_out:
        compared = (NONE, NONE, "… left out", NONE)
    else:
        compared = comparison_cells(level.against)
    return (level.text, str(level.complete), str(level.pruned), score, *compared, _configuration(values, level.trials))


def comparison_cells(comparison: Comparison | None) -> tuple[str, str, str, str]:
    """The table's cells: difference of these models, of the recipes, verdict, runs."""
    if comparison is None:
        return (NONE, NONE, "… no trial yet", NONE)
    if comparison.about == "recipes":
        models, recipes = NONE, difference_cell(comparison.estimate)
    else:
        models = difference_cell(comparison.estimate)
        recipes = NONE if comparison.with_seeds is None else difference_cell(comparison.with_seeds)
    ours, theirs = comparison.runs
    return (models, recipes, with_sign(verdict_of(comparison)), f"{ours}:{theirs}")


def _configuration(values: Mapping[str, Any], trials: tuple[int, ...]) -> str:
    if not trials:
        return NONE
    which = f"trial {trials[0]}" if len(trials) == 1 else f"trials {listed(trials)}"
    return f"{describe_values(values)} ({which})".strip()


def confirmed_differences(confirmation: Confirmation | None) -> tuple[str, dict[str, Estimate]]:
    """(reference, finalist -> its difference from it): level against level, else finalist against baseline.

    No differences while nothing is confirmed.
    """
    finalists = confirmation.finalists if confirmation else ()
    levels = {finalist.name: finalist.against_reference for finalist in finalists if finalist.against_reference}
    reference = next((finalist.name for finalist in finalists if levels and finalist.level == "reference"), "baseline")
    return reference, levels or {finalist.name: finalist.against for finalist in finalists if finalist.against}


def confirmation_figure(confirmation: Confirmation | None) -> Figure | None:
    """The confirmation's answer as differences with intervals; None while nothing is confirmed."""
    reference, differences = confirmed_differences(confirmation)
    if not differences:
        return None
    cells = "; ".join(f"{name} {difference_cell(estimate)}" for name, estimate in differences.items())
    alt = f"Difference of macro F1 from {reference}, with its 95 % interval: {cells}."
    caption = (
        "Confirmed: trained again and judged by people who chose none of them. 95 % intervals over people and training"
        " seeds. Triangle up or down: better or worse beyond noise."
    )
    dots = [Dot(name, estimate, estimate.verdict) for name, estimate in differences.items()]
    return draw_dots("confirmation", dots, f"difference of macro F1 from {reference}", alt, caption, zero=True)


CONFIRM_TITLES = (
    *("finalist", "mean macro F1 (range)", "from baseline", "verdict", "from reference level", "verdict on level"),
    "configuration",
)


def confirmation_section(material: Material) -> Section | None:
    """Finalists and baseline, trained again and judged by people who chose none of them; None before a confirmation."""
    confirmation = material.answer.confirmation
    if confirmation is None:
        return None
    rows = tuple(_finalist_row(finalist, index == 0) for index, finalist in enumerate(confirmation.finalists))
    text = Text(
        f"The baseline and {count_of(len(rows) - 1, 'finalist')} were trained again with new seeds,"
        f" {confirmation.repeats} of {confirmation.planned} repeats so far, and judged by"
        f" {count_of(confirmation.judges, 'person', 'people')} who chose none of them (study {confirmation.study})."
        " Intervals cover people and training seeds. The difference from the reference level, each level at its best,"
        " answers the question."
    )
    table = Table(CONFIRM_TITLES, rows, (*CONFIRM_TITLES[1:3], CONFIRM_TITLES[4]), strong=(confirmation.winner,))
    return Section("Confirmation", (text, table))


def _finalist_row(finalist: Finalist, is_baseline: bool) -> tuple[str, ...]:
    scores = finalist.scores
    mean = f"{as_score(fmean(scores))} ({as_score(min(scores))} to {as_score(max(scores))})" if scores else NONE
    against = _difference_and_verdict(finalist.against, is_baseline)
    if finalist.diverged:
        against = (NONE, f"diverged in repeat {listed(finalist.diverged)}")
    levels = _difference_and_verdict(finalist.against_reference, finalist.level == "reference")
    return (finalist.name, mean, *against, *levels, describe_values(finalist.values))


def _difference_and_verdict(difference: Estimate | None, is_reference: bool) -> tuple[str, str]:
    if difference is None:
        return (NONE, "reference" if is_reference else NONE)
    return (difference_cell(difference), with_sign(difference.verdict))


BEST_TITLES = ("", "trial", "macro F1", "95 % interval", "mask", "gender", "age", "accuracy", "loss", "configuration")


def best_section(material: Material) -> Section:
    """The best trial, with its score corrected for the choice, and the baseline."""
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
    """How many trials it was chosen from, and what that means for its score."""
    score = as_score(winner.score.value)
    if winner.candidates == 1:
        return f"Trial {winner.trial} is the only complete one with predictions. It scores {score}."
    return (
        f"Trial {winner.trial} is the best of {chosen_from(answer, winner)}. It scores {score} on the people who chose"
        f" it; expect {as_score(winner.corrected)} on people who did not."
    )


def _against_baseline(comparison: Comparison | None) -> tuple[Block, ...]:
    if comparison is None:
        return ()
    ours, theirs = map(_mean_of, (comparison.ours, comparison.theirs), comparison.runs)
    row = (f"{ours} minus {theirs}", *comparison_cells(comparison))
    text = (
        "The difference between the two configurations does not answer the question: one was tuned and chosen, the"
        " other was not."
    )
    return (Text(text), Table(("", *LEVEL_TITLES[4:8]), (row,), LEVEL_TITLES[4:6], note=f"{RUNS_NOTE}."))


def _mean_of(name: str, runs: int) -> str:
    """``trial 12``, ``trial 12 (mean of its 2 runs)``."""
    return name if runs == 1 else f"{name} (mean of its {runs} runs)"


def _trial_row(role: str, trial: FrozenTrial, material: Material) -> tuple[str, ...]:
    keys = (*map(part_f1, PARTS), ACCURACY, LOSS)
    scores = (as_score(trial.user_attrs.get(key)) for key in keys)
    estimate = material.interval(trial)
    limits = NONE if estimate is None else spread(estimate)
    return (role, str(trial.number), as_score(trial.value), limits, *scores, describe_values(material.values(trial)))
