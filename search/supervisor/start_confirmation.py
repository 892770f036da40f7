"""Runs search.confirm: more rounds of a study that has rounds; else its finalists again, in a study of their own; or a
team of its models, in a study of its own too."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna

from maskcls.data.dataset import Table, prepare_data_folder, read_table
from maskcls.system.console import say
from maskcls.system.errors import UserError
from maskcls.system.paths import absolute_if_path
from search.database.connect import load_study, open_storage, place_of
from search.database.reconnecting import ReconnectingStorage
from search.policy.confirmation import Plan
from search.policy.stopping import StoppingCriteria, count_finished
from search.study.compatibility import check_is_here
from search.study.locations import photos_now
from search.study.names import folder_in
from search.study.record import Stored, read_search, read_stored
from search.study.versions import changes_since_creation, show_changes
from search.supervisor.crew import Crew
from search.supervisor.launch import Launch
from search.supervisor.one_machine import check_no_other_machine
from search.supervisor.start_rounds import add_rounds, has_rounds
from search.team.file import plan_of_file
from search.team.repeats import is_team_decided
from search.terminal.confirmation import show_confirmation_plan, show_confirmation_summary, show_confirmation_work
from search.terminal.photos import size_of_test
from search.worker.create_confirmation import (
    check_repeats,
    find_confirmation,
    make_document,
    make_team_document,
    store_confirmation,
)


def confirm_study(
    name: str,
    top: int,
    repeats: int,
    data: str | None,
    weights: str | None,
    launch: Launch,
    own_best: bool = False,
    keep_test: bool = False,
) -> int:
    """Train ``repeats`` more rounds of a stored study, or for a study of an earlier version, which has none, ``top``
    finalists and its baseline again; returns the exit status.

    ``data`` and ``weights``: None for those of the search. ``own_best``: whether each level has its own best setting in
    these rounds; ``keep_test``: whether the photos held back for a test stay unseen at their end. Raises UserError for
    a study that cannot be confirmed, and for invalid options.
    """
    storage, searched, stored = _opened(name, launch)
    if has_rounds(searched.get_trials(deepcopy=False)):  # an earlier confirmation does not answer it any more
        return add_rounds(searched, stored, repeats, data, weights, launch, own_best, keep_test)
    if own_best:
        raise UserError(
            f"--own-best adds rounds, and {name} has none. Without the option its finalists, each at its own best"
            " setting, are trained again; search.run with a higher --n-trials adds rounds."
        )
    place = place_of(launch.url, launch.runs)
    existing = find_confirmation(storage, name, place=place)
    document = make_document(searched, stored, existing, top, repeats, place)
    n_trials = len(Plan.of_document(document).finalists) * repeats
    if existing is not None and (why := _why_full(existing, n_trials)):
        say(why)
        show_confirmation_summary(existing, document, launch.runs, launch.storage)
        return 0
    with launch.make_crew(n_trials) as crew:
        return _train(crew, _located(document, stored, name, data, weights), repeats, launch)


def confirm_team(name: str, file: Path, repeats: int, data: str | None, weights: str | None, launch: Launch) -> int:
    """Train the members of the team in ``file``, of a stored study, and the best single model, ``repeats`` times each;
    returns the exit status.

    ``data`` and ``weights``: None for those of the search. Raises UserError for a file that has no team of the study,
    for a study that cannot be confirmed, and for invalid options.
    """
    storage, searched, stored = _opened(name, launch)
    place = place_of(launch.url, launch.runs)
    requested = plan_of_file(file, searched, stored, repeats, place)
    existing = find_confirmation(storage, name, team=True, place=place)
    document = make_team_document(searched, stored, existing, requested, place)
    n_trials = len(requested.finalists) * repeats
    if existing is not None and (why := _why_decided(existing) or _why_full(existing, n_trials)):
        say(why)
        show_confirmation_summary(existing, document, launch.runs, launch.storage)
        return 0
    with launch.make_crew(n_trials) as crew:
        return _train(crew, _located(document, stored, name, data, weights), repeats, launch)


def _opened(name: str, launch: Launch) -> tuple[ReconnectingStorage, optuna.Study, Stored]:
    """(The database, the study to confirm, what is stored of it). Raises UserError for one that cannot be confirmed
    here."""
    check_no_other_machine(launch.url)
    storage = open_storage(launch.url, create=False)
    searched = load_study(storage, name)
    folder_in(launch.runs, name)  # raises UserError for a name that no folder can have
    stored = read_search(searched)
    check_is_here(searched)
    return storage, searched, stored


def _why_decided(confirmation: optuna.Study) -> str:
    """Why a team's confirmation needs no more trainings; empty while it is open."""
    return "Nothing is open any more: the difference is decided." if is_team_decided(confirmation) else ""


def _why_full(confirmation: optuna.Study, n_trials: int) -> str:
    """Why there is nothing left to train of so many trainings; empty while there is."""
    is_full = count_finished(confirmation.get_trials(deepcopy=False)) >= n_trials
    return f"Study {confirmation.study_name} already has its {n_trials} trainings." if is_full else ""


def _located(document: Stored, stored: Stored, name: str, data: str | None, weights: str | None) -> Stored:
    """The confirmation's document with the photos and weights of this command; None for those of the search, ``stored``
    as ``name``."""
    # a search from scratch stays so, though --weights auto might find pretrained weights today
    searched_with = "scratch" if stored.weights["source"] == "scratch" else stored.weights_option
    weights_option = absolute_if_path(weights) if weights else searched_with
    return replace(document, data=photos_now(stored, name, data), weights_option=weights_option)


def _train(crew: Crew, document: Stored, repeats: int, launch: Launch) -> int:
    """Check, store and show the plan while the workers load torch, then run it; returns the exit status."""
    crew.start_first()
    crew.start_others()
    folder = prepare_data_folder(document.data, launch.runs, document.task, launch.cache)
    table = read_table(folder, document.baseline_config, document.label_fixes, document.task)
    repeat_tables = check_repeats(table, document, repeats)
    storage = open_storage(launch.url, create=False, waits=True)
    study = store_confirmation(storage, document, launch.runs)
    # another command may have chosen the finalists meanwhile
    document = replace(document, confirmation=read_stored(study).confirmation)
    plan = Plan.of_document(document)
    n_trials = len(plan.finalists) * repeats
    show_confirmation_plan(plan, document, table, repeat_tables)
    searched = load_study(storage, plan.of)
    show_changes(changes_since_creation(searched))
    finished = count_finished(study.get_trials(deepcopy=False))
    show_confirmation_work(plan, document, n_trials, crew.size, finished, searched.get_trials(deepcopy=False))
    order = launch.make_order(crew.size, study.study_name, document, StoppingCriteria(n_trials))
    return crew.run(order, launch.timeout, partial(_show_end, table=table, launch=launch))


def _show_end(study: optuna.Study, stored: Stored, table: Table, launch: Launch) -> None:
    """The closing screen, and that the test was left alone: only rounds of the study itself end with it."""
    show_confirmation_summary(study, stored, launch.runs, launch.storage)
    if size := size_of_test(table):
        say(f"The {size} held back for a test were not scored.")
