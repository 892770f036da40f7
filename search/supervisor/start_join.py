"""Runs search.run --join: work on a study that another command has stored, or is about to store.

There is no plan and no estimate, so that of N machines one measures the backbones. What the study is made of stands in
the database; only where its photos and weights lie may differ from machine to machine.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna

from maskcls.data.dataset import prepare_data_folder, read_table
from maskcls.system.console import say
from maskcls.system.errors import UserError, nearest
from maskcls.system.files import check_folder
from maskcls.system.paths import WORDS, absolute_if_path
from search.answer.format import duration
from search.database.connect import backend_of, has_study, load_study, may_exist, open_storage, open_to_read
from search.database.read_only import NoStudiesError
from search.policy.confirmation import Plan, policy_of
from search.policy.stopping import StoppingCriteria, count_finished
from search.storage.folder import claim_in_turn
from search.storage.looks import closed_levels
from search.study.attributes import LIMITS
from search.study.compatibility import check_is_here
from search.study.locations import photos_now
from search.study.names import checked_name
from search.study.record import Stored, is_fully_created, read_stored
from search.study.request import StudyRequest
from search.supervisor.conclusion import Summary
from search.supervisor.launch import Launch
from search.supervisor.one_machine import check_no_other_machine
from search.system.storage_url import check_url
from search.terminal.confirmation import show_confirmation_summary
from search.terminal.summary import show_search_summary

WAIT_SECONDS = 3600.0
"""How long to wait for the study to be stored; a shorter --timeout also limits the wait."""

LOOK_SECONDS = 2.0
"""How often to look whether the study is stored."""


def join_study(request: StudyRequest, launch: Launch, limits: Mapping[str, float | None], keep: int, cold: bool) -> int:
    """Run trials of a stored study until nothing is left; returns the exit status.

    ``limits``: option -> its value, None where it is not given. ``keep`` and ``cold``: as in run_study. Raises
    UserError for options that the stored study answers, and when it is not stored in time.
    """
    _check_options(request, cold)
    check_folder(launch.runs, "--runs")
    name = checked_name(request.name or Path(request.file).stem)
    check_url(launch.url)
    study = _wait_for(name, launch)
    stored = read_stored(study)
    check_is_here(study)
    check_no_other_machine(launch.url)
    found = _limits_of(study, stored, limits)
    summary: Summary = partial(show_confirmation_summary, runs=launch.runs, storage_url=launch.storage)
    if stored.confirmation is None:
        summary = partial(show_search_summary, runs=launch.runs, storage_url=launch.storage, cache=launch.cache)
    trials = study.get_trials(deepcopy=False)
    if limit := policy_of(stored).reached(found, trials, closed_levels(study, found.own_best)):
        say(f"Nothing is left of study {name} ({limit}): {count_finished(trials)} trials are done.")
        summary(study, stored)
        return 0
    # a study from scratch stays so, though --weights auto might find pretrained weights today
    made_with = "scratch" if stored.weights["source"] == "scratch" else stored.weights_option
    weights = absolute_if_path(request.weights) if request.weights else made_with
    data = None if stored.data in WORDS and request.is_from_environment else request.data or None
    requested = replace(stored, data=photos_now(stored, name, data), weights_option=weights)
    backend_of(study).engine.dispose()
    with launch.make_crew(found.n_trials) as crew:
        crew.start_first()  # it loads torch while the photos are listed here
        launch.runs.mkdir(parents=True, exist_ok=True)
        storage = open_storage(launch.url, create=False, waits=True)
        claim_in_turn(storage, name, launch.runs)
        folder = prepare_data_folder(requested.data, launch.runs, requested.task, launch.cache)
        read_table(folder, requested.baseline_config, requested.label_fixes, requested.task)
        crew.start_others()
        say(f"Joining study {name}: {count_finished(trials)} of {found.n_trials} trials are done.")
        order = replace(launch.make_order(crew.size, name, requested, found), keep=keep)
        return crew.run(order, launch.timeout, summary)


def _check_options(request: StudyRequest, cold: bool) -> None:
    """Raise UserError for options of which the stored study has the values."""
    given = {
        "--from": request.copy_of is not None,
        "--set": bool(request.assignments),
        "--seed": request.seed != 0,
        "--people": request.people is not None,
        "--label-fixes": request.label_fixes != "auto",
        "--skip-unreadable": request.skip_unreadable,
        "--cold": cold,
        **dict.fromkeys(request.photos.typed, True),
        "--metric": bool(request.photos.metric),
    }
    for option, is_given in given.items():
        if is_given:
            raise UserError(
                f"--join takes a study as it is stored, so {option} cannot be given; leave out one of them."
            )


def _limits_of(study: optuna.Study, stored: Stored, given: Mapping[str, float | None]) -> StoppingCriteria:
    """The limits of the command that planned the study. Raises UserError for others, and where none are stored."""
    if stored.confirmation is not None:
        plan = Plan.of_document(stored)
        known = StoppingCriteria(len(plan.finalists) * plan.repeats)
    elif LIMITS in study.user_attrs:
        known = StoppingCriteria(**study.user_attrs[LIMITS])
    elif (n_trials := given["--n-trials"]) is not None:  # of an earlier version, which stored none
        return StoppingCriteria(int(n_trials), given["--max-epochs"], _whole(given["--patience"]))
    else:
        raise UserError(
            f"Study {study.study_name!r} was planned by an earlier version, which stored no limits; give --n-trials."
        )
    planned = {"--n-trials": known.n_trials, "--max-epochs": known.max_epochs, "--patience": known.patience}
    for option, value in given.items():
        if value is not None and value != planned[option]:
            was = "without it" if planned[option] is None else f"with {option} {planned[option]:g}"
            raise UserError(
                f"{option} {value:g} cannot be given with --join: study {study.study_name!r} was planned {was}."
                " Leave it out, or give the command without --join to change it."
            )
    return known


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _wait_for(name: str, launch: Launch) -> optuna.Study:
    """The study of this name, once it is stored with its document. Raises UserError when it is not in time."""
    limit = WAIT_SECONDS if launch.timeout is None else min(WAIT_SECONDS, launch.timeout)
    began, is_said = time.monotonic(), False
    while True:
        study, names = _find(name, launch.url)
        if study is not None:
            return study
        if time.monotonic() - began >= limit:
            listed = f" There are: {', '.join(names)}." if names else " There are none yet."
            raise UserError(
                f"No study named {name!r} was stored within {duration(limit)}.{nearest(name, names)}{listed} Give"
                " the command without --join to plan and store it."
            )
        if not is_said:
            is_said = True
            say(f"Waiting for study {name} to be stored, {duration(limit)} at most ...")
        time.sleep(min(LOOK_SECONDS, max(0.1, limit)))


def _find(name: str, url: str) -> tuple[optuna.Study | None, list[str]]:
    """The study of this name if it is stored with its document, and the names of all that are stored."""
    if not may_exist(url):
        return None, []
    try:
        storage = open_to_read(url, waits=True)
    except NoStudiesError:
        return None, []
    if has_study(storage, name) and is_fully_created(study := load_study(storage, name)):
        return study, []
    names = optuna.get_all_study_names(storage)
    storage.engine.dispose()
    return None, names
