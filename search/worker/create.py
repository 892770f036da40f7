"""The stored study that a command goes on with, or a new one. After the plan: what that refuses leaves nothing."""

from dataclasses import replace

import optuna

from maskcls.images.decode import DECODER
from maskcls.system.console import say
from search.answer.notes import show_study
from search.database.connect import create_study, has_study, load_study
from search.database.reconnecting import ReconnectingStorage
from search.database.study_lock import in_turn
from search.policy.stopping import count_finished
from search.policy.warm_starts import choose_warm_starts
from search.storage.copying import check_grown, check_is_copy, copy_trials, widened
from search.storage.folder import claim, is_in_the_way, make_folder
from search.storage.orphans import requeue_orphaned
from search.study.attributes import GROWN_FROM, QUESTION, STUDY_ID
from search.study.compatibility import check_revision
from search.study.record import KEY, Stored, check_photos, check_same, is_whole, read_search, read_stored
from search.study.versions import changes_since_creation, creation_facts, show_changes
from search.worker.job import Setup
from search.worker.messages import WorkOrder
from search.worker.plan import check_sizes, show_estimate, show_plan


def find_or_make(setup: Setup, storage: ReconnectingStorage, order: WorkOrder) -> None:
    """Show what will be done, then store the study or what has changed of it. Raises UserError when they differ."""
    grown_from = _origin(setup, storage, order)
    study = load_study(storage, setup.name) if is_made(storage, setup.name) else grown_from
    if not is_made(storage, setup.name):
        is_in_the_way(setup.name, storage, setup.runs)  # a folder that cannot be had is said before all work
    finished = count_finished(study.get_trials(deepcopy=False)) if study is not None else 0
    setup.stored = _as_it_will_be(setup, storage, study, order)
    limits = order.asked()
    show_plan(setup, limits, finished, order.workers)
    show_changes(changes_since_creation(study, decoder=DECODER) if study is not None else "")
    check_sizes(setup)
    dataset = setup.dataset(setup.baseline)
    if study is None:
        setup.stored = replace(setup.stored, photos=dataset.content)
    else:
        check_photos(setup.stored, dataset, study.study_name)
    show_estimate(setup, dataset, limits.n_trials - finished, order.workers)
    say()
    in_turn(storage, setup.name, lambda: _store(setup, storage, grown_from))
    orphaned = requeue_orphaned(load_study(storage, setup.name))
    if orphaned:
        say(f"Cut off earlier, and going on from the last evaluation: trial {', '.join(map(str, orphaned))}.")


def _store(setup: Setup, storage: ReconnectingStorage, grown_from: optuna.Study | None) -> None:
    if is_made(storage, setup.name):  # another first command may have got as far
        study = load_study(storage, setup.name)
        claim(study, setup.runs)
        _keep_wider(study, setup)
    else:
        _make(setup, storage, grown_from)


def _origin(setup: Setup, storage: ReconnectingStorage, order: WorkOrder) -> optuna.Study | None:
    """The study to copy; None when none is asked for, or when its copy is made already by this very command."""
    if order.grown_from is None:
        return None
    if is_made(storage, setup.name):
        check_is_copy(load_study(storage, setup.name), order.grown_from)
        return None
    old = load_study(storage, order.grown_from)
    check_grown(read_search(old), setup.stored, old.study_name)
    return old


def is_made(storage: ReconnectingStorage, name: str) -> bool:
    """Whether the study is there with its document; a process killed in between leaves one without."""
    return has_study(storage, name) and is_whole(load_study(storage, name))


def _as_it_will_be(setup: Setup, storage: ReconnectingStorage, study: optuna.Study | None, order: WorkOrder) -> Stored:
    """The document to store: with the warm starts, which are chosen once."""
    wanted = setup.stored
    if study is None:
        n_trials = order.asked().n_trials
        return replace(wanted, warm=() if order.cold else choose_warm_starts(storage, wanted, n_trials))
    stored = read_stored(study)
    check_revision(study, stored)
    if order.cold and stored.warm:
        say("The warm starts were chosen when the study was made; --cold is for a new one.")
    if study.study_name == setup.name:
        check_same(widened(stored, wanted), wanted, study.study_name)
    return replace(wanted, warm=stored.warm, photos=stored.photos)


def _keep_wider(study: optuna.Study, setup: Setup) -> None:
    """Write down what has grown of a stored study."""
    stored = read_stored(study)
    grown = widened(stored, setup.stored)
    check_same(grown, setup.stored, setup.name)
    if grown.to_json() != stored.to_json():
        study.set_user_attr(KEY, grown.to_json())
        say("The study goes on with the wider ranges, the sampler and the pruner of this command.")
        say()


def _make(setup: Setup, storage: ReconnectingStorage, grown_from: optuna.Study | None) -> None:
    """A new study; its document last, so that one that was cut off is made anew."""
    if has_study(storage, setup.name):
        optuna.delete_study(study_name=setup.name, storage=storage)
    origin = {GROWN_FROM: grown_from.study_name if grown_from is not None else None}
    mine = make_folder(setup.name, storage, setup.runs)
    facts = {STUDY_ID: mine, QUESTION: setup.stored.study.question, **creation_facts(decoder=DECODER), **origin}
    study = create_study(storage, setup.name, facts)
    if grown_from is not None:
        copy_trials(grown_from, study, setup.stored.study, setup.runs)
    show_study(study, setup.stored)
    study.set_user_attr(KEY, setup.stored.to_json())
