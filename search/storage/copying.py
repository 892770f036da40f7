"""A stored study that is asked for with a larger space: a wider range goes on in place, another choice as a copy."""

import contextlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from maskcls.run.commit import delete_run_files, finish_commit, pending_renames, remove_staged_files
from maskcls.run.record import UnusableRunError, read_record
from maskcls.system.errors import UserError
from maskcls.system.files import link
from search.database.optuna_internals import store_trial, study_id, study_system_attributes, trial_id
from search.storage.folder import study_folder
from search.storage.notes import artifact_path, save_trial_note, trial_note
from search.storage.retention import trial_folder
from search.study.attributes import FILES_OF, GROWN_FROM, WORKER, id_of
from search.study.record import Stored, check_same, read_stored
from search.study.space import distributions, is_wider_domain, is_wider_range, params_of, values_of
from search.study.study import Choice, Domain, Study

MAX_COPIES = 5
"""Tries at the folder of a running trial. Its files are changed for a moment at every evaluation."""


def widened(stored: Stored, wanted: Stored) -> Stored:
    """The stored study with the wider ranges of the wanted one, and with its sampler and pruner.

    Its trials stay comparable: they lie within the wider range too.
    """
    there, here = stored.study, wanted.study
    study = replace(
        there,
        scientific=_wider(there.scientific, here.scientific, _is_wider_range),
        nuisance=_wider(there.nuisance, here.nuisance, _is_wider_range),
        sampler=here.sampler,
        pruner=here.pruner,
        is_stored=True,
    )
    return replace(stored, study=study)


def _is_wider_range(_: str, there: Domain, here: Domain) -> bool:
    return is_wider_range(there, here)


def _wider(
    there: Mapping[str, Domain], here: Mapping[str, Domain], is_wider: Callable[[str, Domain, Domain], bool]
) -> dict[str, Domain]:
    """``there`` with the domains of ``here`` that are wider; ``is_wider`` takes a hyperparameter's name and its two."""
    return {
        name: here[name] if name in here and is_wider(name, domain, here[name]) else domain
        for name, domain in there.items()
    }


def check_grown(old: Stored, wanted: Stored, name: str) -> None:
    """Raise UserError unless the trials of ``old``, stored as ``name``, can be trials of ``wanted``."""
    there, here = old.study, wanted.study
    study = replace(
        there,
        scientific=_wider(there.scientific, here.scientific, is_wider_domain),
        nuisance=_wider(there.nuisance, here.nuisance, is_wider_domain),
        is_stored=True,
    )
    check_same(replace(old, study=study), wanted, name)


def copy_trials(old: optuna.Study, new: optuna.Study, study: Study, runs: Path) -> None:
    """All trials in their order, so that they keep their numbers, with their notes, artifacts and folders.

    A trial that was running or waiting waits in the copy too.
    """
    space, choices = distributions(study.space), _choices(read_stored(old).study.space)
    notes = study_system_attributes(old)
    begun_in, there, here = id_of(old), study_folder(old, runs), study_folder(new, runs)
    for trial in old.get_trials(deepcopy=False):
        # in the copy's own words before anything refers to the trial: a note and a picture go by its id
        params = _renamed(trial.params, choices, study.space)
        new_id = store_trial(new, _in_space(trial, params, space, begun_in))
        _copy_note(notes, old, new, trial_id(trial), new_id)
        home = trial_folder(there, trial.number)
        if home.is_dir():
            _copy_folder(home, trial_folder(here, trial.number), trial.state.is_finished())


def _choices(space: Mapping[str, Domain]) -> dict[str, Domain]:
    return {name: domain for name, domain in space.items() if isinstance(domain, Choice)}


def _renamed(params: Mapping[str, Any], old: Mapping[str, Domain], new: Mapping[str, Domain]) -> dict[str, Any]:
    """The parameters with options as the new study writes them: the database knows an option by how it is written."""
    known = {name: domain for name, domain in old.items() if name in params}
    return {**params, **params_of({name: new[name] for name in known}, values_of(known, params))}


def _in_space(
    trial: FrozenTrial, params: dict[str, Any], space: Mapping[str, BaseDistribution], begun_in: str | None
) -> FrozenTrial:
    is_over = trial.state.is_finished()
    for name, found in space.items():  # a Subset's new member was off so far
        if name not in params and trial.params and getattr(found, "choices", None) == (False, True):
            params[name] = False
    return create_trial(
        state=trial.state if is_over else TrialState.WAITING,
        values=trial.values if is_over else None,
        params=params,
        distributions={name: space[name] for name in params},
        user_attrs={FILES_OF: begun_in, **trial.user_attrs, WORKER: None},
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


def _copy_note(notes: dict[str, Any], old: optuna.Study, new: optuna.Study, old_id: int, new_id: int) -> None:
    """The dashboard keeps a trial's note with the study, under the trial's id; pictures are named by ids too."""
    body = trial_note(notes, old_id)
    if body:
        body = body.replace(artifact_path(study_id(old), old_id, ""), artifact_path(study_id(new), new_id, ""))
        save_trial_note(new, new_id, body)


def _copy_folder(source: Path, target: Path, is_over: bool) -> None:
    """A trial's folder, from which the copy goes on unless the trial is over.

    It may be running, and its files take each other's places meanwhile: the copy has all of one evaluation, or none
    and begins anew.
    """
    for _ in range(MAX_COPIES):
        shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)
        if is_over or _is_whole(target):
            break
        delete_run_files(target)
    remove_staged_files(target)


def _is_whole(folder: Path) -> bool:
    """Whether the files are those of the record; some may have had the names that they are written under."""
    try:
        record = read_record(folder)
        if record is None or record.is_legacy:
            return True  # nothing is said of the files; the training begins anew, or looks at them itself
        renames = pending_renames(folder, record)
    except UnusableRunError:
        return False
    finish_commit(folder, record, renames)
    return True


def _link(source: str, target: str) -> None:
    """What is there stays, and what has gone meanwhile is left out."""
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        link(Path(source), Path(target))


def check_is_copy(study: optuna.Study, old: str) -> None:
    """Raise UserError when --from would write into a study that did not begin as a copy of ``old``."""
    if study.user_attrs.get(GROWN_FROM) != old:
        raise UserError(
            f"--from makes a new study, and {study.study_name!r} is stored already. Give another --name, or no --from."
        )
