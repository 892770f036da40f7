"""What search.confirm shows: its plan before the first training, the tables and the verdict at the end."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial

from maskcls.data.dataset import Table
from maskcls.data.split import missing_classes
from maskcls.scoring.intervals import Estimate
from maskcls.scoring.rounds import OPEN
from maskcls.system.console import say
from maskcls.system.errors import UserError, some
from maskcls.tasks.task import Task
from search.answer.answer import Confirmation, Finalist
from search.answer.confirmation import MIN_REPEATS, outcome_of, store_confirmation
from search.answer.format import (
    PLAIN_NONE,
    SYNTHETIC,
    as_score,
    describe_values,
    duration,
    power_words,
    signed,
    signed_spread,
)
from search.findings.confirmation import confirmed_sentences, team_sentence
from search.findings.evidence import answer_of
from search.findings.notes import show_study
from search.policy.confirmation import SINGLE, TEAM, Plan, PlannedFinalist
from search.storage.pairs import search_of
from search.study.attributes import SECONDS
from search.study.record import Stored, read_stored
from search.study.space import values_of
from search.system.shell import place_options, quoted, storage_option
from search.team.repeats import NO_TUNING, outcome_of_team
from search.terminal.photos import size_of_test
from search.terminal.tables import show_table


def show_confirmation_plan(plan: Plan, stored: Stored, table: Table, rounds: Sequence[Table]) -> None:
    """Print the confirmation's data, judges and finalists, or members of the team.

    ``rounds``: the table of each repeat, with its judges.
    """
    say(f"Confirmation of {'a team of ' if plan.is_team else ''}{plan.of}: {stored.study.question}")
    if stored.study.synthetic:
        say(f"  {SYNTHETIC}")
    (train, train_photos), (valid, valid_photos) = table.count("train"), table.count("valid")
    unit = stored.task.unit
    photos = f", {train_photos + valid_photos} photos" if stored.task.has_groups else ""
    say(f"  data      {stored.data}: {train + valid} {unit.many}{photos}")
    for note in () if stored.study.synthetic else table.notes:  # the labels of synthetic photos need no fixes
        say(f"            {note}")
    if size := size_of_test(table):
        say(f"            {size} for a test are held back, and stay unseen")
    what = "team" if plan.is_team else "finalists"
    sizes = sorted({round_.count("valid")[0] for round_ in rounds})
    say(
        f"  judges    {' or '.join(map(str, sizes))} {unit.many} per repeat, from the search's {train} training"
        f" {unit.many}; the {valid} {unit.who} chose the {what} only train"
    )
    task = stored.baseline_config.task
    for repeat, round_ in enumerate(rounds, start=1):
        if missing := missing_classes(round_.photos, "valid", stored.task.space, task):
            say(f"            NO JUDGE OF REPEAT {repeat} SHOWS: {some(missing)}. {_uncounted(stored.task)} there.")
    for title, finalist, share in _planned_lines(plan):
        say(f"  {title:9s} {share}{finalist.name}: {describe_values(values_of(stored.study.space, finalist.params))}")


def _planned_lines(plan: Plan) -> list[tuple[str, PlannedFinalist, str]]:
    """(title, finalist, its share in the team) of each line; the single model comes last, though it may be a member."""
    if not plan.is_team:
        return [("" if place else "finalists", finalist, "") for place, finalist in enumerate(plan.finalists)]
    members = [member for member in zip(plan.weights, plan.finalists, strict=True) if member[0]]
    members.sort(key=lambda member: -member[0])
    shares = [(finalist, f"{100 * weight / sum(plan.weights):3.0f} %  ") for weight, finalist in members]
    team = [("" if place else "team", finalist, share) for place, (finalist, share) in enumerate(shares)]
    return [*team, ("single", plan.finalists[0], "")]


def _uncounted(task: Task) -> str:
    return "Their F1 counts as 0" if task.metric == "macro_f1" else task.uncounted


def show_confirmation_work(
    plan: Plan, stored: Stored, n_trials: int, workers: int, finished: int, search: Sequence[FrozenTrial]
) -> None:
    """Print the number of trainings, and the time left by the finalists' own trials in the search."""
    each, epochs = n_trials // len(plan.finalists), stored.baseline_config.epochs
    what = "model" if plan.is_team else "finalist"
    say(
        f"  trainings {finished} of {n_trials} done: {each} per {what}, {epochs} epochs each, without pruning, judged"
        " at the last evaluation"
    )
    seconds = [
        fmean(search[number].user_attrs.get(SECONDS, 0.0) for number in finalist.trials)
        for finalist in plan.finalists
        if finalist.trials
    ]
    if any(seconds):
        left = duration(fmean(seconds) * (n_trials - finished) / workers)
        say(f"  time      about {left}, judging by the search's trials")
    say()


def show_confirmation_summary(study: optuna.Study, stored: Stored, runs: Path, storage_url: str | None) -> None:
    """Print the outcome so far, and store it with the confirmed study, in its attributes and its note.

    The outcome for a team stays with the confirmation: it does not answer the study's question.
    """
    try:
        if stored.confirms_team:
            _show_team_summary(study, stored, runs)
            return
        outcome = outcome_of(study, stored, runs)
    except UserError as error:
        say(f"No verdict: {error}")
        return
    if outcome is None:
        say(f"No verdict yet: it needs {MIN_REPEATS} repeats that every finalist has finished.")
        return
    confirmed = search_of(study)
    if confirmed is None:
        say(f"No verdict: study {Plan.of_document(stored).of!r}, which it confirms, is no longer stored.")
        return
    of = confirmed.study_name
    store_confirmation(confirmed, outcome)
    answer = answer_of(confirmed, read_stored(confirmed), runs)
    show_study(confirmed, read_stored(confirmed), " ".join(answer.sentences), place_options(runs, storage_url))
    show_outcome(outcome, of, stored.task)
    say("Next:")
    say(f"  python -m search.export --study {quoted(of)} -o best.toml{place_options(runs, storage_url)}")
    if hint := storage_option(storage_url)[1]:
        say(hint)


def _show_team_summary(study: optuna.Study, stored: Stored, runs: Path) -> None:
    """Print the scores of team and single model, their difference and the verdict, and store it in the study's note.

    Raises UserError where nothing can be said.
    """
    plan, unit = Plan.of_document(stored), stored.task.unit
    outcome = outcome_of_team(study, stored, runs)
    if outcome is None:
        say(f"No verdict yet: it needs {MIN_REPEATS} repeats that every model has finished.")
        return
    sentence = team_sentence(study, stored)
    assert sentence is not None  # the outcome has a look
    show_study(study, stored, sentence)
    scores, level = {name: outcome.scores(name) for name in (TEAM, SINGLE)}, outcome.look.levels[TEAM]
    say(f"Confirmation of a team of {plan.of}: {len(scores[TEAM])} of {plan.repeats} repeats, {outcome.judges} judges")
    single = plan.finalists[0].name
    titles = ("model", f"mean {stored.task.short_metric}", "range", f"from {single}", "95 % interval", "verdict")
    gain = _difference_cells(level.estimate)[:2]
    cells = ((TEAM, (*gain, level.verdict)), (SINGLE, (PLAIN_NONE,) * 3))
    rows = [(*_score_cells(TEAM if name == TEAM else single, scores[name]), *rest) for name, rest in cells]
    show_table(titles, rows, (titles[1], titles[3]))
    say()
    say(sentence)
    effect = power_words(level.effect_after(1.0, 1, NO_TUNING))
    say(
        f"The interval covers {unit.many} and training seeds, and allows for the looks so far: {outcome.judges}"
        f" {unit.noun(outcome.judges)} judged, none of {unit.whom} had chosen the team or {single}; {effect}."
    )
    if level.verdict == OPEN:
        say("More repeats narrow it: the same command with a larger --repeats.")


def _score_cells(name: str, scores: Sequence[float]) -> tuple[str, str, str]:
    """Name, mean, range."""
    return name, as_score(fmean(scores)), f"{as_score(min(scores))} to {as_score(max(scores))}"


def show_outcome(outcome: Confirmation, of: str, task: Task) -> None:
    """Print the finalists, the levels and the verdict. ``of``: name of the confirmed study."""
    say(f"Confirmation of {of}: {outcome.repeats} of {outcome.planned} repeats, {outcome.judges} judges")
    titles = ("finalist", f"mean {task.short_metric}", "range", "from baseline", "95 % interval", "verdict")
    show_table(titles, [_finalist_cells(finalist) for finalist in outcome.finalists], (titles[1], titles[3]))
    _show_levels(outcome)
    say()
    for sentence in confirmed_sentences(outcome, task.unit):
        say(sentence)
    say(f"{outcome.finalists[outcome.winner].name} has the best mean: search.export writes it.")


def _show_levels(outcome: Confirmation) -> None:
    """Print what answers the study's question: every level at its best, less the best of the baseline's level."""
    rows = [
        (finalist.name, *_difference_cells(finalist.level_difference))
        for finalist in outcome.finalists
        if finalist.level_difference is not None
    ]
    if not rows:
        return
    reference = next(finalist.name for finalist in outcome.finalists if finalist.level == "reference")
    say()
    titles = ("level at its best", f"from {reference}", "95 % interval", "verdict")
    show_table(titles, rows, titles[1:2])


def _finalist_cells(finalist: Finalist) -> tuple[str, ...]:
    scores = finalist.scores
    mean = (PLAIN_NONE, PLAIN_NONE)
    if scores:
        mean = (as_score(fmean(scores)), f"{as_score(min(scores))} to {as_score(max(scores))}")
    if finalist.diverged:
        difference = (PLAIN_NONE, PLAIN_NONE, f"diverged in repeat {some(finalist.diverged)}")
    elif finalist.against is None:
        difference = (PLAIN_NONE,) * 3
    else:
        difference = _difference_cells(finalist.against)
    return finalist.name, *mean, *difference


def _difference_cells(difference: Estimate) -> tuple[str, str, str]:
    """Value, interval, verdict."""
    return signed(difference.value), signed_spread(difference, none=PLAIN_NONE), difference.verdict
