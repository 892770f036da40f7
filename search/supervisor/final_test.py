"""The end of search.confirm where the data holds photos back for a test: the recommended trial is scored on them, once.

No torch until then, as it takes seconds to load.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna

from maskcls.data.dataset import Table
from maskcls.system.console import say
from maskcls.system.errors import UserError
from search.files.place import files_of
from search.findings.final_test import sentences_of_test
from search.findings.recipe import find_recipe
from search.policy.rounds import exemplar_of
from search.storage.final_test import FinalTest, read_test
from search.storage.folder import study_folder
from search.storage.retention import holds_weights, trial_folder
from search.study.record import Stored
from search.supervisor.launch import Launch
from search.system.shell import place_options, quoted
from search.terminal.photos import size_of_test


def show_test_plan(study: optuna.Study, table: Table, keep: bool) -> None:
    """Print what the command will do with the test; nothing for data that holds no photos back.

    ``keep``: as in show_test.
    """
    found, size = read_test(study), size_of_test(table)
    if not size:
        return
    if found is not None:
        say(f"Test: spent on trial {found.trial}; nothing is scored again.")
    elif keep:
        say(f"Test: the {size} stay unseen (--keep-test).")
    else:
        say(
            f"Test: the {size} are scored, once, when all is decided or these rounds are done; --keep-test leaves"
            " them unseen."
        )


def show_unscored(study: optuna.Study, table: Table) -> None:
    """Print that the rounds were not done, so that the test was not scored; nothing where there is none to score."""
    if (size := size_of_test(table)) and read_test(study) is None:
        say(f"The test was not scored, and is not spent: the {size} wait for the end of the rounds.")


def show_test(study: optuna.Study, stored: Stored, launch: Launch, read: Callable[[], Table], keep: bool) -> None:
    """Score the test unless it is spent, and print what came of it, or in one sentence why it is not scored.

    Nothing for data that holds no photos back. The recommended trial is what search.export writes. ``read``: the
    study's photos; ``keep``: whether the command was told to leave the test unseen (--keep-test).
    """
    if stored.task.source.reader == "mask" or read_test(study) is not None:
        return
    try:
        table = read()
    except UserError as error:
        say(f"Photos held back for a test, if there are any, were not scored: {error}")
        return
    if keep:
        if size := size_of_test(table):
            say(
                f"The test was not scored, and is not spent: --keep-test keeps the {size}. search.confirm without it"
                " scores them."
            )
        return
    try:
        found = _find_test(study, stored, launch, table)
    except UserError as error:
        say(f"The test was not scored, and is not spent: {error}")
        return
    if found is not None:
        say(sentences_of_test(found, stored.task))


def _find_test(study: optuna.Study, stored: Stored, launch: Launch, table: Table) -> FinalTest | None:
    """The test's result; None for data without one. Raises UserError where it cannot be scored now."""
    if table.test is None:
        return None
    if table.hash != stored.split:
        raise UserError("The photos, their labels or their sides have changed. Give --data the study's photos.")
    recipe, folder = find_recipe(study, None, launch.runs), study_folder(study, launch.runs)
    trial, trials = recipe.trial.number, study.get_trials(deepcopy=False)
    if not holds_weights(trials[trial], folder):
        # an earlier version, or another machine, may have kept the weights of another training of the recipe
        side = () if recipe.side is None else recipe.side.trials
        kept = exemplar_of(trials[number] for number in side if holds_weights(trials[number], folder))
        if kept is None:
            raise UserError(_how_to_get(study, trial, trial_folder(folder, trial), launch))
        trial = kept.number
    home = trial_folder(folder, trial)
    device = _device(launch)
    say(f"Scoring trial {trial} on the {len(table.test):,} photos held back for a test ...")
    from search.worker.final_test import try_on_test

    return try_on_test(study, stored, trial, home, table, device, launch.cache or launch.runs / "cache")


def _how_to_get(study: optuna.Study, trial: int, home: Path, launch: Launch) -> str:
    """Why there are no weights, and how to score the trial without them."""
    where, name = place_options(launch.runs, launch.storage), study.study_name
    files = files_of(study.get_trials(deepcopy=False)[trial])
    ran = "" if files is None else f"; it ran in {files.place}"
    return (
        f"the weights of trial {trial} are not in {home}{ran}. Put them back there, or train them again by"
        f" `python -m search.export --study {quoted(name)} -o best.toml{where}` and the command that it prints;"
        " maskcls.evaluate --people test then scores them."
    )


def _device(launch: Launch) -> str:
    """torch's name of the device of a first worker of this command, which alone this process then sees."""
    slot = replace(launch, workers=None).make_pool(1).slots[0]
    if slot.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.visible
    return slot.device
