"""Runs search.run: starts workers, which train trials until the study reaches a limit."""

import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial

import optuna

from maskcls.data.dataset import SYNTHETIC, open_data, read_table
from maskcls.system.console import say
from maskcls.system.errors import UserError
from maskcls.system.files import check_folder
from maskcls.system.streams import is_terminal
from search.database.connect import has_study, load_study, may_exist, open_storage, open_to_read
from search.database.read_only import NoStudiesError
from search.policy.policy import Policy
from search.policy.stopping import StoppingCriteria, count_finished
from search.storage.copying import widened
from search.storage.looks import closed_levels, is_look_due, make_missed_look, read_looks
from search.storage.presence import DATABASE_ERRORS
from search.study.compatibility import check_is_here
from search.study.loading import find_study_file, names_a_file
from search.study.record import Stored, check_same, is_fully_created, read_search
from search.study.request import StudyRequest, limits_options, typed_again
from search.supervisor.conclusion import not_needed
from search.supervisor.launch import Launch
from search.supervisor.one_machine import check_no_other_machine
from search.system.shell import cache_option, place_options, quoted
from search.system.storage_url import check_url
from search.terminal.summary import show_search_summary


def run_study(request: StudyRequest, launch: Launch, limits: StoppingCriteria, keep: int, cold: bool) -> int:
    """Run trials of the study until a limit is reached; returns the exit status.

    ``keep``: number of trials whose best weights stay on the disk. ``cold``: without warm starts. Raises UserError for
    invalid options, before a worker starts wherever the check needs no torch.
    """
    _check_file(request.file, launch)
    requested = request.to_stored()
    if requested.data == SYNTHETIC:  # before photos are drawn; the task of others is not known yet
        requested.task.check(requested.baseline_config)
    check_folder(launch.runs, "--runs")
    name = request.stored_name
    Policy(requested.study, requested.seed)  # raises UserError for an invalid sampler or pruner
    if request.is_preview:
        say("PREVIEW, since no --data was given. The real study:")
        say(f"  {_real_command(request, launch, limits, cold)}")
    crew = launch.make_crew(limits.n_trials)
    check_url(launch.url)
    check_no_other_machine(launch.url)
    with crew:
        crew.start_first()  # it loads torch while the photos are listed here
        folder, options = open_data(requested.data, launch.runs, request.photos, cache=launch.cache)
        requested = request.fit_to_photos(requested, folder, options)
        table = read_table(folder, requested.baseline_config, requested.label_fixes, requested.task)
        # not for a copy, which the first worker compares with its source
        if request.copy_of is None and _is_done(name, replace(requested, split=table.hash), launch, limits):
            return 0
        launch.runs.mkdir(parents=True, exist_ok=True)
        open_storage(launch.url, create=True).engine.dispose()
        crew.start_others()
        if is_terminal(sys.stderr):
            print("Loading torch and timm, which takes a few seconds ...", file=sys.stderr)
        order = launch.make_order(crew.size, name, requested, limits)
        order = replace(order, plan=True, keep=keep, cold=cold, copy_of=request.copy_of)
        summary = partial(show_search_summary, runs=launch.runs, storage_url=launch.storage, cache=launch.cache)
        return crew.run(order, launch.timeout, summary)


def _real_command(request: StudyRequest, launch: Launch, limits: StoppingCriteria, cold: bool) -> str:
    """The command of the study that a preview stands for."""
    place = cache_option(launch.cache, launch.runs) + place_options(launch.runs, launch.storage)
    typed = f"{typed_again(request)}{' --cold' if cold else ''}{place}"
    return f"python -m search.run --study {quoted(request.file)}{limits_options(limits.to_json())} --data DIR{typed}"


def _check_file(file: str, launch: Launch) -> None:
    """Raise UserError where --study is the name of a stored study, and no study of studies/ has it."""
    if names_a_file(file) or not may_exist(launch.url):
        return
    try:
        storage = open_to_read(launch.url)
    except UserError:  # what is wrong with --study is said first
        return
    is_stored, found = has_study(storage, file), ""
    with suppress(UserError):  # a confirmation has no file, nor has another program's study
        found = find_study_file(file, read_search(load_study(storage, file)).study.question)[0] if is_stored else ""
    storage.engine.dispose()
    if is_stored:
        raise UserError(
            f"{file!r} is the name of a stored study, and --study takes a study file: give --study"
            f" {quoted(found or 'FILE.py')} --name {quoted(file)}, or add --join to work on the study as it is stored."
        )


def _is_done(name: str, requested: Stored, launch: Launch, limits: StoppingCriteria) -> bool:
    """Whether the study has all trials that it needs; if so, print its summary.

    Raises UserError when it is not the requested study, or continues in another database. The weights are not compared,
    since finding them takes torch.
    """
    if not may_exist(launch.url):
        return False
    try:
        storage = open_to_read(launch.url)
    except NoStudiesError:
        return False
    study = load_study(storage, name) if has_study(storage, name) else None
    if study is None or not is_fully_created(study):
        storage.engine.dispose()
        return False
    stored = read_search(study)
    check_is_here(study)
    wider = widened(stored, requested)
    check_same(wider, replace(requested, weights=stored.weights), name)
    trials, n_trials = study.get_trials(deepcopy=False), limits.n_trials
    done = count_finished(trials)
    if done >= n_trials:
        study = _with_its_last_look(study, stored, launch, limits)
        say(f"Study {name} already has its {n_trials} trials.")
    elif Policy(wider.study, wider.seed).is_decided(trials, closed_levels(study)):
        say(not_needed(done, n_trials))
    else:
        storage.engine.dispose()
        return False
    show_search_summary(study, stored, launch.runs, launch.storage, launch.cache)
    return True


def _with_its_last_look(study: optuna.Study, stored: Stored, launch: Launch, limits: StoppingCriteria) -> optuna.Study:
    """The study, open for writing if the look that an earlier command did not come to had to be stored."""
    policy, trials = Policy(stored.study, stored.seed), study.get_trials(deepcopy=False)
    if not any(is_look_due(policy, trials, read_looks(study, own_best), own_best) for own_best in (False, True)):
        return study
    with suppress(*DATABASE_ERRORS):  # without it the answer stands at the look before
        writable = load_study(open_storage(launch.url, create=False), study.study_name)
        if make_missed_look(writable, stored, launch.runs, limits) is not None:
            return writable
    return study
