"""The study of a confirmation: found or chosen, checked before the first training, and stored.

Who is trained again is decided once, by the first command; more repeats may be asked for at any time.
"""

import os
from dataclasses import replace
from pathlib import Path

import optuna

from maskcls.config import change
from maskcls.data.dataset import Table, with_judges
from maskcls.system.console import say
from maskcls.system.errors import UserError
from maskcls.system.files import MAX_BYTES
from search.answer.notes import show_study
from search.answer.status import runs_of
from search.database.connect import create_study, has_study, load_study
from search.database.reconnecting import ReconnectingStorage
from search.database.study_lock import in_turn
from search.policy.confirmation import SUFFIX, Plan
from search.policy.finalists import choose_finalists
from search.storage.folder import claim, make_folder
from search.storage.orphans import requeue_orphaned
from search.storage.pairs import confirmation_of
from search.study.attributes import CONFIRMED_ID, QUESTION, STUDY_ID, id_of
from search.study.record import KEY, Stored, is_fully_created, read_stored
from search.study.versions import creation_facts
from search.system.shell import quoted


def find(storage: ReconnectingStorage, of: str) -> optuna.Study | None:
    """The confirmation of the study stored as ``of``; None while it has none.

    Raises UserError when the confirmation's name is taken, or too long for a folder.
    """
    confirmation = confirmation_of(load_study(storage, of))
    if confirmation is not None:
        return confirmation
    name = of + SUFFIX
    size = len(os.fsencode(name))
    if size > MAX_BYTES:
        raise UserError(
            f"The confirmation would be stored as {name!r}, and {size} bytes are too many for a folder's name (at most"
            f" {MAX_BYTES}). Copy the study under a shorter name (search.run --name NEW --from OLD) and confirm that."
        )
    if not has_study(storage, name) or not is_fully_created(load_study(storage, name)):
        return None
    remedy = f"remove it by `python -m search.delete --study {quoted(name)}`."
    if read_stored(load_study(storage, name)).confirmation is None:
        raise UserError(f"A confirmation of {of!r} is stored as {name!r}, and there is a search of that name; {remedy}")
    raise UserError(f"{name!r} confirms an earlier study of this name; {remedy}")


def document(
    searched: optuna.Study, stored: Stored, confirmation: optuna.Study | None, top: int, repeats: int
) -> Stored:
    """The document of the confirmation's study: as stored, once there is one; else with the finalists of now.

    ``stored``: the search's own. Raises UserError while the search runs, and when it was made anew meanwhile.
    """
    if confirmation is None:
        _check_has_ended(searched)
        finalists = choose_finalists(searched.get_trials(deepcopy=False), stored, top, searched.study_name)
        plan = Plan(searched.study_name, finalists, top, repeats)
        study = replace(stored.study, fixed={**stored.study.fixed, "keep": "last"}, is_stored=True)
        return replace(stored, study=study, warm=(), confirmation=plan.to_json())
    begun = read_stored(confirmation)
    _check_same_search(begun, stored, confirmation.study_name)
    plan = Plan.of_document(begun)
    if plan.top != top:
        say(
            f"The finalists were chosen by the first command and stay (--top {plan.top}); to choose anew,"
            f" `python -m search.delete --study {quoted(confirmation.study_name)}` first."
        )
    plan = replace(plan, of=searched.study_name, repeats=max(repeats, plan.repeats))  # it may have been renamed
    return replace(begun, confirmation=plan.to_json())


def _check_has_ended(searched: optuna.Study) -> None:
    """Raise UserError while trials of the search run."""
    alive = [run for run in runs_of(searched, searched.get_trials(deepcopy=False)) if not run.gone]
    if alive:
        raise UserError(
            f"Study {searched.study_name!r} is running (trial {alive[0].trial} on {alive[0].host}, process"
            f" {alive[0].pid}), so its finalists are not known yet; let it end, or stop it by Ctrl-C."
        )


def _check_same_search(begun: Stored, stored: Stored, name: str) -> None:
    """Raise UserError when the study was made anew since its confirmation began."""
    fixed = {**stored.study.fixed, "keep": "last"}
    if (begun.split, begun.weights, begun.seed, begun.study.fixed) != (
        stored.split,
        stored.weights,
        stored.seed,
        {**begun.study.fixed, **fixed},
    ):
        raise UserError(
            f"{name!r} confirms an earlier study of this name, with other photos, weights, seed or fixed knobs;"
            f" remove it by `python -m search.delete --study {quoted(name)}`."
        )


def check_repeats(table: Table, stored: Stored, repeats: int) -> list[Table]:
    """Each repeat's table. Raises UserError for photos that are not the study's, or too few people to judge."""
    config = stored.baseline_config
    if config.judge_round:
        raise UserError(
            f"The study was run with judge_round={config.judge_round}, so its validation people are the judges of a"
            " confirmation; only a study with judge_round=0 can be confirmed."
        )
    if table.hash != stored.split:
        raise UserError(
            f"The photos in {table.folder} are not those of the study: the split is {stored.split} there and"
            f" {table.hash} here. Say where they are by --data."
        )
    tables = []
    for number in range(1, repeats + 1):
        try:
            tables.append(with_judges(table, change(config, judge_round=number)))
        except UserError as error:
            raise UserError(f"Repeat {number} cannot be judged by the search's training people: {error}") from None
    return tables


def store(storage: ReconnectingStorage, document: Stored, runs: Path) -> optuna.Study:
    """The confirmation's study, new or with what it is to have from now on; its orphaned trials back in the queue."""
    of = Plan.of_document(document).of
    confirmation = find(storage, of)
    name = of + SUFFIX if confirmation is None else confirmation.study_name

    def decide() -> None:
        confirmation = find(storage, of)  # another first command may have got as far
        if confirmation is not None:
            claim(confirmation, runs)
            _add_repeats(confirmation, document)
        else:
            _create(storage, name, document, runs)

    in_turn(storage, name, decide)
    study = load_study(storage, name)
    orphaned = requeue_orphaned(study)
    if orphaned:
        say(f"Cut off earlier, and going on from the last evaluation: trial {', '.join(map(str, orphaned))}.")
    return study


def _add_repeats(study: optuna.Study, document: Stored) -> None:
    """The finalists stay, whichever command chose them; the repeats only grow."""
    begun = read_stored(study)
    plan, asked = Plan.of_document(begun), Plan.of_document(document)
    if asked.repeats > plan.repeats or asked.of != plan.of:
        more = replace(plan, of=asked.of, repeats=max(plan.repeats, asked.repeats)).to_json()
        study.set_user_attr(KEY, replace(begun, confirmation=more).to_json())


def _create(storage: ReconnectingStorage, name: str, document: Stored, runs: Path) -> None:
    """A new study; its document last, so that one that was cut off is made anew."""
    if has_study(storage, name):
        optuna.delete_study(study_name=name, storage=storage)
    study_id = make_folder(name, storage, runs)
    facts = {STUDY_ID: study_id, QUESTION: document.study.question, **creation_facts()}
    searched_id = id_of(load_study(storage, Plan.of_document(document).of))
    study = create_study(storage, name, facts if searched_id is None else {**facts, CONFIRMED_ID: searched_id})
    show_study(study, document)
    study.set_user_attr(KEY, document.to_json())
