"""The work of search.copy: a study with its confirmation and its small files goes to another database.

The copy has the study's id, and so its folder: weights and checkpoints stay where they are, and the study continues in
one database only. Its document is stored last, at once with those of its confirmations, so that a copy that was cut off
is no study yet; the same command makes it anew.
"""

import copy
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial

from maskcls.run.record import PREDICTIONS
from maskcls.system.console import say
from maskcls.system.errors import UserError, count_of
from maskcls.system.files import write_atomically
from search.database.connect import backend_of, create_study, default_url, has_study, load_study
from search.database.copy_lock import copying
from search.database.errors import DatabaseError
from search.database.optuna_internals import (
    set_study_system_attributes,
    store_trial,
    study_id,
    study_system_attributes,
    trial_id,
)
from search.database.reconnecting import ReconnectingStorage
from search.database.study_lock import in_turn
from search.files.place import files_of, keep_files
from search.files.table import create_table, read_picture
from search.policy.confirmation import SUFFIX, TEAM_SUFFIX
from search.policy.history import best_first
from search.storage.copying import copy_note
from search.storage.files import ARTIFACTS, artifacts_of
from search.storage.folder import claim, hand_over, names_with_id, study_folder
from search.storage.orphans import take_back_orphaned
from search.storage.outcomes import decide_in_turn
from search.storage.pairs import confirmations_of
from search.storage.predictions import StudyPredictions, predictions_of
from search.storage.retention import trial_folder
from search.study.attributes import FILES, GROWN_FROM, MOVED_TO, STUDY_ID, id_of
from search.study.record import KEY, Stored, confirms_team, read_search, read_stored
from search.system.shell import place_options, quoted
from search.system.storage_url import shown_url
from search.terminal.deletion import check_not_running

MIB = 2**20

NOTE_OF_TRIAL = re.compile(r"dashboard:\d+:")
"""How the keys of a trial's note begin; copy_note stores them under the copied trial's id."""


@dataclass
class Counted:
    """What was copied of the files of one study."""

    predictions: int = 0
    pictures: int = 0
    size: int = 0
    """In bytes."""
    missing: list[int] = field(default_factory=list)
    """Numbers of the complete trials without predictions."""


class Copied(NamedTuple):
    """What was copied of one study; it is complete once its document is stored."""

    study: optuna.Study
    """The copied one."""
    copy: optuna.Study
    document: dict[str, Any]
    """Of the copy."""
    counted: Counted


class ReplacedError(UserError):
    """The unfinished copy was deleted, by somebody or by another search.copy, which has begun another: a server that
    was restarted meanwhile has let go of this command's lock."""


def copy_study(study: optuna.Study, target: ReconnectingStorage, name: str, runs: Path) -> None:
    """Copy the study to ``target`` under this name, with its confirmations; from now on it continues there.

    Raises UserError while the study runs, while another command copies to this name, for a name or a study that
    ``target`` has already, where the predictions are not in ``runs``, and for a server's database that cannot hold
    them. Nothing is stored then.
    """
    with copying(target, name):
        copies = _copy_all(study, target, name, runs)
    for copied in copies:
        _say_counted(copied, target)
    here, there = (_place(storage, runs) for storage in (backend_of(study), target))
    say(f"It continues there: python -m search.status --study {quoted(name)}{there}")
    say(f"What is left of it here can go: python -m search.delete --study {quoted(study.study_name)}{here}")


def _copy_all(study: optuna.Study, target: ReconnectingStorage, name: str, runs: Path) -> list[Copied]:
    """The work of copy_study while no other command does it; what was copied of the study and its confirmations."""
    read_search(study)  # a confirmation goes with its search
    pairs = [(study, name)]
    pairs += [(each, name + (TEAM_SUFFIX if confirms_team(each) else SUFFIX)) for each in confirmations_of(study)]
    copies: list[Copied] = []
    for each, new_name in pairs:
        _check_is_free(each, target, new_name)
        check_not_running(each, runs)
        _check_has_predictions(each, runs)
    if why := create_table(target):
        raise UserError(
            f"{shown_url(target.url)} cannot hold the predictions of the trials: {why}. Let its owner grant the right"
            " to create and fill a table."
        )
    try:
        for each, new_name in pairs:
            _move_out(each, target, new_name, runs)
        for each, new_name in reversed(pairs):
            copies.append(_copy(each, target, new_name, name, runs))
        _complete(copies, target, name)
    except BaseException as error:
        is_replaced = isinstance(error, ReplacedError)
        has_copy = _has_begun_copy if is_replaced else _has_copy
        if not has_copy(target, pairs, if_unknown=is_replaced or len(copies) == len(pairs)):
            for each, new_name in pairs:
                with suppress(DatabaseError):  # the same command continues
                    _move_back(each, target, new_name)
        raise
    return copies


def _place(storage: ReconnectingStorage, runs: Path) -> str:
    """The options of a printed command that name the database."""
    return place_options(runs, storage.url if storage.url != default_url(runs) else None)


def _check_is_free(study: optuna.Study, target: ReconnectingStorage, name: str) -> None:
    """Raise UserError when ``target`` has the study already, or another one of this name."""
    where, own_id = shown_url(target.url), id_of(study)
    for stored in names_with_id(own_id, target) if own_id is not None else ():
        raise UserError(
            f"Study {study.study_name!r} is in {where} already, as {stored!r}. Delete one of the two; search.run --name"
            " NEW --from OLD makes a second one in a database."
        )
    if has_study(target, name) and not _is_cut_off(load_study(target, name), own_id):
        raise UserError(f"{where} has a study {name!r} already. Give another --name.")


def _is_cut_off(stored: optuna.Study, own_id: str | None) -> bool:
    """Whether the study is what an earlier command, which was killed, has copied of the one with this id."""
    return own_id is not None and id_of(stored) == own_id and KEY not in stored.user_attrs


def _check_has_predictions(study: optuna.Study, runs: Path) -> None:
    """Raise UserError when not one complete trial has its predictions in ``runs`` or in the database."""
    complete = best_first(study.get_trials(deepcopy=False))
    shelf = predictions_of(study, read_stored(study), study_folder(study, runs))
    if complete and not any(shelf.with_predictions([trial]) for trial in complete):
        raise UserError(f"{shelf.why_missing(complete[0])}. Give the --runs folder where the study ran.")


def _move_out(study: optuna.Study, target: ReconnectingStorage, name: str, runs: Path) -> None:
    """Let nobody continue the study here any more, unless it runs."""
    moved = _destination(target, name)

    def decide() -> None:
        check_not_running(study, runs)
        if study.user_attrs.get(MOVED_TO) != moved:  # else a command that was killed has done so
            claim(study, runs)
            take_back_orphaned(study, study.get_trials(deepcopy=False))
            study.set_user_attr(MOVED_TO, moved)

    decide_in_turn(study, decide)


def _move_back(study: optuna.Study, target: ReconnectingStorage, name: str) -> None:
    """Undo _move_out; a study that continues in yet another database stays there."""
    if study.user_attrs.get(MOVED_TO) == _destination(target, name):
        study.set_user_attr(MOVED_TO, None)


def _destination(target: ReconnectingStorage, name: str) -> dict[str, str]:
    """As MOVED_TO has it."""
    return {"storage": shown_url(target.url), "name": name}


def _has_copy(target: ReconnectingStorage, pairs: list[tuple[optuna.Study, str]], if_unknown: bool) -> bool:
    """Whether the complete copy is stored, by this command or another; ``if_unknown`` when ``target`` is out of
    reach."""
    study, name = pairs[0]
    target.patience = 0  # what failed may have waited for it already
    with suppress(DatabaseError):
        return any(
            stored.study_name == name and id_of(stored) == id_of(study) and KEY in stored.user_attrs
            for stored in target.get_all_studies()
        )
    return if_unknown


def _has_begun_copy(target: ReconnectingStorage, pairs: list[tuple[optuna.Study, str]], if_unknown: bool) -> bool:
    """Whether anything of a copy is stored, which another command is making or has made; ``if_unknown`` as there."""
    ids = {id_of(study) for study, _ in pairs}
    target.patience = 0
    with suppress(DatabaseError):
        return any(id_of(stored) in ids for stored in target.get_all_studies())
    return if_unknown


def _complete(copies: list[Copied], target: ReconnectingStorage, name: str) -> None:
    """Store the documents of all copies, in one transaction: killed at any moment, all of them are studies or none."""
    documents = {study_id(copied.copy): copied.document for copied in copies}
    try:
        in_turn(target, name, lambda: target.set_user_attr_of_studies(KEY, documents))
    except KeyError:
        raise _deleted(name) from None


def _deleted(name: str) -> "ReplacedError":
    return ReplacedError(f"The copy {name!r} was deleted while it was made. Type the command again.")


def _copy(study: optuna.Study, target: ReconnectingStorage, name: str, searched: str, runs: Path) -> Copied:
    """Copy one study but for its document. ``searched``: the new name of the search, for its confirmation's
    document."""
    stored, folder = read_stored(study), study_folder(study, runs)
    new = _begin(study, stored, target, name)
    shelf, notes = predictions_of(study, stored, folder), study_system_attributes(study)
    counted = Counted()
    try:
        for trial in study.get_trials(deepcopy=False):
            copied = _with_files(trial, shelf, new, runs, counted)
            copy_note(notes, study, new, trial_id(trial), store_trial(new, copied))
        known = study_system_attributes(new)
        own = {key: value for key, value in notes.items() if not NOTE_OF_TRIAL.match(key) and key not in known}
        set_study_system_attributes(new, own)
        facts = {key: value for key, value in study.user_attrs.items() if key not in (KEY, MOVED_TO)}
        for key, value in facts.items():
            new.set_user_attr(key, value)
        if stored.confirmation is not None:
            stored = replace(stored, confirmation={**stored.confirmation, "of": searched})
        hand_over(new, folder, runs)
    except KeyError:
        raise _deleted(name) from None
    document = stored.to_json() if stored.confirmation is not None else study.user_attrs[KEY]
    return Copied(study, new, document, counted)


def _begin(study: optuna.Study, stored: Stored, target: ReconnectingStorage, name: str) -> optuna.Study:
    """An empty study of this name, in place of what a killed command has left."""
    first = {key: study.user_attrs[key] for key in (STUDY_ID, GROWN_FROM) if key in study.user_attrs}

    def decide() -> None:
        _check_is_free(study, target, name)
        if has_study(target, name):
            optuna.delete_study(study_name=name, storage=target)
        create_study(target, name, first, stored.task.metric_words)

    in_turn(target, name, decide)
    return load_study(target, name)


def _with_files(
    trial: FrozenTrial, shelf: StudyPredictions, new: optuna.Study, runs: Path, counted: Counted
) -> FrozenTrial:
    """The trial to be stored, with its small files where readers of the new study look for them."""
    copied = copy.copy(trial)
    if not trial.state.is_finished():
        return copied
    assert shelf.study is not None
    source, target, home = backend_of(shelf.study), backend_of(new), trial_folder(shelf.folder, trial.number)
    contents = {}
    if shelf.predictions(trial) is not None and (content := shelf.content(trial)) is not None:
        contents[PREDICTIONS] = content
        counted.predictions += 1
    elif trial.value is not None:
        counted.missing.append(trial.number)
    for artifact in artifacts_of(trial.system_attrs):
        if (picture := _picture(artifact, source, runs)) is not None:
            contents[artifact] = picture
            counted.pictures += 1
    counted.size += sum(map(len, contents.values()))
    if target.is_file:
        for file, content in contents.items():
            _write(home / PREDICTIONS if file == PREDICTIONS else runs / ARTIFACTS / file, content)
    copied.user_attrs = {**trial.user_attrs, **keep_files(target, id_of(new), trial.number, home, contents)}
    if (ran := files_of(trial)) is not None and FILES in copied.user_attrs:  # its weights stay where it ran
        copied.user_attrs[FILES] |= {"host": ran.host, "folder": ran.folder}
    return copied


def _picture(artifact: str, source: ReconnectingStorage, runs: Path) -> bytes | None:
    """The content of an artifact, from ``runs`` or the database; None for one that is in neither."""
    path = runs / ARTIFACTS / artifact
    if Path(artifact).name == artifact and path.is_file():
        return path.read_bytes()
    return read_picture(source, artifact)


def _write(path: Path, content: bytes) -> None:
    """Write a file unless it is there."""
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda part: part.write_bytes(content))


def _say_counted(copied: Copied, target: ReconnectingStorage) -> None:
    study, counted = copied.study, copied.counted
    trials, where = count_of(len(study.get_trials(deepcopy=False)), "trial"), shown_url(target.url)
    say(
        f"Study {study.study_name} is copied to {where} as {copied.copy.study_name}: {trials}, with the predictions of"
        f" {counted.predictions} and {count_of(counted.pictures, 'picture')}, {counted.size / MIB:.1f} MiB."
    )
    if counted.missing:
        say(f"  No predictions were found of trial {', '.join(map(str, counted.missing))}.")
