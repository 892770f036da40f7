"""The stored study that a command goes on with, or a new one. After the plan: what that refuses leaves nothing."""

from dataclasses import replace

import optuna
from optuna.storages import RDBStorage

from maskcls.cli import say
from maskcls.provenance import commit, versions
from search import warm_starts
from search.grow import check_grown, check_name_is_new, copy_trials, widened
from search.limits import count_finished
from search.notes import show_study
from search.objective import Setup
from search.orders import Order
from search.plan import show_estimate, show_plan
from search.storage import create_study, exclusive, has_study, load_study
from search.stored import KEY, Stored, check_same, read_stored
from search.trials import requeue_lost


def find_or_make(setup: Setup, storage: RDBStorage, order: Order) -> None:
    """Show what will be done, then store the study or what has changed of it. Raises UserError when they differ."""
    grown_from = load_study(storage, order.grown_from) if order.grown_from else None
    if grown_from is not None:
        check_name_is_new(setup.name, has_study(storage, setup.name))
        check_grown(read_stored(grown_from), setup.stored, grown_from.study_name)
    study = load_study(storage, setup.name) if is_born(storage, setup.name) else grown_from
    finished = count_finished(study.get_trials(deepcopy=False)) if study is not None else 0
    setup.stored = _as_it_will_be(setup.stored, storage, study, order)
    limits = order.asked()
    show_plan(setup, limits, finished, order.workers)
    show_estimate(setup, setup.dataset(setup.baseline), limits.n_trials - finished, order.workers)
    say()
    with exclusive(storage, setup.name):  # another first command may have got as far
        if not is_born(storage, setup.name):
            _store(setup.stored, storage, setup.name)
            if grown_from is not None:
                copy_trials(grown_from, load_study(storage, setup.name), setup.stored.study, setup.runs)
        else:
            _keep_wider(load_study(storage, setup.name), setup)
    lost = requeue_lost(load_study(storage, setup.name))
    if lost:
        say(f"Cut off earlier, and going on from the last evaluation: trial {', '.join(map(str, lost))}.")


def is_born(storage: RDBStorage, name: str) -> bool:
    """Whether the study is stored with its document; a process killed in between left a name without one."""
    if not has_study(storage, name):
        return False
    study = load_study(storage, name)
    return KEY in study.user_attrs or bool(study.get_trials(deepcopy=False))


def _as_it_will_be(wanted: Stored, storage: RDBStorage, study: optuna.Study | None, order: Order) -> Stored:
    """The document to store: with the warm starts, which are chosen once."""
    if study is None:
        return replace(wanted, warm=() if order.cold else warm_starts.choose(storage, wanted, order.asked().n_trials))
    stored = read_stored(study)
    if order.grown_from is None:
        check_same(widened(stored, wanted), wanted, study.study_name)
    return replace(wanted, warm=stored.warm)


def _keep_wider(study: optuna.Study, setup: Setup) -> None:
    """Write down what has grown of a stored study."""
    stored = read_stored(study)
    grown = widened(stored, setup.stored)
    check_same(grown, setup.stored, setup.name)
    if grown.to_json() != stored.to_json():
        study.set_user_attr(KEY, grown.to_json())
        say("The study goes on with the wider ranges, the sampler and the pruner of this command.")
        say()


def _store(stored: Stored, storage: RDBStorage, name: str) -> None:
    facts = {
        KEY: stored.to_json(),
        "question": stored.study.question,
        "commit": commit(),
        "versions": versions(),
    }
    if has_study(storage, name):
        study = load_study(storage, name)
        for key, value in facts.items():
            study.set_user_attr(key, value)
    else:
        study = create_study(storage, name, facts)
    show_study(study, stored)
