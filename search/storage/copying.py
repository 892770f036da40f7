"""A stored study requested with a larger space: with wider ranges it continues, with more choices as a copy."""

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from maskcls.run.checkpoint import delete_run_files, finish_commit, pending_renames, remove_staged_files
from maskcls.run.record import UnusableRunError, read_record
from maskcls.scoring.rounds import Look
from maskcls.system.errors import UserError
from maskcls.system.files import link
from search.database.connect import backend_of
from search.database.optuna_internals import store_trial, study_id, study_system_attributes, trial_id
from search.files.table import copy_files
from search.policy.rounds import arms_of
from search.storage.folder import study_folder
from search.storage.looks import read_looks
from search.storage.notes import artifact_path, save_trial_note, trial_note
from search.storage.retention import trial_folder
from search.study.attributes import FILES_OF, GROWN_FROM, LOOKS, OWN_LOOKS, ROUND_PLAN, TEST, WORKER, id_of
from search.study.record import Stored, check_same, read_stored
from search.study.space import distributions, is_wider_domain, is_wider_range, params_of, values_of
from search.study.study import Choice, Domain, Study

MAX_COPIES = 5
"""How often to try to copy the folder of a running trial, whose files change at every evaluation."""


def widened(stored: Stored, requested: Stored) -> Stored:
    """The stored study with the requested one's wider ranges, sampler and pruner.

    Its trials stay comparable: they lie within the wider ranges too.
    """
    sampler, pruner = requested.study.sampler, requested.study.pruner
    study = replace(stored.study, sampler=sampler, pruner=pruner, is_stored=True)
    return replace(stored, study=_enlarged(study, requested.study, lambda _, old, new: is_wider_range(old, new)))


def check_can_grow(stored: Stored, requested: Stored, name: str) -> None:
    """Raise UserError unless trials of ``stored``, the study of this name, can be trials of ``requested``."""
    check_same(replace(stored, study=_enlarged(stored.study, requested.study, is_wider_domain)), requested, name)


def _enlarged(study: Study, requested: Study, includes: Callable[[str, Domain, Domain], bool]) -> Study:
    """``study`` with the requested domains that include its own, by ``includes`` (hyperparameter, own, requested)."""

    def enlarge(own: Mapping[str, Domain], other: Mapping[str, Domain]) -> dict[str, Domain]:
        return {
            name: other[name] if name in other and includes(name, domain, other[name]) else domain
            for name, domain in own.items()
        }

    scientific, nuisance = enlarge(study.scientific, requested.scientific), enlarge(study.nuisance, requested.nuisance)
    return replace(study, scientific=scientific, nuisance=nuisance, is_stored=True)


def copy_trials(old: optuna.Study, new: optuna.Study, study: Study, runs: Path) -> None:
    """Copy all trials, with their numbers, notes, artifacts and folders, into a new study of the given definition.

    A trial that was running or waiting waits in the copy too. The looks at the trials are copied before them, so that
    each has all that it looked at; so is the test, which is spent for the copy too.
    """
    old_study = read_stored(old).study
    for own_best, key in ((False, LOOKS), (True, OWN_LOOKS)):
        if looks := _looks(read_looks(old, own_best), old_study, study):
            new.set_user_attr(key, [look.to_json() for look in looks])
    if TEST in old.user_attrs:
        new.set_user_attr(TEST, old.user_attrs[TEST])
    space, old_space = distributions(study.space), old_study.space
    choices = {name: domain for name, domain in old_space.items() if isinstance(domain, Choice)}
    notes = study_system_attributes(old)
    old_id, old_folder, new_folder = id_of(old), study_folder(old, runs), study_folder(new, runs)

    if old_id is not None and (new_id := id_of(new)) is not None:
        copy_files(backend_of(new), old_id, new_id)

    def translated(params: Mapping[str, Any]) -> dict[str, Any]:
        return _completed(_renamed(params, choices, study.space), space)

    for trial in old.get_trials(deepcopy=False):
        new_trial_id = store_trial(new, _in_space(trial, translated, space, old_id))
        copy_note(notes, old, new, trial_id(trial), new_trial_id)
        source = trial_folder(old_folder, trial.number)
        if source.is_dir():
            _copy_folder(source, trial_folder(new_folder, trial.number), trial.state.is_finished())


def _looks(looks: Sequence[Look], old: Study, new: Study) -> list[Look]:
    """The looks that the copy goes on from, as it has spent the error rate that they spent; none if it has another
    reference. With more levels the last one ends its horizon: what the copy spends is of a later one."""
    reference, *levels = (arm.name for arm in arms_of(old))
    new_reference, *new_levels = (arm.name for arm in arms_of(new))
    if reference != new_reference or not looks:
        return []
    *earlier, last = looks
    return [*earlier, last if levels == new_levels else replace(last, share=1.0)]


def _renamed(params: Mapping[str, Any], old: Mapping[str, Domain], new: Mapping[str, Domain]) -> dict[str, Any]:
    """The parameters with options as the new study writes them: the database identifies an option by its text."""
    present = {name: domain for name, domain in old.items() if name in params}
    return {**params, **params_of({name: new[name] for name in present}, values_of(present, params))}


def _completed(params: dict[str, Any], space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The parameters with those that a Subset's new members have: they were off so far."""
    new = {name: False for name, domain in space.items() if getattr(domain, "choices", None) == (False, True)}
    return {**new, **params} if params else params


def _in_space(
    trial: FrozenTrial,
    translated: Callable[[Mapping[str, Any]], dict[str, Any]],
    space: Mapping[str, BaseDistribution],
    old_id: str | None,
) -> FrozenTrial:
    """The trial in the new study's space, to be stored.

    ``translated``: makes the new study's parameters of the old one's; ``old_id``: the id of the old study.
    """
    is_finished, params, facts = trial.state.is_finished(), translated(trial.params), dict(trial.user_attrs)
    if ROUND_PLAN in facts:  # whose other trainings may not have begun
        trainings = facts[ROUND_PLAN]["trainings"]
        trainings = [{**planned, "params": translated(planned["params"])} for planned in trainings]
        facts[ROUND_PLAN] = {**facts[ROUND_PLAN], "trainings": trainings}
    return create_trial(
        state=trial.state if is_finished else TrialState.WAITING,
        values=trial.values if is_finished else None,
        params=params,
        distributions={name: space[name] for name in params},
        user_attrs={FILES_OF: old_id, **facts, WORKER: None},
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )


def copy_note(notes: dict[str, Any], old: optuna.Study, new: optuna.Study, old_id: int, new_id: int) -> None:
    """Copy a trial's note, which the dashboard keeps with the study; note and pictures are found by trial id."""
    body = trial_note(notes, old_id)
    if body:
        body = body.replace(artifact_path(study_id(old), old_id, ""), artifact_path(study_id(new), new_id, ""))
        save_trial_note(new, new_id, body)


def _copy_folder(source: Path, target: Path, is_finished: bool) -> None:
    """Copy a trial's folder; the copy of an unfinished trial continues from it.

    The trial may be running, and replace its files meanwhile: the copy has all files of one evaluation, or none and
    starts again.
    """
    for _ in range(MAX_COPIES):
        shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)
        if is_finished or _is_whole(target):
            break
        delete_run_files(target)
    remove_staged_files(target)


def _is_whole(folder: Path) -> bool:
    """Whether the files are those of the run's record, once pending renames are finished."""
    try:
        record = read_record(folder)
        if record is None or record.is_legacy:
            return True  # no record to compare with; the training starts again, or checks the files itself
        renames = pending_renames(folder, record)
    except UnusableRunError:
        return False
    finish_commit(folder, record, renames)
    return True


def _link(source: str, target: str) -> None:
    """Link a file unless the target exists, or the source was removed meanwhile."""
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        link(Path(source), Path(target))


def check_is_copy(study: optuna.Study, old: str) -> None:
    """Raise UserError when the stored study is not a copy of ``old``, the study named by --from."""
    if study.user_attrs.get(GROWN_FROM) != old:
        raise UserError(
            f"--from makes a new study, and {study.study_name!r} is stored already. Give another --name, or no --from."
        )
