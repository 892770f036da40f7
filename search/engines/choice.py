"""Which engine the options of a command ask for."""

from collections.abc import Callable

from maskcls.system.errors import UserError
from search.engines.ray_crew import RayEngine
from search.supervisor.crew import Crew
from search.supervisor.launch import Launch, on_this_machine


def choose_engine(ray: str | None, gpus_per_worker: float | None) -> Callable[[Launch, int], Crew]:
    """The engine for --ray and --gpus-per-worker. Raises UserError for the second without the first."""
    if ray is not None:
        return RayEngine(ray, gpus_per_worker)
    if gpus_per_worker is not None:
        raise UserError(
            "--gpus-per-worker is for workers that Ray places; leave it out, or give --ray. Without Ray, --workers"
            " spreads them over the GPUs of this machine."
        )
    return on_this_machine
