"""Runs search.confirm on a study with rounds: more of them, as trials of the study itself."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.data.dataset import Table, prepare_data_folder, read_table
from maskcls.system.console import say
from maskcls.system.errors import UserError, count_of
from maskcls.system.paths import absolute_if_path
from search.answer.answer import answering_of
from search.answer.rounds import answer_of_rounds, both_answers, trainings_of_a_round
from search.policy.phases import searched
from search.policy.policy import Policy
from search.policy.stopping import FINISHED, StoppingCriteria, count_finished
from search.storage.looks import closed_levels, read_looks
from search.storage.outcomes import decide_in_turn
from search.study.attributes import MORE_OWN_ROUNDS, MORE_ROUNDS, round_of
from search.study.locations import photos_now
from search.study.record import Stored
from search.supervisor.final_test import show_test, show_test_plan, show_unscored
from search.supervisor.launch import Launch
from search.terminal.summary import show_search_summary


def has_rounds(trials: Sequence[FrozenTrial]) -> bool:
    """Whether the study's question is answered by rounds of its own; those of earlier versions had none."""
    return any(round_of(trial) is not None for trial in trials)


def add_rounds(
    study: optuna.Study,
    stored: Stored,
    rounds: int,
    data: str | None,
    weights: str | None,
    launch: Launch,
    own_best: bool = False,
    keep_test: bool = False,
) -> int:
    """Train so many more rounds of what is still open; returns the exit status. The same command again goes on with
    them until they are done.

    ``data`` and ``weights``: None for those of the study. ``own_best``: whether each level has its own best setting.
    ``keep_test``: whether the photos held back for a test stay unseen. Raises UserError for invalid options.
    """
    name = study.study_name
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    if own_best:
        _check_own_best(study, stored, trials)
    known = answer_of_rounds(stored, trials, read_looks(study, own_best), own_best=own_best)
    if known is not None and known.looks and not known.is_open:
        say("Nothing is open any more: every difference is decided.")
        show_search_summary(study, stored, launch.runs, launch.storage, launch.cache)
        show_test(study, stored, launch, lambda: _table_now(stored, name, data, launch), keep_test)
        return 0
    n_trials = _find_or_set_target(study, rounds, rounds * trainings_of_a_round(stored, known), own_best)
    _say_target(study, stored, rounds, StoppingCriteria(n_trials, own_best=own_best))
    # a study from scratch stays so, though --weights auto might find pretrained weights today
    made_with = "scratch" if stored.weights["source"] == "scratch" else stored.weights_option
    weights_option = absolute_if_path(weights) if weights else made_with
    requested = replace(stored, data=photos_now(stored, name, data), weights_option=weights_option)
    with launch.make_crew(n_trials) as crew:
        crew.start_first()  # it loads torch while the photos are listed here
        folder = prepare_data_folder(requested.data, launch.runs, requested.task, launch.cache)
        table = read_table(folder, requested.baseline_config, requested.label_fixes, requested.task)
        show_test_plan(study, table, keep_test)
        crew.start_others()
        order = launch.make_order(crew.size, name, requested, StoppingCriteria(n_trials, own_best=own_best))
        summary = partial(_show_end, table=table, n_trials=n_trials, launch=launch, keep_test=keep_test)
        return crew.run(replace(order, plan=True, confirms=True), launch.timeout, summary)


def _show_end(
    study: optuna.Study, stored: Stored, table: Table, n_trials: int, launch: Launch, keep_test: bool
) -> None:
    """The closing screen, and the test once the question is decided or the rounds are done."""
    show_search_summary(study, stored, launch.runs, launch.storage, launch.cache)
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    known = answering_of(*both_answers(study, stored, trials))
    if count_finished(trials) >= n_trials or (known is not None and known.looks and not known.is_open):
        show_test(study, stored, launch, lambda: table, keep_test)
    else:
        show_unscored(study, table)


def _table_now(stored: Stored, name: str, data: str | None, launch: Launch) -> Table:
    """The study's photos where they are now."""
    folder = prepare_data_folder(photos_now(stored, name, data), launch.runs, stored.task, launch.cache)
    return read_table(folder, stored.baseline_config, stored.label_fixes, stored.task)


def _check_own_best(study: optuna.Study, stored: Stored, trials: Sequence[FrozenTrial]) -> None:
    """Raise UserError for a study whose levels have no best settings of their own that are known."""
    name = study.study_name
    if not stored.study.scientific:
        raise UserError(
            f"--own-best gives each level its own best setting, and {name} compares no levels: each of its recipes has"
            " its own setting anyway. Leave --own-best out."
        )
    if not stored.study.nuisance:
        raise UserError(
            f"--own-best gives each level its own best setting, and {name} tunes nothing. Leave --own-best out."
        )
    if not any(trial.state == TrialState.COMPLETE for trial in searched(trials)):
        raise UserError(
            f"--own-best gives each level the best setting that the search found for it, and {name} has no complete"
            " trial of a search: it had too few trials for one. Leave --own-best out, or make a longer study."
        )
    if not read_looks(study):
        raise UserError(
            f"--own-best comes after the rounds at a common setting, and those of {name} have no answer yet. Let"
            " search.run reach its --n-trials first, or leave --own-best out."
        )


def _find_or_set_target(study: optuna.Study, rounds: int, trainings: int, own_best: bool) -> int:
    """How many trials the study has with so many more rounds, of ``trainings`` together.

    An interrupted command of as many rounds is gone on with: it would add them once more, and look at them as if they
    were more than was planned.
    """

    key = MORE_OWN_ROUNDS if own_best else MORE_ROUNDS

    def decide() -> int:
        done = count_finished(study.get_trials(deepcopy=False))
        stored = study.user_attrs.get(key, {})
        if stored.get("rounds") == rounds and stored["n_trials"] > done:
            return int(stored["n_trials"])
        study.set_user_attr(key, {"rounds": rounds, "n_trials": done + trainings})
        return done + trainings

    return decide_in_turn(study, decide)


def _say_target(study: optuna.Study, stored: Stored, rounds: int, limits: StoppingCriteria) -> None:
    """Print how many trainings are to come, and how many of them begin in a search that has not ended."""
    trials = study.get_trials(deepcopy=False)
    left = limits.n_trials - count_finished(trials)
    search = 0
    if not limits.own_best:
        planned = Policy(stored.study, stored.seed).phases_within(limits, trials, closed_levels(study))
        search = planned.search - len(searched(trials))
    where = ", each level at its own best" if limits.own_best else ""
    of_search = f", {search} of them of the search, which has not ended" if search > 0 else ""
    say(
        f"{count_of(rounds, 'more round')} of {study.study_name}{where}: {count_of(left, 'training')} to go{of_search}."
    )
