"""python -m search.run: run a study until it has so many trials; the same command again goes on."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskcls.config import make_config, parse_assignment
from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError
from maskcls.system.files import check_folder
from maskcls.system.paths import as_kept, at_home
from maskcls.system.streams import is_terminal
from search.study.names import checked_name
from search.supervisor.slots import find_gpus, make_slots
from search.system.processes import LEAST_STALL, STALL_SECONDS
from search.system.storage_url import StorageOption, check_url

if TYPE_CHECKING:
    from search.study.record import Stored
    from search.study.study import Study
    from search.supervisor.slots import Slot


def main(
    study: Annotated[str, typer.Option(help="A study of studies/, or the path of a study file of your own.")],
    n_trials: Annotated[int, typer.Option(min=1, help="Trials the study should reach, over all runs.")] = 50,
    data: Annotated[
        str | None,
        typer.Option(
            envvar="MASKCLS_DATA",
            help="Folder with images/, or: synthetic. Without it a study runs as a preview on synthetic photos.",
        ),
    ] = None,
    storage: StorageOption = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="auto (timm's hub, from scratch when it cannot be reached), pretrained, scratch, or a folder of"
            " <backbone>.safetensors. Default: auto; scratch on synthetic photos."
        ),
    ] = None,
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
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: fix a knob of the training config. May repeat.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to store the study under. Default: the study's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler and of every trial's training.")] = 0,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds after which to stop; resumable.")] = None,
    stall: Annotated[
        float,
        typer.Option(min=LEAST_STALL, help="Seconds without progress after which a worker is taken for hung."),
    ] = STALL_SECONDS,
    max_epochs: Annotated[
        float | None, typer.Option(min=0, help="Begin no trial once all have trained for so many epochs together.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Begin no trial once so many have ended without a better best.")
    ] = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="No warm starts: neither known settings nor earlier studies.")
    ] = False,
    keep: Annotated[int, typer.Option(min=0, help="Trials whose best weights stay on the disk.")] = 5,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Begin as a copy of this stored study, with more choices; needs --name."),
    ] = None,
    people: Annotated[int | None, typer.Option(min=2, help="Use only this many people, for a quick look.")] = None,
    label_fixes: Annotated[str, typer.Option(help="CSV of label fixes, auto (the shipped list), or none.")] = "auto",
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave out broken photos.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder for everything that is kept.")] = Path("runs"),
) -> int:
    """Run a study until it has --n-trials trials (complete or pruned).

    Ctrl-C once: the running trials finish their evaluation and go back into the queue; twice: at once. The same
    command again goes on from there; a second one beside it shares the work.
    """
    from search.study.loading import load_study_file

    document = load_study_file(study)
    data = data or None  # MASKCLS_DATA= in the environment means none
    if document.synthetic and data == at_home(os.environ.get("MASKCLS_DATA", "")):
        data = None  # the study brings its own photos; only an explicit --data means others
    is_preview = data is None and not document.synthetic
    chosen = _arrange(document, is_preview, data, set_ or [], people)
    make_config({"seed": seed})
    check_folder(runs, "--runs")
    stored_as = checked_name(name or Path(study).stem + ("-preview" if is_preview else ""))
    if from_ is not None and name is None:
        raise UserError("--from copies a study under a new name; give it by --name.")
    from maskcls.data.dataset import SYNTHETIC
    from search.policy.stopping import StoppingCriteria
    from search.study.record import Stored
    from search.system.shell import quoted

    source = as_kept(data or SYNTHETIC)
    option = as_kept(weights or ("scratch" if source == SYNTHETIC else "auto"))
    wanted = Stored(chosen, source, "", {}, option, as_kept(label_fixes), skip_unreadable, seed)
    check_policy(wanted)
    if is_preview:
        say("PREVIEW, since no --data was given. The real study:")
        say(f"  python -m search.run --study {quoted(study)} --n-trials {n_trials} --data DIR")
    limits = StoppingCriteria(n_trials, max_epochs, patience)
    asked = {"limits": limits, "keep": keep, "cold": cold, "grown_from": from_, "stall": stall}
    slots = make_slots(device, workers, find_gpus(), n_trials, force)
    return _run(stored_as, wanted, storage, runs, slots, timeout, asked)


def _arrange(document: "Study", is_preview: bool, data: str | None, settings: list[str], people: int | None) -> "Study":
    """The study as this command asks for it."""
    from maskcls.data.dataset import SYNTHETIC
    from search.study.study import pin, preview_of

    if is_preview:
        document = preview_of(document)
    elif data is not None:
        document = replace(document, synthetic=data == SYNTHETIC)
    assignments = dict(parse_assignment(text) for text in settings)
    if people is not None:
        assignments["people"] = people
    return pin(document, assignments)


def check_policy(wanted: "Stored") -> None:
    """Raise UserError for a sampler or pruner of the study's file that cannot be made."""
    from search.policy.policy import Policy

    Policy(wanted.study, wanted.seed)


def _run(
    name: str,
    wanted: "Stored",
    storage_url: str | None,
    runs: Path,
    slots: "list[Slot]",
    timeout: float | None,
    asked: dict[str, Any],
) -> int:
    """Have the crew work on the study; the first worker loads torch while the photos are listed here."""
    from maskcls.data.dataset import data_folder, read_table
    from search.database.connect import default_url, open_storage
    from search.supervisor.pool import WorkerPool
    from search.supervisor.supervisor import Supervisor
    from search.system.clock import uptime
    from search.worker.messages import WorkOrder

    url = storage_url or default_url(runs)
    check_url(url)
    with WorkerPool(slots) as crew:
        crew.start(slots[0])
        table = read_table(
            data_folder(wanted.data, runs), wanted.config(dict(wanted.study.baseline)), wanted.label_fixes
        )
        is_copy = asked["grown_from"] is not None  # which takes a look at the study it is a copy of
        if not is_copy and _has_all(
            url, name, replace(wanted, split=table.hash), runs, storage_url, asked["limits"].n_trials
        ):
            return 0
        runs.mkdir(parents=True, exist_ok=True)
        open_storage(url, create=True).engine.dispose()
        crew.start_others()
        if is_terminal(sys.stderr):
            print("Loading torch and timm, which takes some seconds ...", file=sys.stderr)
        slot = slots[0]
        order = WorkOrder(
            url,
            name,
            str(runs),
            wanted,
            device=slot.device,
            slot=slot.name,
            cores=slot.cores,
            workers=len(slots),
            since=uptime(),
            plan=True,
            **asked,
        )
        return Supervisor(crew, order, timeout, storage_url).run()


def _has_all(url: str, name: str, wanted: "Stored", runs: Path, storage_url: str | None, n_trials: int) -> bool:
    """Whether the study has so many trials; then say so. Raises UserError when it is another one than is asked for.

    The weights are not looked at: finding those takes torch, which nothing else here does.
    """
    from search.database.connect import has_study, is_there, load_study, open_to_read
    from search.database.read_only import NoStudiesError
    from search.policy.stopping import count_finished
    from search.storage.copying import widened
    from search.study.record import check_same, is_whole, read_search
    from search.terminal.summary import summarise

    if not is_there(url):
        return False
    try:
        storage = open_to_read(url)
    except NoStudiesError:
        return False
    study = load_study(storage, name) if has_study(storage, name) else None
    if study is None or not is_whole(study):
        storage.engine.dispose()
        return False
    stored = read_search(study)
    check_same(widened(stored, wanted), replace(wanted, weights=stored.weights), name)
    if count_finished(study.get_trials(deepcopy=False)) < n_trials:
        storage.engine.dispose()
        return False
    say(f"Study {name} has its {n_trials} trials already.")
    summarise(study, stored, runs, storage_url)
    return True


if __name__ == "__main__":
    run_command(main)
