"""The closing screen of search.run: the answer, the sides, the recipe with the score to expect, what to type next."""

from contextlib import suppress
from pathlib import Path

import optuna

from maskcls.scoring.rounds import BETTER, NO_VERDICT
from maskcls.system.console import say
from search.answer.answer import Answer, RoundsAnswer, Side
from search.answer.format import PLAIN_NONE, describe_values, signed_spread
from search.findings.evidence import answer_of
from search.findings.notes import show_study
from search.findings.search import chosen_from, left_out_sentences, waiting_sentences
from search.findings.sides import says_something, side_verdict
from search.policy.history import best_trial
from search.policy.stopping import FINISHED
from search.study.record import Stored
from search.system.shell import cache_option, place_options, quoted, storage_option
from search.terminal.tables import show_table

MAX_SIDES = 6
"""So many rows of the table; the report has the others."""


def show_search_summary(
    study: optuna.Study, stored: Stored, runs: Path, storage_url: str | None, cache: Path | None = None
) -> None:
    """Print the closing screen, and put the answer into the study's note in the dashboard.

    At most 14 lines, unless trials are left out for lack of predictions. ``cache``: --cache of the command.
    """
    if best_trial(study.get_trials(deepcopy=False, states=FINISHED)) is None:
        say("No trial is complete yet.")
        return
    answer = answer_of(study, stored, runs)
    is_answered = answer.rounds is not None and bool(answer.rounds.looks)
    for number, sentence in enumerate(answer.sentences):
        if not (is_answered and number == 1):  # what it rests on is in the table below
            say(sentence)
    for sentence in (*left_out_sentences(answer), *waiting_sentences(answer)):
        say(sentence)
    if is_answered and answer.answering is not None:
        say()
        show_sides(answer.answering, answer.task.short_metric)
    say()
    _show_recipe(answer)
    if answer.test:
        say(answer.test)
    with suppress(optuna.exceptions.StorageInternalError):  # a full disk ended the study, and its error says so
        show_study(study, stored, " ".join(answer.sentences), place_options(runs, storage_url))
    _show_next(answer, study.study_name, runs, storage_url, cache_option(cache, runs))


def show_sides(rounds: RoundsAnswer, metric: str) -> None:
    """Print the table of the sides: mean score, difference from the reference, interval, trainings, verdict.

    ``metric``: what the scores are, in short.
    """
    title = f"{_title(rounds)} at its own best" if rounds.own_best else _title(rounds)
    titles = (title, f"mean {metric}", "difference", "95 % interval", "trainings", "verdict")
    shown = rounds.sides[:MAX_SIDES]
    show_table(titles, [_cells(side, side is rounds.reference) for side in shown], (*titles[1:3], titles[4]))
    if len(rounds.sides) > len(shown):
        say(f"and {len(rounds.sides) - len(shown)} more, which the report shows")


def _title(rounds: RoundsAnswer) -> str:
    """``level``, or ``recipe`` where the study compares recipes."""
    return "level" if any(" " in side.name and " = " in side.name for side in rounds.sides) else "recipe"


def _cells(side: Side, is_reference: bool) -> tuple[str, ...]:
    score = PLAIN_NONE if side.score is None else f"{side.score:.3f}"
    difference, interval = PLAIN_NONE, PLAIN_NONE
    if side.look is not None and says_something(side.look):
        difference = f"{side.look.value:+.3f}"
        interval = signed_spread(side.look.estimate, 3, PLAIN_NONE)
    return (side.name, score, difference, interval, str(len(side.trials)), side_verdict(side, is_reference))


def _show_recipe(answer: Answer) -> None:
    """The recipe with the best score to expect, and that score."""
    winner = answer.winner
    if winner is None:
        return
    chosen = f", chosen from {chosen_from(answer, winner)}" if winner.candidates else ""
    say(
        f"{_standing(answer)}: {describe_values(winner.values)}. Expect {answer.task.metric_words}"
        f" {winner.expected:.3f} of it on other {answer.task.unit.many} (trial {winner.trial}{chosen}){_why(answer)}."
    )


def _why(answer: Answer) -> str:
    """Why the score to expect is not the mean that the table shows; empty where it is."""
    mean, winner = answer.rounds_mean, answer.winner
    if mean is None or winner is None or f"{mean:.3f}" == f"{winner.expected:.3f}":
        return ""
    return ": its mean, corrected for few judges"


def _standing(answer: Answer) -> str:
    """What the recipe is: no side is best that was not shown to be better than the reference."""
    rounds = answer.answering
    if rounds is None or not rounds.looks:
        return "Best so far"
    best = rounds.sides[rounds.best]
    is_shown = best is rounds.reference or (best.look is not None and best.look.verdict == BETTER)
    return "Best recipe" if is_shown else "Highest, not shown to be better"


def _confirm_options(answer: Answer) -> tuple[str] | None:
    """The options of the rounds that would say most, those with each level at its own best where one has its best
    elsewhere or they have begun to answer; None where nothing is open."""
    own = answer.own if answer.own is not None and answer.own.looks else None
    if answer.elsewhere or (own is not None and own.is_open):
        more = None if own is None else own.more
        return (" --own-best" + ("" if more is None else f" --repeats {max(2, more.rounds)}"),)
    if not answer.is_open or answer.verdict == NO_VERDICT:
        return None
    more = answer.rounds.more if answer.rounds is not None and answer.rounds.looks else answer.more
    return ("" if more is None else f" --repeats {max(2, more.rounds)}",)


def _show_next(answer: Answer, name: str, runs: Path, storage_url: str | None, cache: str) -> None:
    """The report, the recipe as a file, and more rounds while anything is open. ``cache``: the option of those
    that read photos."""
    where, study = place_options(runs, storage_url), quoted(name)
    say("Next:")
    say(f"  python -m search.report --study {study}{cache}{where}")
    if options := _confirm_options(answer):
        say(f"  python -m search.confirm --study {study}{options[0]}{cache}{where}")
    say(f"  python -m search.export --study {study} -o best.toml{where}")
    if hint := storage_option(storage_url)[1]:
        say(hint)
