"""What search.delete does: it looks for whoever runs the study, shows what will go, asks, and deletes."""

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
from search.answer.status import overview_of, runs_of
from search.database.connect import backend_of, has_study, load_study
from search.database.study_lock import in_turn
from search.storage.files import empty_trash, existing_folder, move_to_trash, pictures_of, size_of
from search.storage.pairs import confirmation_of, search_of
from search.system.storage_url import shown_url

MIB = 2**20


def delete(study: optuna.Study, runs: Path, asks: bool) -> bool:
    """Delete a study with all that it has, after asking where ``asks``; returns whether that was done.

    Raises UserError while it runs, and when there is nobody to ask.
    """
    confirmation = confirmation_of(study)  # it says nothing without the study, and goes with it
    studies = [study] if confirmation is None else [study, confirmation]
    for found in studies:
        _check_nobody_runs(found, runs)
    if asks and not is_terminal(sys.stdin):
        raise UserError(
            f"Deleting study {study.study_name!r} has to be confirmed, and there is no terminal to ask on; use --yes."
        )
    for found in studies:
        _describe(found, runs)
    names = " and ".join(found.study_name for found in studies)
    if asks and not typer.confirm(f"Delete study {one_printable_line(names)} for good?"):
        say("Nothing was deleted.")
        return False
    for found in reversed(studies):  # a confirmation first: it is nothing without its study
        _delete(found, runs)
        say(f"Study {found.study_name} is deleted.")
    return True


def _check_nobody_runs(study: optuna.Study, runs: Path) -> None:
    """Raise UserError, naming the processes, while any run trials of the study, or are about to."""
    alive = [run for run in runs_of(study, study.get_trials(deepcopy=False)) if not run.gone]
    if alive:
        who = "; ".join(f"trial {run.trial} on {run.host}, process {run.pid} ({run.slot})" for run in alive)
        raise UserError(f"Study {study.study_name!r} is running: {who}. Stop that first (Ctrl-C in its terminal).")
    folder = existing_folder(study, runs)
    logs = None if folder is None else folder / "logs"  # which every worker holds, between its trials too
    if logs is not None and logs.is_dir() and is_held(logs):
        raise UserError(f"Workers of study {study.study_name!r} are up. Stop that first (Ctrl-C in its terminal).")


def _describe(study: optuna.Study, runs: Path) -> None:
    """Say what will go."""
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
            return  # it is gone, and the word of that was lost with the connection
        study = load_study(storage, name)  # it may have been deleted, or gone on, while we asked
        _check_nobody_runs(study, runs)
        folder = existing_folder(study, runs)
        # the database last: cut off before, the study is still there, and the same command goes on
        for path in pictures_of(study, runs):
            path.unlink(missing_ok=True)
        if folder is not None:
            move_to_trash(folder)
        _forget_verdict(study)
        optuna.delete_study(study_name=name, storage=storage)

    in_turn(storage, name, decide)
    empty_trash(runs)  # takes its time, and others wait for the lock


def _forget_verdict(study: optuna.Study) -> None:
    """The study that a confirmation confirms keeps its outcome; it goes with the confirmation."""
    searched = search_of(study)
    if searched is not None:
        store_confirmation(searched, None)
