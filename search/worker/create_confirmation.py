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
from search.study.record import KEY, Stored, is_whole, read_stored
from search.study.versions import creation_facts
from search.system.shell import quoted


def find(storage: ReconnectingStorage, of: str) -> optuna.Study | None:
    """The confirmation of a stored study; None while it has none. Raises UserError when its name is taken."""
    found = confirmation_of(load_study(storage, of))
    if found is not None:
        return found
    name = of + SUFFIX
    size = len(os.fsencode(name))
    if size > MAX_BYTES:
        raise UserError(
            f"The confirmation would be stored as {name!r}, and {size} bytes are too many for a folder's name (at most"
            f" {MAX_BYTES}). Copy the study under a shorter name (search.run --name NEW --from OLD) and confirm that."
        )
    if not has_study(storage, name) or not is_whole(load_study(storage, name)):
        return None
    remedy = f"remove it by `python -m search.delete --study {quoted(name)}`."
    if read_stored(load_study(storage, name)).confirmation is None:
        raise UserError(f"A confirmation of {of!r} is stored as {name!r}, and there is a search of that name; {remedy}")
    raise UserError(f"{name!r} confirms an earlier study of this name; {remedy}")


def document(searched: optuna.Study, stored: Stored, there: optuna.Study | None, top: int, repeats: int) -> Stored:
    """What the confirmation's study is to have: as stored, once there is one; else with the finalists of now."""
    if there is None:
        _check_nobody_searches(searched)
        finalists = choose_finalists(searched.get_trials(deepcopy=False), stored, top, searched.study_name)
        plan = Plan(searched.study_name, finalists, top, repeats)
        study = replace(stored.study, fixed={**stored.study.fixed, "keep": "last"}, is_stored=True)
        return replace(stored, study=study, warm=(), confirmation=plan.to_json())
    begun = read_stored(there)
    _check_same_search(begun, stored, there.study_name)
    plan = Plan.of_document(begun)
    if plan.top != top:
        say(
            f"The finalists were chosen by the first command and stay (--top {plan.top}); to choose anew,"
            f" `python -m search.delete --study {quoted(there.study_name)}` first."
        )
    plan = replace(plan, of=searched.study_name, repeats=max(repeats, plan.repeats))  # it may have been renamed
    return replace(begun, confirmation=plan.to_json())


def _check_nobody_searches(searched: optuna.Study) -> None:
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


def store(storage: ReconnectingStorage, wanted: Stored, runs: Path) -> optuna.Study:
    """The confirmation's study, new or with what it is to have from now on; its orphaned trials back in the queue."""
    of = Plan.of_document(wanted).of
    there = find(storage, of)
    name = of + SUFFIX if there is None else there.study_name

    def decide() -> None:
        there = find(storage, of)  # another first command may have got as far
        if there is not None:
            claim(there, runs)
            _update(there, wanted)
        else:
            _make(storage, name, wanted, runs)

    in_turn(storage, name, decide)
    study = load_study(storage, name)
    orphaned = requeue_orphaned(study)
    if orphaned:
        say(f"Cut off earlier, and going on from the last evaluation: trial {', '.join(map(str, orphaned))}.")
    return study


def _update(study: optuna.Study, wanted: Stored) -> None:
    """The finalists stay, whoever chose them; the repeats only grow."""
    begun = read_stored(study)
    plan, asked = Plan.of_document(begun), Plan.of_document(wanted)
    if asked.repeats > plan.repeats or asked.of != plan.of:
        more = replace(plan, of=asked.of, repeats=max(plan.repeats, asked.repeats)).to_json()
        study.set_user_attr(KEY, replace(begun, confirmation=more).to_json())


def _make(storage: ReconnectingStorage, name: str, wanted: Stored, runs: Path) -> None:
    if has_study(storage, name):  # cut off before it had its document
        optuna.delete_study(study_name=name, storage=storage)
    mine = make_folder(name, storage, runs)
    facts = {STUDY_ID: mine, QUESTION: wanted.study.question, **creation_facts()}
    searched = id_of(load_study(storage, Plan.of_document(wanted).of))
    study = create_study(storage, name, facts if searched is None else {**facts, CONFIRMED_ID: searched})
    show_study(study, wanted)
    study.set_user_attr(KEY, wanted.to_json())
