"""The report's first sections: the answer's figure, the rounds, a confirmation, the search, and the best recipe."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial

from maskcls.scoring.intervals import Estimate
from maskcls.scoring.rounds import LevelLook
from maskcls.system.errors import count_of, listed
from maskcls.tasks.task import Task
from search.answer.answer import Answer, Confirmation, FactorAnswer, Finalist, Level, RoundsAnswer, Winner
from search.answer.format import (
    NONE,
    as_score,
    capital,
    describe_values,
    difference_cell,
    score_cell,
    signed,
    signed_spread,
    spread,
    with_sign,
)
from search.findings.caveats import own_settings_words
from search.findings.rounds import AT_COMMON, AT_OWN_BEST
from search.findings.search import chosen_from
from search.findings.sides import called, says_something, side_verdict
from search.page.blocks import Block, Bullets, Figure, Section, Table, Text
from search.page.data import Material
from search.page.figures import Dot, draw_dots
from search.study.attributes import ACCURACY, LOSS, part_f1, round_of


def lead_blocks(answer: Answer) -> tuple[Block, ...]:
    """The figure, the table of the sides, the test and the caveats, right below the answer's sentences."""
    looked = [rounds for rounds in (answer.rounds, answer.own) if rounds is not None and rounds.looks]
    blocks: list[Block | None] = [
        block for rounds in looked for block in _rounds_blocks(rounds, len(looked) > 1, answer.task)
    ]
    test = Text(answer.test) if answer.test else None
    caveats = Bullets(answer.caveats) if answer.caveats else None
    blocks = [*(blocks or [confirmation_figure(answer.confirmation, answer.task)]), test, caveats]
    return tuple(block for block in blocks if block is not None)


def _rounds_blocks(rounds: RoundsAnswer, is_one_of_two: bool, task: Task) -> tuple[Block | None, Block]:
    """The figure and the table of rounds; of two kinds they say which they are of."""
    where = capital(AT_OWN_BEST if rounds.own_best else AT_COMMON) if is_one_of_two else ""
    return rounds_figure(rounds, task, where), _sides_table(rounds, task, where)


# --- rounds ---------------------------------------------------------------------------------------------------------


def round_differences(rounds: RoundsAnswer | None) -> dict[str, LevelLook]:
    """Side -> what the last look says of it; none before the first look, nor where it says nothing."""
    sides = () if rounds is None else rounds.sides
    return {side.name: side.look for side in sides if side.look is not None and says_something(side.look)}


def rounds_figure(rounds: RoundsAnswer, task: Task, where: str = "") -> Figure | None:
    """Every side less the reference, with its interval; None while that says nothing. ``where``: which rounds."""
    differences = round_differences(rounds)
    if not differences:
        return None
    reference, metric = called(rounds.reference.name), task.metric_words
    cells = "; ".join(f"{name} {difference_cell(look.estimate)}" for name, look in differences.items())
    which = f"{where}: " if where else ""
    return draw_dots(
        "own-best" if rounds.own_best else "rounds",
        [Dot(name, look.estimate, look.verdict) for name, look in differences.items()],
        f"difference of {metric} from {reference}",
        f"{which}Difference of {metric} from {reference}, with its 95 % interval: {cells}.",
        f"{which}{capital(metric)} less that of {reference}, with its 95 % interval. Triangle up: better."
        " Triangle down: worse.",
        zero=True,
    )


def _sides_table(rounds: RoundsAnswer, task: Task, caption: str) -> Table:
    titles = ("", f"mean {task.metric_words}", "difference", "95 % interval", "trainings", "verdict")
    rows = []
    for index, side in enumerate(rounds.sides):
        look = side.look if side.look is not None and says_something(side.look) else None
        difference, interval = (NONE, NONE) if look is None else (signed(look.value), signed_spread(look.estimate))
        verdict = with_sign(side_verdict(side, index == 0))
        rows.append((side.name, as_score(side.score), difference, interval, str(len(side.trials)), verdict))
    return Table(titles, tuple(rows), (*titles[1:3], titles[4]), strong=(rounds.best,), caption=caption)


def rounds_section(material: Material) -> Section | None:
    """How the question was asked: the settings, judges and scores of each round; None in a study without rounds."""
    rounds, own = material.answer.rounds, material.answer.own
    if rounds is None:
        return None
    looks = listed([each.round for each in rounds.looks])
    unit = material.stored.task.unit
    everyone = "everyone has" if unit.who == "who" else "all have"
    text = (
        "In a round all trainings have the same setting, the same seed and the same judges, and differ in what is"
        f" compared alone. From round 1 on the judges are {unit.many} {unit.who} chose nothing, and {unit.who} judged"
        f" no round before until {everyone} judged, and the setting is near the best that the search found for all. A"
        " difference is a least squares estimate of score = round + side; its interval covers"
        f" {unit.many}, training seeds and the choice of the"
        f" setting, and allows for a look after every round. Looked at after rounds: {looks}. Round 0 is the baseline's"
        f" own setting; {_what_means_are_of(material, rounds)}"
    )
    blocks: list[Block] = [Text(text), _rounds_table(rounds)]
    if own is not None:
        looks = listed([each.round for each in own.looks])
        text = (
            "In these rounds each level had its own best setting, as the search and the other rounds told it, and all"
            " else was the same: the seed, the judges. They answer another question, so the two kinds are never pooled."
            " An interval includes the luck of each level's tuning, which makes it wider, and the two kinds share no"
            f" error rate. Looked at after rounds: {looks}."
        )
        blocks += [Text(text), _rounds_table(own)]
    return Section("The rounds", tuple(blocks))


def _what_means_are_of(material: Material, rounds: RoundsAnswer) -> str:
    """Which rounds the means are of, as Side.scored says, and what the score to expect is, if it is of rounds."""
    first = {trial.number for trial in material.trials if round_of(trial) == 0}
    has_first = not first.isdisjoint(rounds.reference.scored)  # the other means are the reference's and a difference
    which = f"the means are of {'all' if has_first else 'the later'} rounds."
    if material.answer.rounds_mean is None:
        return which
    return f"{which} The score to expect of the best recipe is {_mean_words(material.answer)}."


def _mean_words(answer: Answer) -> str:
    """What the score to expect of the rounds' best side is."""
    mean, winner = answer.rounds_mean, answer.winner
    if mean is None or winner is None or as_score(mean) == as_score(winner.expected):
        return "the mean of its rounds"
    return f"the mean of its rounds, corrected for how few {answer.task.unit.many} judge each"


def _rounds_table(rounds: RoundsAnswer) -> Table:
    names = [side.name for side in rounds.sides]
    titles = ("round", "judges", *names, "setting")
    rows = tuple(
        (
            str(each.number),
            str(each.judges) if each.judges else NONE,
            *(", ".join(map(as_score, each.scores.get(name, ()))) or NONE for name in names),
            own_settings_words([each]) or describe_values(each.values) or NONE,
        )
        for each in rounds.rounds
    )
    return Table(titles, rows, titles[:-1])


# --- the search -----------------------------------------------------------------------------------------------------


def levels_section(material: Material) -> Section:
    """A table for each factor: what the search found for each level. It answers nothing."""
    answer = material.answer
    if not answer.factors:
        text = "This study compares no levels; it looks for the best configuration."
        return Section("The search", (Text(text),))
    text = (
        "Each level with the best configuration that the search found for it; all levels got about the same number of"
        " trials. These scores are optimistic, as each was chosen for being high, and they compare no levels: rounds of"
        " fresh trainings do."
    )
    blocks = (levels_figure(answer), *(_levels_table(factor, answer.task) for factor in answer.factors))
    return Section("The search", (Text(text), *(block for block in blocks if block)))


def levels_figure(answer: Answer) -> Figure | None:
    """Every level's best score with its interval; None while no level has a score."""
    metric, many = answer.task.metric_words, answer.task.unit.many
    dots = [
        Dot(level.text, level.score, "", index == factor.reference)
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
        metric,
        f"{capital(metric)} of each level's best with its 95 % interval: {scores}.",
        f"Each level's best configuration in the search: {metric} and its 95 % interval over {many}. Diamond: the"
        " baseline's level.",
    )


def _levels_table(factor: FactorAnswer, task: Task) -> Table:
    score = f"{task.metric_words} (95 % interval)"
    titles = ("level", "complete", "pruned", score, "runs", "best configuration")
    rows = tuple(_level_row(level, factor) for level in factor.levels)
    note = "complete, pruned: trials without replicates; runs: trainings of the best configuration."
    return Table(titles, rows, titles[1:5], caption=factor.param, note=note)


def _level_row(level: Level, factor: FactorAnswer) -> tuple[str, ...]:
    values = {name: value for name, value in level.values.items() if name != factor.param}
    score = NONE if level.score is None else score_cell(level.score)
    runs = "left out" if level.left_out else str(len(level.trials))
    configuration = _configuration(values, level.trials)
    return (level.text, str(level.complete), str(level.pruned), score, runs, configuration)


def _configuration(values: Mapping[str, Any], trials: tuple[int, ...]) -> str:
    if not trials:
        return NONE
    which = f"trial {trials[0]}" if len(trials) == 1 else f"trials {listed(trials)}"
    return f"{describe_values(values)} ({which})".strip()


# --- a confirmation of an earlier version ---------------------------------------------------------------------------


def confirmed_differences(confirmation: Confirmation | None) -> tuple[str, dict[str, Estimate]]:
    """(reference, finalist -> its difference from it): level against level, else finalist against baseline.

    No differences while nothing is confirmed.
    """
    finalists = confirmation.finalists if confirmation else ()
    levels = {finalist.name: finalist.level_difference for finalist in finalists if finalist.level_difference}
    reference = next((finalist.name for finalist in finalists if levels and finalist.level == "reference"), "baseline")
    return reference, levels or {finalist.name: finalist.against for finalist in finalists if finalist.against}


def confirmation_figure(confirmation: Confirmation | None, task: Task) -> Figure | None:
    """The confirmation's answer as differences with intervals; None while nothing is confirmed."""
    reference, differences = confirmed_differences(confirmation)
    if not differences:
        return None
    cells = "; ".join(f"{name} {difference_cell(estimate)}" for name, estimate in differences.items())
    metric, unit = task.metric_words, task.unit
    alt = f"Difference of {metric} from {reference}, with its 95 % interval: {cells}."
    caption = (
        f"Confirmed: trained again and judged by {unit.many} {unit.who} chose none of them. 95 % intervals over"
        f" {unit.many} and training seeds. Triangle up or down: better or worse beyond noise."
    )
    dots = [Dot(name, estimate, estimate.verdict) for name, estimate in differences.items()]
    return draw_dots("confirmation", dots, f"difference of {metric} from {reference}", alt, caption, zero=True)


def confirmation_section(material: Material) -> Section | None:
    """Finalists and baseline, trained again and judged by others than chose them; None before a confirmation."""
    confirmation = material.answer.confirmation
    if confirmation is None:
        return None
    unit = material.stored.task.unit
    mean = f"mean {material.stored.task.metric_words} (range)"
    titles = ("finalist", mean, "from baseline", "verdict", "from reference level", "verdict on level", "configuration")
    rows = tuple(_finalist_row(finalist, index == 0) for index, finalist in enumerate(confirmation.finalists))
    text = Text(
        f"The baseline and {count_of(len(rows) - 1, 'finalist')} were trained again with new seeds,"
        f" {confirmation.repeats} of {confirmation.planned} repeats so far, and judged by"
        f" {unit.count(confirmation.judges)} {unit.who} chose none of them (study {confirmation.study})."
        f" Intervals cover {unit.many} and training seeds. The difference from the reference level, each level at its"
        " best, answers the question."
    )
    table = Table(titles, rows, (*titles[1:3], titles[4]), strong=(confirmation.winner,))
    return Section("Confirmation", (text, table))


def _finalist_row(finalist: Finalist, is_baseline: bool) -> tuple[str, ...]:
    scores = finalist.scores
    mean = f"{as_score(fmean(scores))} ({as_score(min(scores))} to {as_score(max(scores))})" if scores else NONE
    against = _difference_and_verdict(finalist.against, is_baseline)
    if finalist.diverged:
        against = (NONE, f"diverged in repeat {listed(finalist.diverged)}")
    levels = _difference_and_verdict(finalist.level_difference, finalist.level == "reference")
    return (finalist.name, mean, *against, *levels, describe_values(finalist.values))


def _difference_and_verdict(difference: Estimate | None, is_reference: bool) -> tuple[str, str]:
    if difference is None:
        return (NONE, "reference" if is_reference else NONE)
    return (difference_cell(difference), with_sign(difference.verdict))


def best_section(material: Material) -> Section:
    """The best recipe's trial, with the score to expect of it, and the trial that the page compares it with."""
    title, winner = "Best recipe", material.answer.winner
    if winner is None or material.best is None:
        return Section(title, (Text(material.missing() or "No trial is complete yet."),))
    rows = [_trial_row("best recipe", material.best, material)]
    if material.other is not None and material.other.number != material.best.number:
        rows.append(_trial_row(material.other_role, material.other, material))
    text = f"{_chosen(material.answer, winner, material.best)} {material.same_configuration}".strip()
    task = material.stored.task
    parts = material.space.parts if task.metric == "macro_f1" else tuple(f"{part} F1" for part in material.space.parts)
    others = _other_scores(material)
    titles = ("", "trial", task.metric_words, "95 % interval", *parts, *others, "configuration")
    return Section(title, (Text(text), Table(titles, tuple(rows), titles[1:-1])))


def _other_scores(material: Material) -> tuple[str, ...]:
    """The attributes of a trial's scores beside its value."""
    return (LOSS,) if material.stored.task.metric == ACCURACY else (ACCURACY, LOSS)


def _chosen(answer: Answer, winner: Winner, shown: FrozenTrial) -> str:
    """Where the recipe comes from, what that means for its score, and which of its trainings is shown."""
    score, expected, unit = as_score(winner.score.value), as_score(winner.expected), answer.task.unit
    if winner.candidates == 0:
        return (
            f"The best side of the rounds. Expect {expected} of the recipe on other {unit.many}: {_mean_words(answer)}."
            f" Their judges chose nothing. Its model to use is trial {winner.trial}, its best training."
            f" What follows is about trial {shown.number}, its latest, so that no score has chosen it."
        )
    if winner.candidates == 1:
        return f"Trial {winner.trial} is the only complete one with predictions. It scores {score}."
    return (
        f"Trial {winner.trial} is the best of {chosen_from(answer, winner)}. It scores {score} on the {unit.many}"
        f" {unit.who} chose it; expect {expected} on {unit.many} {unit.who} did not."
    )


def _trial_row(role: str, trial: FrozenTrial, material: Material) -> tuple[str, ...]:
    keys = (*map(part_f1, material.space.parts), *_other_scores(material))
    scores = (as_score(trial.user_attrs.get(key)) for key in keys)
    estimate = material.interval(trial)
    limits = NONE if estimate is None else spread(estimate)
    return (role, str(trial.number), as_score(trial.value), limits, *scores, describe_values(material.values(trial)))
