"""What search.confirm says: its plan before the first training, the table and the verdict at the end."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial

from maskcls.data.dataset import Table
from maskcls.data.split import missing_classes
from maskcls.scoring.intervals import Estimate
from maskcls.system.console import say
from maskcls.system.errors import UserError, some
from search.answer.answer import Confirmation, Finalist
from search.answer.confirmation import LEAST_REPEATS, outcome_of, store_confirmation
from search.answer.evidence import answer_of
from search.answer.format import describe_values, duration
from search.answer.notes import show_study
from search.answer.wording import confirmed_sentences
from search.policy.confirmation import Plan
from search.storage.pairs import search_of
from search.study.attributes import SECONDS
from search.study.record import Stored, read_stored
from search.study.space import values_of
from search.system.shell import place_words, quoted, storage_words
from search.terminal.tables import show_table


def show_plan(plan: Plan, stored: Stored, table: Table, rounds: Sequence[Table]) -> None:
    """Finalists, judges and data, in a line each."""
    say(f"Confirmation of {plan.of}: {stored.study.question}")
    if stored.study.synthetic:
        say("  SYNTHETIC PHOTOS: says nothing about faces.")
    (train, train_photos), (chose, chose_photos) = table.count("train"), table.count("valid")
    say(f"  data      {stored.data}: {train + chose} people, {train_photos + chose_photos} photos")
    for note in () if stored.study.synthetic else table.notes:  # no label of a drawn person is wrong
        say(f"            {note}")
    sizes = sorted({found.count("valid")[0] for found in rounds})
    say(
        f"  judges    {' or '.join(map(str, sizes))} people a repeat, of the search's {train} training people;"
        f" the {chose} who chose the finalists only train"
    )
    task = stored.config(dict(stored.study.baseline)).task
    for number, found in enumerate(rounds, start=1):
        missing = missing_classes(found.photos, "valid", task)
        if missing:
            say(f"            NO JUDGE OF REPEAT {number} SHOWS: {some(missing)}. Their F1 counts 0 there.")
    title = "finalists"
    for one in plan.finalists:
        say(f"  {title:9s} {one.name}: {describe_values(values_of(stored.study.space, one.params))}")
        title = ""


def show_work(
    plan: Plan, stored: Stored, n_trials: int, workers: int, finished: int, search: Sequence[FrozenTrial]
) -> None:
    """How much there is to do, and how long that takes, by what the finalists' own trials took."""
    each = n_trials // len(plan.finalists)
    epochs = stored.config(dict(stored.study.baseline)).epochs
    say(
        f"  trainings {finished} of {n_trials} done: {each} of each, of {epochs} epochs without"
        " pruning, judged at the last evaluation"
    )
    seconds = [
        fmean(search[number].user_attrs.get(SECONDS, 0.0) for number in found.trials)
        for found in plan.finalists
        if found.trials
    ]
    if any(seconds):
        left = duration(fmean(seconds) * (n_trials - finished) / workers)
        say(f"  time      about {left}, by the search's trials")
    say()


def summarise(study: optuna.Study, stored: Stored, runs: Path, storage_url: str | None) -> None:
    """Print the outcome so far, and keep it with the study that is confirmed: in its attributes and its note."""
    try:
        outcome = outcome_of(study, stored, runs)
    except UserError as error:
        say(f"No verdict: {error}")
        return
    if outcome is None:
        say(f"No verdict yet: it takes {LEAST_REPEATS} repeats that every finalist has finished.")
        return
    confirmed = search_of(study)
    if confirmed is None:
        say(f"No verdict: study {Plan.of_document(stored).of!r}, which it confirms, is stored no more.")
        return
    of = confirmed.study_name
    store_confirmation(confirmed, outcome)
    answer = answer_of(confirmed, read_stored(confirmed), runs)
    show_study(confirmed, read_stored(confirmed), " ".join(answer.sentences))
    show(outcome, of)
    say("Next:")
    say(f"  python -m search.export --study {quoted(of)} -o best.toml{place_words(runs, storage_url)}")
    if hint := storage_words(storage_url)[1]:
        say(hint)


def show(outcome: Confirmation, of: str) -> None:
    """The table, and what it says."""
    say(f"Confirmation of {of}: {outcome.repeats} of {outcome.planned} repeats, {outcome.judges} judges")
    titles = ("finalist", "mean F1", "range", "from baseline", "95 % interval", "verdict")
    show_table(titles, [_row(found) for found in outcome.finalists], ("mean F1", "from baseline"))
    _show_levels(outcome)
    say()
    for line in confirmed_sentences(outcome):
        say(line)
    say(f"The best mean is that of {outcome.finalists[outcome.winner].name}: search.export writes it.")


def _show_levels(outcome: Confirmation) -> None:
    """What answers the study's question: every level at its best, less the best of the baseline's level."""
    levels = [(one, one.against_reference) for one in outcome.finalists if one.against_reference is not None]
    if not levels:
        return
    reference = next(one.name for one in outcome.finalists if one.level == "reference")
    say()
    rows = [(one.name, f"{found.value:+.4f}", _interval(found), found.verdict) for one, found in levels]
    titles = ("level at its best", f"from {reference}", "95 % interval", "verdict")
    show_table(titles, rows, titles[1:2])


def _row(found: Finalist) -> tuple[str, ...]:
    scores = found.scores
    known = (f"{fmean(scores):.4f}", f"{min(scores):.4f} to {max(scores):.4f}") if scores else ("-", "-")
    if found.diverged:
        return found.name, *known, "-", "-", f"diverged in repeat {some(found.diverged)}"
    if found.against is None:
        return found.name, *known, "-", "-", "-"
    return found.name, *known, f"{found.against.value:+.4f}", _interval(found.against), found.against.verdict


def _interval(found: Estimate) -> str:
    return f"{found.low:+.4f} to {found.high:+.4f}"
