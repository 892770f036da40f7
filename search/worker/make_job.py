"""How a worker gets ready for its trials: the photos, the weights, the database, the stored study, its log."""

import faulthandler
import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from maskcls.data.dataset import Table, prepare_data_folder, read_table
from maskcls.model.weights import resolve_weights
from maskcls.system.console import say
from maskcls.system.lock import share_folder
from maskcls.training.numerics import open_gpu, pick_device
from search.database.connect import load_study, open_storage, open_to_read
from search.database.reconnecting import ReconnectingStorage
from search.files.table import create_table
from search.policy.confirmation import policy_of
from search.storage import retention
from search.storage.folder import claim_in_turn, study_folder
from search.study.compatibility import check_revision
from search.study.record import check_same, read_stored
from search.system.processes import describe_myself
from search.system.signals import SHOW_STACK
from search.worker.create import find_or_create, is_stored
from search.worker.events import EventWriter
from search.worker.job import Job, Setup, StopRequest
from search.worker.messages import Planned, WorkOrder
from search.worker.plan import backbones_of
from search.worker.rounds import judges_of

logger = logging.getLogger(__name__)


def make_job(order: WorkOrder, stop: StopRequest, events: EventWriter) -> Job:
    """The worker's job; on the way, the first worker of a command shows the plan and stores the study.

    Raises UserError for unusable data, weights and devices, and when the stored study is not the requested one.
    """
    if not order.plan:
        if order.is_placed:  # elsewhere a folder that is missing now was removed, which must be told
            _claim_folder(order)
        write_to_log(order)
    setup = set_up(order)
    storage = _open_storage(order)
    if why := create_table(storage):
        say_or_log = say if order.plan else logger.info
        say_or_log(
            "The predictions of trials stay in the runs folder of the machine that makes them, since the database takes"
            f" none ({why}). Where machines share no folder, let its owner grant the right to create and fill a table."
        )
    if order.plan:
        find_or_create(setup, storage, order)
        events.send(Planned())
        write_to_log(order)
    study = load_study(storage, order.name)
    stored = read_stored(study)
    setup.home = study_folder(study, setup.runs)
    check_same(stored, setup.stored, order.name)
    check_revision(study, stored)
    # the space as stored, the photos and weights where this command finds them
    setup.stored = replace(stored, data=setup.stored.data, weights_option=setup.stored.weights_option)
    policy = policy_of(stored, judges_of(setup.table, setup.baseline))
    job = Job(setup, study, policy, events, describe_myself(order.slot), stop, order.keep, order.gpu)
    retention.remove_large_files(study.get_trials(deepcopy=False), setup.folder, order.keep, job.team)
    return job


def _open_storage(order: WorkOrder) -> ReconnectingStorage:
    storage = open_storage(order.url, create=False, waits=True, slot=order.slot)
    # longer than a supervisor takes to kill a worker that hangs with the lock
    storage.lock_seconds = max(storage.lock_seconds, 2 * order.stall)
    return storage


def _claim_folder(order: WorkOrder) -> None:
    """Make the folder on this machine the study's, unless it is. Raises UserError when it is another study's."""
    storage = _open_storage(order)
    claim_in_turn(storage, order.name, Path(order.runs))
    storage.engine.dispose()


def set_up(order: WorkOrder) -> Setup:
    """The trials' setup on this machine. Raises UserError for unusable data, weights and devices."""
    requested, device = order.requested, pick_device(order.device)
    open_gpu(device)
    table = read_photos(order)
    weights = resolve_weights(requested.weights_option, backbones_of(requested.study), _weights_commits(order))
    requested = replace(requested, split=table.hash, weights=weights.describe(), weights_commits=weights.commits)
    cache = _cache_of(order)
    return Setup(order.name, requested, Path(order.runs), table, weights, device, order.cores, cache=cache)


def _cache_of(order: WorkOrder) -> Path | None:
    return Path(order.cache) if order.cache else None


def read_photos(order: WorkOrder) -> Table:
    """The table of the study's photos, which are made first where they are synthetic. Raises UserError."""
    requested = order.requested
    folder = prepare_data_folder(requested.data, Path(order.runs), requested.task, _cache_of(order))
    return read_table(folder, requested.baseline_config, requested.label_fixes, requested.task)


def _weights_commits(order: WorkOrder) -> dict[str, str]:
    """The hub's commits of the weights that the study, or the one that it is to be a copy of, has used so far."""
    storage = open_to_read(order.url, waits=True)
    for name in (order.name, order.copy_of):
        if name is not None and is_stored(storage, name):
            return read_stored(load_study(storage, name)).weights_commits
    return {}


def write_to_log(order: WorkOrder) -> None:
    """Redirect the output of this process, and of the libraries in it, to its slot's log in the study's folder."""
    study = load_study(open_to_read(order.url, waits=True), order.name)
    folder = study_folder(study, Path(order.runs)) / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / f"{order.slot.replace(':', '')}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    faulthandler.register(SHOW_STACK, file=2)
    share_folder(folder)  # so that search.delete does not remove the study between two trials
    logger.info(f"--- worker {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%S')}")
