"""The report's section on another prior (--prior): reweighted scores of levels and trials, and the ranks that change.

Shape suffixes: P people.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from maskcls.labels import ALL
from maskcls.scoring.counts import Counts
from maskcls.scoring.intervals import Estimate, compare
from maskcls.scoring.reweighting import effective_people, group_factors, targets
from maskcls.system.errors import UserError
from search.answer.format import NOT_DISTINCT, as_score, describe_values, difference_cell, percent, spread, verdict_on
from search.page.blocks import Block, Section, Table, Text
from search.page.data import Material
from search.policy.history import best_first

MAX_TRIALS = 10


@dataclass(frozen=True)
class Row:
    """A level or a trial, with its score as it is and under the prior."""

    name: str
    counts: tuple[Counts, ...]
    """Counts of each of its runs."""
    plain: float
    weighted: Estimate
    configuration: str


def check_prior(material: Material) -> None:
    """Raise UserError for a --prior that this study's predictions cannot be weighted to."""
    if material.options.prior is None:
        return
    _ = material.prior  # raises for what is no prior of the task
    if material.task != ALL:
        raise UserError(
            f"--prior needs a study of all {material.stored.task.space.num_classes} classes;"
            f" {material.study.study_name} predicts {material.task} alone. Leave it out."
        )
    _ = material.weight_P  # raises for shares that these groups cannot be weighted to


def prior_section(material: Material) -> Section | None:
    """Scores and ranks of levels and trials under the prior; None without --prior."""
    if material.options.prior is None:
        return None
    title = "Under another prior"
    if material.weight_P is None:
        return Section(title, (Text(material.missing()),))
    blocks: list[Block] = [Text(_intro(material))]
    metric = material.stored.task.metric_words
    for factor in material.answer.factors:
        rows = [
            _row(level.text, level.trials, material, describe_values(level.values))
            for level in factor.levels
            if level.trials and material.judged_alike([material.trials[number] for number in level.trials])
        ]
        if len(rows) > 1:
            blocks += [Text(f"{factor.param}: {_ranking(rows, material)}"), _table("level", rows, rows, metric)]
    rows = [
        _row(f"trial {trial.number}", (trial.number,), material, describe_values(material.values(trial)))
        for trial in material.judged_alike(best_first(material.trials))
    ]
    if len(rows) > 1:
        shown = sorted(rows, key=lambda row: min(_rank(row, rows, False), _rank(row, rows, True)))[:MAX_TRIALS]
        blocks += [Text(f"Trials: {_ranking(rows, material)}"), _table("trial", shown, rows, metric)]
    return Section(title, tuple(blocks))


def _intro(material: Material) -> str:
    assert material.weight_P is not None
    assert material.groups is not None
    assert material.prior is not None
    changes = []
    for factor in group_factors(material.stored.task):
        class_P = material.groups[factor.name]
        target = targets(material.prior, factor, class_P)
        for index, name in enumerate(factor.classes):
            changes.append(f"{name} {percent(target[index])} (here {percent(float((class_P == index).mean()))})")
    worth, many = effective_people(material.weight_P), material.stored.task.unit.many
    return (
        f"The validation {many} are weighted to match the given prior ({material.prior.text}): {', '.join(changes)}."
        f" Groups that are not named keep their proportions. The weighted {many} are worth {worth:.0f} of the"
        f" {len(material.weight_P)} unweighted ones."
    )


def _row(name: str, trials: Sequence[int], material: Material, configuration: str) -> Row:
    counts = tuple(material.shelf.counts(material.trials[number]) for number in trials)
    assert material.resamples is not None
    plain = sum(float(run.score(*run.sums())) for run in counts) / len(counts)
    weighted = compare(counts, (), material.resamples, weight_P=material.weight_P)
    return Row(name, counts, plain, weighted, configuration)


def _rank(row: Row, rows: Sequence[Row], is_weighted: bool) -> int:
    """The row's rank, from 1; equals share the better one."""
    score = row.weighted.value if is_weighted else row.plain
    return 1 + sum((other.weighted.value if is_weighted else other.plain) > score for other in rows)


def _ranking(rows: Sequence[Row], material: Material) -> str:
    """Whether the leader changes, and whether its lead is beyond noise."""
    first, second = sorted(rows, key=lambda row: -row.weighted.value)[:2]
    leader = max(rows, key=lambda row: row.plain)
    moved = sum(_rank(row, rows, False) != _rank(row, rows, True) for row in rows)
    start = (
        f"{first.name} still leads" if first.name == leader.name else f"{first.name} takes the lead from {leader.name}"
    )
    assert material.resamples is not None
    lead = compare(first.counts, second.counts, material.resamples, weight_P=material.weight_P)
    noise = NOT_DISTINCT if verdict_on(lead) == NOT_DISTINCT else "beyond noise"
    ranks = f"the rank of {moved} of {len(rows)} changes" if moved else "no rank changes"
    return (
        f"{start}; {ranks}. Its lead over {second.name} under the prior is"
        f" {difference_cell(lead)}, {noise}, for these trained models."
    )


def _table(what: str, shown: Sequence[Row], rows: Sequence[Row], metric: str) -> Table:
    titles = (
        *(what, metric, "rank", f"{metric} under the prior", "95 % interval", "rank under the prior"),
        "configuration",
    )
    cells = []
    for row in sorted(shown, key=lambda row: -row.weighted.value):
        ranks = _rank(row, rows, False), _rank(row, rows, True)
        moved = "" if ranks[0] == ranks[1] else (" ▲" if ranks[1] < ranks[0] else " ▼")
        values = (as_score(row.plain), str(ranks[0]), as_score(row.weighted.value), spread(row.weighted))
        cells.append((row.name, *values, f"{ranks[1]}{moved}", row.configuration))
    return Table(titles, tuple(cells), titles[1:6])
