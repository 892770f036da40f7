"""The work of search.delete: refuse while the study runs, show what will be deleted, ask, and delete."""

import sys
from dataclasses import asdict
from pathlib import Path

import optuna
import typer

from maskcls.system.console import say
from maskcls.system.errors import UserError
from maskcls.system.lock import is_held
from maskcls.system.printable import one_printable_line
from maskcls.system.streams import is_terminal
from search.answer.confirmation import store_confirmation
from search.database.connect import backend_of, has_study, load_study
from search.database.study_lock import in_turn
from search.files.table import check_may_forget, forget_files
from search.findings.status import overview_of, runs_of
from search.storage.files import empty_trash, existing_folder, move_to_trash, pictures_of, size_of
from search.storage.pairs import confirmations_of, search_of
from search.study.record import confirms_team
from search.system.storage_url import shown_url

MIB = 2**20


def delete(study: optuna.Study, runs: Path, asks: bool) -> bool:
    """Delete a study with its files and its confirmations, if ``asks`` after asking; returns whether it was deleted.

    Raises UserError while the study runs, when there is no terminal to ask on, and for a user who may not delete the
    files of its trials in the database.
    """
    targets = [study, *confirmations_of(study)]  # which say nothing without the study
    for target in targets:
        check_not_running(target, runs)
    check_may_forget(backend_of(study))  # refused later, the folder would be gone and the study would stay
    if asks and not is_terminal(sys.stdin):
        raise UserError(
            f"Deleting study {study.study_name!r} must be confirmed, and there is no terminal to ask on; use --yes."
        )
    for target in targets:
        _describe(target, runs)
    names = " and ".join(target.study_name for target in targets)
    if asks and not typer.confirm(f"Delete study {one_printable_line(names)} for good?"):
        say("Nothing was deleted.")
        return False
    for target in reversed(targets):  # cut off in between, the study is left, not a confirmation
        _delete(target, runs)
        say(f"Study {target.study_name} is deleted.")
    return True


def check_not_running(study: optuna.Study, runs: Path) -> None:
    """Raise UserError while any process runs a trial of the study, or is about to; for search.copy too."""
    alive = [run for run in runs_of(study, study.get_trials(deepcopy=False)) if not run.gone]
    if alive:
        trials = "; ".join(f"trial {run.trial} on {run.host}, process {run.pid} ({run.slot})" for run in alive)
        raise UserError(f"Study {study.study_name!r} is running: {trials}. Stop it first (Ctrl-C in its terminal).")
    folder = existing_folder(study, runs)
    logs = None if folder is None else folder / "logs"  # every worker holds its lock, also between trials
    if logs is not None and logs.is_dir() and is_held(logs):
        raise UserError(f"Study {study.study_name!r} has live workers. Stop it first (Ctrl-C in its terminal).")


def _describe(study: optuna.Study, runs: Path) -> None:
    """Print what will be deleted."""
    overview = overview_of(study)
    say(f"Study {overview.name}: {overview.question or 'not made by search.run'}")
    counts = ", ".join(f"{count} {state}" for state, count in asdict(overview.trials).items() if count) or "none"
    say(f"  trials    {counts}; in {shown_url(backend_of(study).url)}")
    folder, pictures = existing_folder(study, runs), pictures_of(study, runs)
    if folder is not None and folder.is_symlink():
        say(f"  folder    {folder}, the link only; {folder.resolve()} stays")
    elif folder is not None:
        say(f"  folder    {folder}, {size_of([folder]) / MIB:.1f} MiB")
    if pictures:
        say(f"  pictures  {len(pictures)} in {pictures[0].parent}, {size_of(pictures) / MIB:.1f} MiB")


def _delete(study: optuna.Study, runs: Path) -> None:
    storage, name = backend_of(study), study.study_name
    tries = 0

    def decide() -> None:
        nonlocal tries
        tries += 1
        if tries > 1 and not has_study(storage, name):
            return  # an earlier try deleted it, and lost the connection before the reply
        study = load_study(storage, name)  # it may have been deleted or continued while we asked
        check_not_running(study, runs)
        folder = existing_folder(study, runs)
        # the database last: if cut off before, the study is still there, and the same command continues
        for path in pictures_of(study, runs):
            path.unlink(missing_ok=True)
        if folder is not None:
            move_to_trash(folder)
        confirmed = search_of(study)
        if confirmed is not None and not confirms_team(study):
            store_confirmation(confirmed, None)
        optuna.delete_study(study_name=name, storage=storage)
        forget_files(storage)

    in_turn(storage, name, decide)
    empty_trash(runs)  # slow, and so outside the lock
