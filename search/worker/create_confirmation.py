"""Creates the study of a confirmation or updates the stored one, once its finalists are chosen and checked.

The first command chooses the finalists for good; later ones may add repeats.
"""

import os
from dataclasses import replace
from pathlib import Path

import optuna

from maskcls.config import change
from maskcls.data.dataset import Table, with_judges
from maskcls.system.console import say
from maskcls.system.errors import UserError, listed
from maskcls.system.files import MAX_BYTES
from search.database.connect import create_study, has_study, load_study, place_of
from search.database.reconnecting import ReconnectingStorage
from search.database.study_lock import in_turn
from search.findings.notes import show_study
from search.findings.status import runs_of
from search.policy.confirmation import SUFFIX, TEAM_SUFFIX, Plan
from search.policy.finalists import choose_finalists
from search.storage.folder import claim, make_folder
from search.storage.orphans import requeue_orphaned
from search.storage.pairs import confirmation_of
from search.study.attributes import CONFIRMED_ID, QUESTION, STUDY_ID, id_of
from search.study.record import KEY, Stored, is_fully_created, read_stored
from search.study.versions import creation_facts
from search.system.shell import quoted


def find_confirmation(
    storage: ReconnectingStorage, of: str, team: bool = False, place: str = ""
) -> optuna.Study | None:
    """The confirmation of the study stored as ``of``, or of a ``team`` of its models; None while it has none.

    ``place``, here and below: the options of a printed command that say where the study is (connect.place_of).
    Raises UserError when the confirmation's name is taken, or too long for a folder.
    """
    confirmation = confirmation_of(load_study(storage, of), team)
    if confirmation is not None:
        return confirmation
    name = of + (TEAM_SUFFIX if team else SUFFIX)
    size = len(os.fsencode(name))
    if size > MAX_BYTES:
        raise UserError(
            f"The confirmation would be stored as {name!r}, and {size} bytes are too many for a folder's name (at most"
            f" {MAX_BYTES}). Copy the study under a shorter name (search.run --name NEW --from OLD) and confirm that."
        )
    if not has_study(storage, name) or not is_fully_created(load_study(storage, name)):
        return None
    remedy = f"remove it with {_removal(name, place)}."
    if read_stored(load_study(storage, name)).confirmation is None:
        raise UserError(f"The confirmation of {of!r} needs the name {name!r}, which a search has; {remedy}")
    raise UserError(f"{name!r} confirms an earlier study of this name; {remedy}")


def _removal(name: str, place: str) -> str:
    """The command that removes the confirmation stored as ``name``."""
    return f"`python -m search.delete --study {quoted(name)}{place}`"


def make_document(
    searched: optuna.Study,
    stored: Stored,
    confirmation: optuna.Study | None,
    top: int,
    repeats: int,
    place: str = "",
) -> Stored:
    """The document of the confirmation: with the finalists of the stored one, or the present ones for a new one.

    ``stored``: the search's own. Raises UserError while the search runs, and when it has been created anew since.
    """
    if confirmation is None:
        _check_has_ended(searched)
        finalists = choose_finalists(searched.get_trials(deepcopy=False), stored, top, searched.study_name)
        return _new_document(stored, Plan(searched.study_name, finalists, top, repeats))
    existing = read_stored(confirmation)
    _check_same_search(existing, stored, confirmation.study_name, place)
    plan = Plan.of_document(existing)
    if plan.top != top:
        say(
            f"The finalists stay those of the first command (--top {plan.top}); to choose new ones, run"
            f" {_removal(confirmation.study_name, place)} first."
        )
    # the search may have been renamed
    plan = replace(plan, of=searched.study_name, repeats=max(repeats, plan.repeats))
    return replace(existing, confirmation=plan.to_json())


def make_team_document(
    searched: optuna.Study, stored: Stored, confirmation: optuna.Study | None, requested: Plan, place: str = ""
) -> Stored:
    """The document of the confirmation of a team, new or with the repeats of the stored one if these are more.

    ``stored``: the search's own. Raises UserError when the stored confirmation is of another team, and when the search
    has been created anew since.
    """
    if confirmation is None:
        return _new_document(stored, requested)
    existing, name = read_stored(confirmation), confirmation.study_name
    _check_same_search(existing, stored, name, place)
    plan = Plan.of_document(existing)
    _check_same_team(plan, requested, name, place)
    plan = replace(plan, of=requested.of, repeats=max(plan.repeats, requested.repeats))
    return replace(existing, confirmation=plan.to_json())


def _check_same_team(plan: Plan, requested: Plan, name: str, place: str) -> None:
    """Raise UserError when the confirmation stored as ``name`` is of another team than is requested."""
    if (plan.finalists, plan.weights) != (requested.finalists, requested.weights):
        raise UserError(
            f"{name!r} confirms another team, of {_team_words(plan)}, and the file has one of {_team_words(requested)};"
            f" give its file, or remove it by {_removal(name, place)}."
        )


def _team_words(plan: Plan) -> str:
    """``trial 7 (weight 2) and trial 3 (weight 1), beside trial 7``: in full, as teams may differ in a weight alone."""
    members = zip(plan.finalists, plan.weights, strict=True)
    named = [f"{finalist.name} (weight {weight:g})" for finalist, weight in members if weight]
    return f"{listed(named)}, beside {plan.finalists[0].name}"


def _new_document(stored: Stored, plan: Plan) -> Stored:
    """The document of a new confirmation of the search ``stored``: each training is judged at its last evaluation."""
    study = replace(stored.study, fixed={**stored.study.fixed, "keep": "last"}, is_stored=True)
    return replace(stored, study=study, warm=(), confirmation=plan.to_json())


def _check_has_ended(searched: optuna.Study) -> None:
    """Raise UserError while trials of the search run."""
    running = [run for run in runs_of(searched, searched.get_trials(deepcopy=False)) if not run.gone]
    if running:
        raise UserError(
            f"Study {searched.study_name!r} is running (trial {running[0].trial} on {running[0].host}, process"
            f" {running[0].pid}), so its finalists are not known yet; let it finish, or stop it with Ctrl-C."
        )


def _check_same_search(confirmation: Stored, searched: Stored, name: str, place: str) -> None:
    """Raise UserError when the search has been created anew since its confirmation, stored as ``name``, began."""
    fixed = {**confirmation.study.fixed, **searched.study.fixed, "keep": "last"}
    expected = searched.split, searched.weights, searched.seed, fixed
    if (confirmation.split, confirmation.weights, confirmation.seed, confirmation.study.fixed) != expected:
        raise UserError(
            f"{name!r} confirms an earlier study of this name, with other photos, weights, seed or fixed"
            f" hyperparameters; remove it with {_removal(name, place)}."
        )


def check_repeats(table: Table, stored: Stored, repeats: int) -> list[Table]:
    """The table of each repeat. Raises UserError for other photos than the study's, and for too few to judge."""
    config = stored.baseline_config
    if config.judge_round:
        raise UserError(
            f"The study was run with judge_round={config.judge_round}, so its validation {stored.task.unit.many} are"
            " the judges of a confirmation; only a study with judge_round=0 can be confirmed."
        )
    if table.hash != stored.split:
        raise UserError(
            f"The photos in {table.folder} are not those of the study: their split is {table.hash}, not {stored.split}."
            " Give the study's photos with --data."
        )
    tables = []
    for number in range(1, repeats + 1):
        try:
            tables.append(with_judges(table, change(config, judge_round=number)))
        except UserError as error:
            many = stored.task.unit.many
            raise UserError(f"Repeat {number} cannot be judged by the search's training {many}: {error}") from None
    return tables


def store_confirmation(storage: ReconnectingStorage, document: Stored, runs: Path) -> optuna.Study:
    """Create or update the confirmation and requeue its orphaned trials; returns its study."""
    plan, place = Plan.of_document(document), place_of(storage.url, runs)
    confirmation = find_confirmation(storage, plan.of, plan.is_team, place)
    name = plan.of + plan.suffix if confirmation is None else confirmation.study_name

    def decide() -> None:
        # maybe created by another command meanwhile
        confirmation = find_confirmation(storage, plan.of, plan.is_team, place)
        if confirmation is not None:
            claim(confirmation, runs)
            _add_repeats(confirmation, document, place)
        else:
            _create(storage, name, document, runs)

    in_turn(storage, name, decide)
    study = load_study(storage, name)
    if orphaned := requeue_orphaned(study):
        say(f"Interrupted earlier, continuing from the last evaluation: trial {', '.join(map(str, orphaned))}.")
    return study


def _add_repeats(study: optuna.Study, document: Stored, place: str) -> None:
    """Store the document's repeats when they are more, and the search's present name; the finalists stay.

    Raises UserError when another command has stored another team meanwhile.
    """
    existing = read_stored(study)
    plan, requested = Plan.of_document(existing), Plan.of_document(document)
    if requested.is_team:
        _check_same_team(plan, requested, study.study_name, place)
    if requested.repeats > plan.repeats or requested.of != plan.of:
        plan = replace(plan, of=requested.of, repeats=max(plan.repeats, requested.repeats))
        study.set_user_attr(KEY, replace(existing, confirmation=plan.to_json()).to_json())


def _create(storage: ReconnectingStorage, name: str, document: Stored, runs: Path) -> None:
    """Create the study, its document last, so that an incomplete one is created anew."""
    if has_study(storage, name):
        optuna.delete_study(study_name=name, storage=storage)
    study_id = make_folder(name, storage, runs)
    facts = {STUDY_ID: study_id, QUESTION: document.study.question, **creation_facts()}
    searched_id = id_of(load_study(storage, Plan.of_document(document).of))
    facts = facts if searched_id is None else {**facts, CONFIRMED_ID: searched_id}
    study = create_study(storage, name, facts, document.task.metric_words)
    show_study(study, document)
    study.set_user_attr(KEY, document.to_json())
