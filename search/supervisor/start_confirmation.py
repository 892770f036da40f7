"""What search.confirm does: finalists are chosen and stored, and workers train them again with other seeds."""

from dataclasses import replace

from maskcls.data.dataset import prepare_data_folder, read_table
from maskcls.system.console import say
from maskcls.system.paths import absolute_if_path
from search.database.connect import load_study, open_storage
from search.policy.confirmation import Plan
from search.policy.stopping import StoppingCriteria, count_finished
from search.study.locations import photos_now
from search.study.names import folder_in
from search.study.record import Stored, read_search, read_stored
from search.study.versions import changes_since_creation, show_changes
from search.supervisor.launch import Launch
from search.supervisor.pool import WorkerPool
from search.supervisor.supervisor import Supervisor
from search.terminal.confirmation import show_confirmation_plan, show_confirmation_summary, show_confirmation_work
from search.worker.create_confirmation import check_repeats, document, find, store


def confirm_study(name: str, top: int, repeats: int, data: str | None, weights: str | None, launch: Launch) -> int:
    """Train ``top`` finalists of a stored study and its baseline again, ``repeats`` times; returns the exit status.

    ``data`` and ``weights``: where they are now; None: where they were. Raises UserError for a study that cannot be
    confirmed, and for options that cannot be.
    """
    storage = open_storage(launch.url, create=False)
    searched = load_study(storage, name)
    folder_in(launch.runs, name)  # beside which the trainings' files are to be
    stored = read_search(searched)
    existing = find(storage, name)
    wanted = document(searched, stored, existing, top, repeats)
    n_trials = len(Plan.of_document(wanted).finalists) * repeats
    if existing is not None and count_finished(existing.get_trials(deepcopy=False)) >= n_trials:
        say(f"Study {existing.study_name} has its {n_trials} trainings already.")
        show_confirmation_summary(existing, wanted, launch.runs, launch.storage)
        return 0
    # auto may find today what it did not find then
    had = "scratch" if stored.weights["source"] == "scratch" else stored.weights_option
    wanted = replace(
        wanted, data=photos_now(stored, name, data), weights_option=absolute_if_path(weights) if weights else had
    )
    with launch.make_pool(n_trials) as pool:
        return _train(pool, wanted, repeats, launch)


def _train(pool: WorkerPool, wanted: Stored, repeats: int, launch: Launch) -> int:
    """Check and show what will be done, store it, and have the workers do it; they load torch meanwhile."""
    pool.start(pool.slots[0])
    pool.start_others()
    config = wanted.config(dict(wanted.study.baseline))
    table = read_table(prepare_data_folder(wanted.data, launch.runs), config, wanted.label_fixes)
    rounds = check_repeats(table, wanted, repeats)
    storage = open_storage(launch.url, create=False, waits=True)
    study = store(storage, wanted, launch.runs)
    # another first command may have chosen the finalists
    wanted = replace(wanted, confirmation=read_stored(study).confirmation)
    plan = Plan.of_document(wanted)
    n_trials = len(plan.finalists) * repeats
    show_confirmation_plan(plan, wanted, table, rounds)
    searched = load_study(storage, plan.of)
    show_changes(changes_since_creation(searched))
    finished = count_finished(study.get_trials(deepcopy=False))
    show_confirmation_work(plan, wanted, n_trials, len(pool.slots), finished, searched.get_trials(deepcopy=False))
    limits = StoppingCriteria(n_trials)
    order = launch.make_order(pool.slots, study.study_name, wanted, limits, plan=False, cold=True)
    return Supervisor(pool, order, launch.timeout, launch.storage, summary=show_confirmation_summary).run()
