"""Commands that train in this process: to load torch in a worker's takes longer than to train on tiny photos."""

from dataclasses import replace

import pytest

import search.supervisor.crew
import search.worker.make_job
import search.worker.worker
from search.supervisor.command import Command
from search.supervisor.conclusion import conclude
from search.supervisor.pool import WorkerPool
from search.worker.job import StopRequest
from search.worker.messages import Event
from search.worker.worker import take_trials
from tests.helpers.search import Watching


class Deaf(Watching):
    """A worker's watcher whose events nobody reads."""

    def send(self, event: Event) -> None:
        pass


class WorkingSupervisor:
    """Stands in for a supervisor and does the work of its first worker itself."""

    def __init__(self, pool: WorkerPool, command: Command) -> None:
        slot = pool.slots[0]
        self.order = replace(command.order, slot=slot.name, device=slot.device, cores=slot.cores)
        self.summary = command.summary

    def run(self) -> int:
        study = None
        try:
            job = search.worker.make_job.make_job(self.order, StopRequest(), Deaf())  # type: ignore[arg-type]
            study = job.study
            outcome = take_trials(job, self.order)
        except Exception as error:
            if (found := search.worker.worker._outcome_of(error)) is None:
                raise
            outcome = found
        return conclude(study, None, outcome, "", self.order, self.summary)


def work_in_this_process(patch: pytest.MonkeyPatch) -> None:
    """From now on search.run and search.confirm train in this process, and their output stays here."""
    patch.setattr(search.supervisor.crew, "Supervisor", WorkingSupervisor)
    patch.setattr(WorkerPool, "start", lambda self, slot: None)
    patch.setattr(search.worker.make_job, "write_to_log", lambda order: None)
