"""The rule that an SQLite file is worked on by one machine at a time, held before a command begins any work on it."""

import optuna
from optuna.trial import TrialState

from search.database.connect import is_sqlite, load_study, may_exist, open_to_read
from search.database.read_only import NoStudiesError
from search.storage.orphans import check_one_machine


def check_no_other_machine(url: str) -> None:
    """Raise UserError when another machine runs a trial of any study in this SQLite file, whichever study this command
    is about: the two would write into one file. For a server's URL nothing is opened.

    A worker asks again before each trial, of its own study (search.storage.queue).
    """
    if not is_sqlite(url) or not may_exist(url):
        return
    try:
        storage = open_to_read(url)
    except NoStudiesError:
        return
    try:
        for name in optuna.get_all_study_names(storage):
            study = load_study(storage, name)
            check_one_machine(study, study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    finally:
        storage.engine.dispose()
