"""The rule that an SQLite file is worked on by one machine at a time, held before a command begins any work on it."""

from contextlib import suppress

from optuna.trial import TrialState

from search.database.connect import is_sqlite, may_exist, open_to_read
from search.database.optuna_internals import study_id
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
        for study in storage.get_all_studies():
            with suppress(KeyError):  # somebody has deleted it since
                trials = storage.get_all_trials(study_id(study), deepcopy=False, states=(TrialState.RUNNING,))
                check_one_machine(storage, study_id(study), study.study_name, trials)
    finally:
        storage.engine.dispose()
