"""python -m search.confirm: train a study's finalists and its baseline again, judged by people who chose nobody."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskcls.system.console import run_command, say
from maskcls.system.paths import as_kept
from search.system.processes import LEAST_STALL, STALL_SECONDS
from search.system.storage_url import StorageOption

if TYPE_CHECKING:
    from search.study.record import Stored
    from search.supervisor.pool import WorkerPool
    from search.worker.messages import WorkOrder

KEEP = 5
"""Trials whose best weights stay on the disk, as in search.run."""

MOST_REPEATS = 100


def main(
    study: Annotated[str, typer.Option(help="The study's stored name.")],
    top: Annotated[int, typer.Option(min=1, help="Finalists, besides the baseline and the best of its level.")] = 3,
    repeats: Annotated[
        int, typer.Option(min=2, max=MOST_REPEATS, help="How often each is trained, with other judges and seeds.")
    ] = 5,
    data: Annotated[
        str | None, typer.Option(help="Where the study's photos are now. Default: where they were.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="As in search.run. Default: what the study had.")] = None,
    device: Annotated[
        str, typer.Option(help="auto (every GPU that is not busy, else the CPU), cpu, cuda or cuda:N.")
    ] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            envvar="MASKCLS_WORKERS",
            help="Processes that run trials. Default: one for each GPU; on a CPU one a core, up to 4.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="As many --workers as asked for, whatever cores and memory carry.")
    ] = False,
    stall: Annotated[
        float,
        typer.Option(min=LEAST_STALL, help="Seconds without progress after which a worker is taken for hung."),
    ] = STALL_SECONDS,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds after which to stop; resumable.")] = None,
    storage: StorageOption = None,
    runs: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("runs"),
) -> int:
    """Train the best settings of a study and its baseline again, and say whether they hold.

    Each repeat has a seed and judges of its own; the judges are training people of the search, who chose none of the
    finalists. The same command again goes on; more --repeats add to those there are.
    """
    from search.database.connect import default_url, load_study, open_storage
    from search.policy.confirmation import Plan
    from search.policy.stopping import count_finished
    from search.study.locations import photos_now
    from search.study.names import folder_in
    from search.study.record import read_search
    from search.supervisor.pool import WorkerPool
    from search.supervisor.slots import find_gpus, make_slots
    from search.terminal.confirmation import summarise
    from search.worker.create_confirmation import document, find

    url = storage or default_url(runs)
    opened = open_storage(url, create=False)
    searched = load_study(opened, study)
    folder_in(runs, study)  # beside which the trainings' files are to be
    stored = read_search(searched)
    there = find(opened, study)
    wanted = document(searched, stored, there, top, repeats)
    n_trials = len(Plan.of_document(wanted).finalists) * repeats
    if there is not None and count_finished(there.get_trials(deepcopy=False)) >= n_trials:
        say(f"Study {there.study_name} has its {n_trials} trainings already.")
        summarise(there, wanted, runs, storage)
        return 0
    # auto may find today what it did not find then
    had = "scratch" if stored.weights["source"] == "scratch" else stored.weights_option
    where = photos_now(stored, study, data)
    wanted = replace(wanted, data=where, weights_option=as_kept(weights) if weights else had)
    with WorkerPool(make_slots(device, workers, find_gpus(), n_trials, force)) as crew:
        return _run(crew, wanted, repeats, url, runs, timeout, storage, stall)


def _run(
    crew: "WorkerPool",
    wanted: "Stored",
    repeats: int,
    url: str,
    runs: Path,
    timeout: float | None,
    storage_url: str | None,
    stall: float,
) -> int:
    """Check and show what will be done, store it, and have the crew do it; torch loads meanwhile."""
    from maskcls.data.dataset import data_folder, read_table
    from search.database.connect import load_study, open_storage
    from search.policy.confirmation import Plan
    from search.policy.stopping import count_finished
    from search.study.record import read_stored
    from search.study.versions import changes_since_birth, show_changes
    from search.supervisor.supervisor import Supervisor
    from search.system.clock import uptime
    from search.terminal.confirmation import show_plan, show_work, summarise
    from search.worker.create_confirmation import check_rounds, store

    since = uptime()
    crew.start(crew.slots[0])
    crew.start_others()
    config = wanted.config(dict(wanted.study.baseline))
    table = read_table(data_folder(wanted.data, runs), config, wanted.label_fixes)
    rounds = check_rounds(table, wanted, repeats)
    opened = open_storage(url, create=False, waits=True)
    study = store(opened, wanted, runs)
    # another first command may have chosen the finalists
    wanted = replace(wanted, confirmation=read_stored(study).confirmation)
    plan = Plan.of_document(wanted)
    n_trials = len(plan.finalists) * repeats
    order = replace(_order(crew, url, study.study_name, runs, wanted, n_trials, since), stall=stall)
    show_plan(plan, wanted, table, rounds)
    confirmed = load_study(opened, plan.of)
    show_changes(changes_since_birth(confirmed))
    searched = confirmed.get_trials(deepcopy=False)
    finished = count_finished(study.get_trials(deepcopy=False))
    show_work(plan, wanted, n_trials, len(crew.slots), finished, searched)
    return Supervisor(crew, order, timeout, storage_url, summary=summarise).run()


def _order(
    crew: "WorkerPool", url: str, name: str, runs: Path, wanted: "Stored", n_trials: int, since: float
) -> "WorkOrder":
    from search.policy.stopping import StoppingCriteria
    from search.worker.messages import WorkOrder

    slot = crew.slots[0]
    return WorkOrder(
        url,
        name,
        str(runs),
        wanted,
        device=slot.device,
        slot=slot.name,
        cores=slot.cores,
        workers=len(crew.slots),
        limits=StoppingCriteria(n_trials),
        keep=KEEP,
        cold=True,
        since=since,
        grown_from=None,
        plan=False,
    )


if __name__ == "__main__":
    run_command(main)
