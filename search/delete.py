"""python -m search.delete: remove a study, its folder and its pictures, after asking; nothing of any other study."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError
from maskcls.system.printable import one_printable_line
from maskcls.system.streams import is_terminal
from search.system.storage_url import StorageOption, shown_url

if TYPE_CHECKING:
    import optuna

MIB = 2**20


def main(
    study: Annotated[str, typer.Option(help="The study's stored name.")],
    storage: StorageOption = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Delete a study from the database, with its folder, its pictures and its confirmation. There is no way back."""
    from search.database.connect import default_url, load_study, open_storage
    from search.storage.pairs import confirmation_of

    opened = open_storage(storage or default_url(runs), create=False)
    searched = load_study(opened, study)
    confirmation = confirmation_of(searched)  # it says nothing without the study, and goes with it
    found = [searched] if confirmation is None else [searched, confirmation]
    for one in found:
        _check_nobody_runs(one, runs)
    if not yes and not is_terminal(sys.stdin):
        raise UserError(f"Deleting study {study!r} has to be confirmed, and there is no terminal to ask on; use --yes.")
    for one in found:
        _describe(one, runs)
    names = " and ".join(one.study_name for one in found)
    if not yes and not typer.confirm(f"Delete study {one_printable_line(names)} for good?"):
        say("Nothing was deleted.")
        return 1
    for one in reversed(found):  # a confirmation first: it is nothing without its study
        _delete(one, runs)
        say(f"Study {one.study_name} is deleted.")
    return 0


def _forget(study: "optuna.Study") -> None:
    """The verdict of a confirmation goes with it."""
    from search.answer.confirmation import store_confirmation
    from search.storage.pairs import search_of

    searched = search_of(study)
    if searched is not None:
        store_confirmation(searched, None)


def _check_nobody_runs(study: "optuna.Study", runs: Path) -> None:
    """Raise UserError, naming the processes, while any run trials of the study, or are about to."""
    from maskcls.system.lock import is_held
    from search.answer.status import runs_of
    from search.storage.files import existing_folder

    alive = [run for run in runs_of(study, study.get_trials(deepcopy=False)) if not run.gone]
    if alive:
        who = "; ".join(f"trial {run.trial} on {run.host}, process {run.pid} ({run.slot})" for run in alive)
        raise UserError(f"Study {study.study_name!r} is running: {who}. Stop that first (Ctrl-C in its terminal).")
    folder = existing_folder(study, runs)
    logs = None if folder is None else folder / "logs"  # which every worker holds, between its trials too
    if logs is not None and logs.is_dir() and is_held(logs):
        raise UserError(f"Workers of study {study.study_name!r} are up. Stop that first (Ctrl-C in its terminal).")


def _describe(study: "optuna.Study", runs: Path) -> None:
    """Say what will go."""
    from search.answer.status import overview_of
    from search.database.connect import backend_of
    from search.storage.files import existing_folder, pictures_of, size_of

    found = overview_of(study)
    say(f"Study {found.name}: {found.question or 'not made by search.run'}")
    counts = ", ".join(f"{count} {state}" for state, count in asdict(found.trials).items() if count) or "none"
    say(f"  trials    {counts}; in {shown_url(backend_of(study).url)}")
    folder, pictures = existing_folder(study, runs), pictures_of(study, runs)
    if folder is not None and folder.is_symlink():
        say(f"  folder    {folder}, the link only; {folder.resolve()} stays")
    elif folder is not None:
        say(f"  folder    {folder}, {size_of([folder]) / MIB:.1f} MiB")
    if pictures:
        say(f"  pictures  {len(pictures)} in {pictures[0].parent}, {size_of(pictures) / MIB:.1f} MiB")


def _delete(study: "optuna.Study", runs: Path) -> None:
    import optuna

    from search.database.connect import backend_of, has_study, load_study
    from search.database.study_lock import in_turn
    from search.storage.files import empty_trash, existing_folder, pictures_of, throw_away

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
            throw_away(folder)
        _forget(study)
        optuna.delete_study(study_name=name, storage=storage)

    in_turn(storage, name, decide)
    empty_trash(runs)  # takes its time, and others wait for the lock


if __name__ == "__main__":
    run_command(main)
