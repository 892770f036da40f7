"""Creates the study of a command or updates the stored one, after the plan: a refused plan stores nothing."""

from dataclasses import replace

import optuna

from maskcls.images.decode import DECODER
from maskcls.system.console import say
from search.database.connect import create_study, has_study, load_study
from search.database.reconnecting import ReconnectingStorage
from search.database.study_lock import in_turn
from search.files.table import check_may_copy
from search.findings.notes import show_study
from search.policy.stopping import StoppingCriteria, count_finished
from search.policy.warm_starts import choose_warm_starts
from search.storage.copying import check_can_grow, check_is_copy, copy_trials, widened
from search.storage.final_test import read_test
from search.storage.folder import claim, has_deleted_study, make_folder
from search.storage.looks import closed_levels
from search.storage.orphans import requeue_orphaned
from search.study.attributes import GROWN_FROM, LIMITS, QUESTION, STUDY_ID
from search.study.compatibility import check_is_here, check_revision
from search.study.record import KEY, Stored, check_photos, check_same, is_fully_created, read_search, read_stored
from search.study.versions import changes_since_creation, creation_facts, show_changes
from search.worker.estimate import check_sizes, show_estimate
from search.worker.job import Setup
from search.worker.messages import WorkOrder
from search.worker.plan import show_duplicates, show_plan


def find_or_create(setup: Setup, storage: ReconnectingStorage, order: WorkOrder) -> None:
    """Show the plan, then store the study or what has changed of it.

    ``setup.stored`` becomes the document to store. Raises UserError when the stored study is not the requested one, and
    for a model that cannot be built.
    """
    source = _study_to_copy(setup, storage, order)
    exists = is_stored(storage, setup.name)
    study = load_study(storage, setup.name) if exists else source
    if not exists:
        has_deleted_study(setup.name, storage, setup.runs)  # raises UserError before any work, not after it
    trials = study.get_trials(deepcopy=False) if study is not None else []
    setup.stored = _document_to_store(setup, storage, study, order)
    closed = closed_levels(study, order.limits.own_best) if study is not None else ()
    show_plan(setup, order.limits, order.workers, trials, closed, _of_test(study if exists else None, order))
    show_changes(changes_since_creation(study, decoder=DECODER) if study is not None else "")
    check_sizes(setup)
    dataset = setup.dataset(setup.baseline)
    if study is None:
        setup.stored = replace(setup.stored, photos=dataset.seen)
    else:
        check_photos(setup.stored, dataset, study.study_name)
    show_duplicates(dataset)
    show_estimate(setup, dataset, order.limits.n_trials - count_finished(trials), order.workers, order.sharers)
    say()
    in_turn(storage, setup.name, lambda: _store(setup, storage, source, order.limits))
    if orphaned := requeue_orphaned(load_study(storage, setup.name)):
        say(f"Interrupted earlier, continuing from the last evaluation: trial {', '.join(map(str, orphaned))}.")


def _of_test(study: optuna.Study | None, order: WorkOrder) -> str:
    """What becomes of photos held back for a test, for the plan; search.confirm says it before its plan."""
    if order.confirms:
        return ""
    found = read_test(study) if study is not None else None
    return "; search.confirm scores them once, at last" if found is None else f"; spent on trial {found.trial}"


def _store(setup: Setup, storage: ReconnectingStorage, source: optuna.Study | None, limits: StoppingCriteria) -> None:
    """Create or update the study, under its lock; a new one begins as a copy of ``source``."""
    if is_stored(storage, setup.name):  # maybe by another command meanwhile
        study = load_study(storage, setup.name)
        claim(study, setup.runs)
        _widen(study, setup)
        study.set_user_attr(LIMITS, limits.to_json())
    else:
        _create(setup, storage, source, limits)


def _study_to_copy(setup: Setup, storage: ReconnectingStorage, order: WorkOrder) -> optuna.Study | None:
    """The study of --from; None without that option, or when this command has made the copy already."""
    if order.copy_of is None:
        return None
    if is_stored(storage, setup.name):
        check_is_copy(load_study(storage, setup.name), order.copy_of)
        return None
    source = load_study(storage, order.copy_of)
    check_can_grow(read_search(source), setup.stored, source.study_name)
    check_may_copy(storage)
    return source


def is_stored(storage: ReconnectingStorage, name: str) -> bool:
    """Whether the study is stored with its document; a process killed while it creates a study leaves none."""
    return has_study(storage, name) and is_fully_created(load_study(storage, name))


def _document_to_store(
    setup: Setup, storage: ReconnectingStorage, study: optuna.Study | None, order: WorkOrder
) -> Stored:
    """The requested document, with the warm starts and photos of the study that the command continues or copies.

    Warm starts are chosen for new studies only. Raises UserError when the stored study is not the requested one.
    """
    document = setup.stored
    if study is None:
        n_trials = order.limits.n_trials
        return replace(document, warm=() if order.cold else choose_warm_starts(storage, document, n_trials))
    stored = read_stored(study)
    if study.study_name == setup.name:
        check_is_here(study)
    check_revision(study, stored)
    if order.cold and stored.warm:
        say("--cold has no effect: the warm starts were chosen when the study was created.")
    if study.study_name == setup.name:
        check_same(widened(stored, document), document, study.study_name)
    return replace(document, warm=stored.warm, photos=stored.photos)


def _widen(study: optuna.Study, setup: Setup) -> None:
    """Store the wider ranges, the sampler and the pruner that the command sets."""
    stored = read_stored(study)
    wider = widened(stored, setup.stored)
    check_same(wider, setup.stored, setup.name)
    if wider.to_json() != stored.to_json():
        study.set_user_attr(KEY, wider.to_json())
        say("The study continues with the wider ranges, the sampler and the pruner of this command.")
        say()


def _create(setup: Setup, storage: ReconnectingStorage, source: optuna.Study | None, limits: StoppingCriteria) -> None:
    """Create the study, its document last, so that an incomplete one is created anew."""
    if has_study(storage, setup.name):
        optuna.delete_study(study_name=setup.name, storage=storage)
    study_id = make_folder(setup.name, storage, setup.runs)
    facts = {STUDY_ID: study_id, QUESTION: setup.stored.study.question, **creation_facts(decoder=DECODER)}
    copied_from = source.study_name if source is not None else None
    metric = setup.stored.task.metric_words
    study = create_study(storage, setup.name, {**facts, GROWN_FROM: copied_from, LIMITS: limits.to_json()}, metric)
    if source is not None:
        copy_trials(source, study, setup.stored.study, setup.runs)
    show_study(study, setup.stored)
    study.set_user_attr(KEY, setup.stored.to_json())
