"""python -m search.run: run a study until it has so many trials; the same command again goes on."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskcls.cli import run_command, say
from maskcls.config import parse_assignment
from maskcls.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

    from maskcls.dataset import Table
    from search.stored import Stored
    from search.study import Study

NAME_CHARACTERS = "letters, digits, '.', '_' and '-'"
LONGEST_NAME = 100
TAKEN_NAMES = ("cache", "artifacts", "studies.db", "synthetic")
"""What else lies in the runs folder begins with one of these."""


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
    storage: Annotated[
        str | None, typer.Option(help="Optuna storage URL. Default: studies.db in the --runs folder.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="auto (timm's hub, from scratch when it cannot be reached), pretrained, scratch, or a folder of"
            " <backbone>.safetensors. Default: auto; scratch on synthetic photos."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: fix a knob of the training config. May repeat.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to store the study under. Default: the study's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler and of every trial's training.")] = 0,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds after which to stop; resumable.")] = None,
    people: Annotated[int | None, typer.Option(min=2, help="Use only this many people, for a quick look.")] = None,
    label_fixes: Annotated[str, typer.Option(help="CSV of label fixes, auto (the shipped list), or none.")] = "auto",
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave out broken photos.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder for everything that is kept.")] = Path("runs"),
) -> int:
    """Run a study until it has --n-trials trials (complete or pruned).

    Ctrl-C once: the running trial finishes its evaluation and goes back into the queue; twice: at once. The same
    command again goes on from there.
    """
    from search.study import load_study

    document = load_study(study)
    data = data or None  # MASKCLS_DATA= in the environment means none
    if document.synthetic and data == os.environ.get("MASKCLS_DATA"):
        data = None  # the study brings its own photos; only an explicit --data means others
    is_preview = data is None and not document.synthetic
    chosen = _arrange(document, is_preview, data, set_ or [], people)
    stored_as = _check_name(name or Path(study).stem + ("-preview" if is_preview else ""))
    from maskcls.dataset import SYNTHETIC, data_folder, read_table
    from search.stored import Stored

    source = data or SYNTHETIC
    option = weights or ("scratch" if source == SYNTHETIC else "auto")
    wanted = Stored(chosen, source, "", {}, option, label_fixes, skip_unreadable, seed)
    config = wanted.config(dict(chosen.baseline))
    table = read_table(data_folder(source, runs), config, label_fixes)
    if is_preview:
        say("PREVIEW, since no --data was given. The real study:")
        say(f"  python -m search.run --study {study} --n-trials {n_trials} --data DIR")
    return _run(stored_as, wanted, table, storage, runs, device, n_trials, timeout)


def _arrange(document: "Study", is_preview: bool, data: str | None, settings: list[str], people: int | None) -> "Study":
    """The study as this command asks for it."""
    from dataclasses import replace

    from maskcls.dataset import SYNTHETIC
    from search.study import pin, preview_of

    if is_preview:
        document = preview_of(document)
    elif data is not None:
        document = replace(document, synthetic=data == SYNTHETIC)
    assignments = dict(parse_assignment(text) for text in settings)
    if people is not None:
        assignments["people"] = people
    return pin(document, assignments)


def _check_name(name: str) -> str:
    """The name is a folder's too."""
    if not name.strip(".") or not all(letter.isalnum() or letter in "._-" for letter in name):
        raise UserError(f"A study's name is made of {NAME_CHARACTERS}, not {name!r}. Use --name.")
    if len(name) > LONGEST_NAME or name.startswith(TAKEN_NAMES):
        raise UserError(
            f"A study's name names its folder too: at most {LONGEST_NAME} characters, and not beginning with"
            f" {', '.join(TAKEN_NAMES)}. Use another --name than {name!r}."
        )
    return name


def _run(
    name: str,
    wanted: "Stored",
    table: "Table",
    storage_url: str | None,
    runs: Path,
    device: str,
    n_trials: int,
    timeout: float | None,
) -> int:
    from dataclasses import replace

    from search.storage import default_url, is_there, open_storage

    url = storage_url or default_url(runs)
    wanted = replace(wanted, split=table.hash)
    if is_there(url) and _has_all(open_storage(url, create=False), name, wanted, n_trials):
        from search.storage import load_study
        from search.summary import summarise

        say(f"Study {name} has its {n_trials} trials already.")
        summarise(load_study(open_storage(url, create=False), name), wanted, runs, storage_url)
        return 0
    from maskcls.numerics import pick_device
    from maskcls.weights import resolve_weights
    from search.objective import Setup
    from search.plan import backbones_of
    from search.workers import work

    place = pick_device(device)
    weights = resolve_weights(wanted.weights_option, backbones_of(wanted.study))
    wanted = replace(wanted, weights=weights.describe())
    runs.mkdir(parents=True, exist_ok=True)
    storage = open_storage(url, create=True)
    return work(Setup(name, wanted, runs, table, weights, place), storage, n_trials, timeout, storage_url)


def _has_all(storage: "RDBStorage", name: str, wanted: "Stored", n_trials: int) -> bool:
    """Whether the study has so many trials. Raises UserError when it is another one than the command asks for.

    The weights are not looked at: finding those takes torch, which nothing else here does.
    """
    from dataclasses import replace

    from search.storage import count_finished, has_study, load_study
    from search.stored import check_same, read_stored

    if not has_study(storage, name):
        return False
    study = load_study(storage, name)
    stored = read_stored(study)
    check_same(stored, replace(wanted, weights=stored.weights), name)
    return count_finished(study) >= n_trials


if __name__ == "__main__":
    run_command(main)
