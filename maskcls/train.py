"""python -m maskcls.train: train one config, for example one from ``search.export``, to the same score again.

The config of an ensemble (maskcls.model.ensemble_config) has several; they are trained one after the other, into
``member-1`` and so on, and joined by a file ``team.toml`` beside these folders.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskcls.config import TrainConfig, parse_assignment
from maskcls.model.jobs import Job, requested_jobs
from maskcls.run.summary import compared, next_command, print_summary, progress_printer
from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError, some
from maskcls.system.files import check_folder
from maskcls.system.options import (
    CacheOption,
    DataOption,
    DeviceOption,
    GroupOption,
    LabelFixesOption,
    LabelOption,
    MetricOption,
    PathOption,
    RunsOfModelOption,
    SkipUnreadableOption,
    SplitOption,
    TableOption,
    cache_folder,
)
from maskcls.system.paths import absolute_if_path
from maskcls.tasks.mask import MASK_TASK

if TYPE_CHECKING:
    import torch

    from maskcls.config import ResolvedConfig
    from maskcls.data.dataset import Dataset, Table
    from maskcls.model.ensemble_config import EnsembleConfig
    from maskcls.model.weights import Weights
    from maskcls.reading.source import SourceOptions
    from maskcls.run.result import Result
    from maskcls.tasks.task import Task


def main(
    data: DataOption,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write the trained model to.")],
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="TOML file of hyperparameters; missing ones keep their defaults. Or of a whole ensemble, by"
            " search.export --ensemble.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: change a hyperparameter. Repeatable.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="auto, pretrained, scratch, or a folder of <backbone>.safetensors. Default: what the"
            " config file was trained from, else auto."
        ),
    ] = None,
    table: TableOption = "",
    path: PathOption = "",
    label: LabelOption = None,
    group: GroupOption = "",
    split: SplitOption = "",
    metric: MetricOption = "",
    device: DeviceOption = "auto",
    label_fixes: LabelFixesOption = "auto",
    skip_unreadable: SkipUnreadableOption = False,
    cache: CacheOption = None,
    runs: RunsOfModelOption = Path("runs"),
) -> None:
    """Train one config on a folder of photos.

    The same command again continues an interrupted run. Prints the scores of every evaluation, and keeps the model
    of the evaluation with the best score on the validation side. The config of an ensemble trains every member, and
    then scores them together.
    """
    jobs, ensemble = requested_jobs(config_file, set_ or [], out)
    source = jobs[0].source
    if data == "synthetic":  # before photos are drawn; the task of others is not known yet
        for job in jobs:
            MASK_TASK.check(job.config)
    check_folder(out, "-o")
    if any((folder / "study.json").exists() for folder in (out, out.parent)):
        raise UserError(f"{out} lies in a study's folder, and would be deleted with it. Choose another -o.")
    check_folder(runs, "--runs")
    cache_dir = cache_folder(cache, runs)
    from maskcls.data.dataset import open_data, read_table
    from maskcls.data.split import check_draws_split
    from maskcls.reading.source import SourceOptions
    from maskcls.tasks.declared import task_of_origin

    typed = SourceOptions(table, path, tuple(label or ()), group, split, metric)
    stored = task_of_origin(source, config_file) if config_file is not None and source else None
    folder, options = open_data(data, runs, typed, MASK_TASK.source if stored is None else stored.source, cache_dir)
    task = _task_of(folder, options, stored, is_typed=bool(typed.typed))
    for job in jobs:
        task.check(job.config)
        check_draws_split((parse_assignment(text)[0] for text in set_ or []), task, job.config)
    photos = read_table(folder, jobs[0].config, label_fixes, task)
    _print_data_notes(photos, jobs[0].config.task)
    from maskcls.model.weights import resolve_weights
    from maskcls.training.folder_lock import lock_folder
    from maskcls.training.numerics import pick_device

    torch_device = pick_device(device)
    ready = []
    for job in jobs:
        weights_option = absolute_if_path(weights) if weights else str(job.source.get("weights_option", "auto"))
        initial = resolve_weights(weights_option, [job.config.backbone], job.source.get("weights_commits"))
        ready.append((job, initial, _origin(absolute_if_path(data), photos, weights_option, initial)))
    with nullcontext() if ensemble is None else lock_folder(out):
        whys = []
        for job, initial, origin in ready:
            if job.title:
                say(job.title)
            with lock_folder(job.out):
                config, result = _train(job, photos, initial, origin, torch_device, cache_dir, skip_unreadable, runs)
            print_summary(result, job.out, task, is_alone=ensemble is None)
            whys.append(_why_incomparable(config, job.source, photos.hash, initial.describe()))
            _print_comparison(result, job.source, whys[-1])
        if ensemble is not None:
            _join(ensemble, jobs, out, task, ready[0][2], next(filter(None, whys), ""))


JOINED_FACTS = ("made_by", "data", "split", "task", "commit", "versions")
"""What [origin] of a trained ensemble has of its first member's, which is the same for all."""


def _task_of(folder: Path, options: "SourceOptions", stored: "Task | None", is_typed: bool) -> "Task":
    """The task of the photos: that of the config's [origin]; as the folder shows it without one, or where it is typed
    how to read it, by the columns of the [origin] as far as none are typed."""
    from maskcls.data.dataset import find_task

    if stored is None:
        return find_task(folder, options)
    task = find_task(folder, options, stored.source) if is_typed else stored
    return task.judged_by(options.metric or stored.metric)


def _load(
    table: "Table",
    config: TrainConfig,
    weights: "Weights",
    device: "torch.device",
    cache_dir: Path,
    skip_unreadable: bool,
) -> "Dataset":
    """The decoded photos, after a word on what is trained and on the disk that they take."""
    from maskcls.data.cache_plan import plan_caches
    from maskcls.data.dataset import load_dataset
    from maskcls.training.numerics import describe_device

    units, photos = table.count("train")
    of, others = (f" of {units} {table.task.unit.noun(units)}", " of others") if table.task.has_groups else ("", "")
    say(
        f"Training on {photos} photos{of}, validating on {table.count('valid')[1]} photos{others}"
        f" (split {table.hash}); {describe_device(device)}; weights: {weights.source}"
    )
    if weights.note:
        say(f"NOT PRETRAINED: {weights.note}. Training from scratch.")
    say(f"Cache: {plan_caches(table, [config], cache_dir).describe()}")
    return load_dataset(table, config, cache_dir, skip_unreadable)


def _train(
    job: Job,
    photos: "Table",
    initial: "Weights",
    origin: dict[str, Any],
    device: "torch.device",
    cache_dir: Path,
    skip_unreadable: bool,
    runs: Path,
) -> "tuple[TrainConfig, Result]":
    """(the config that was trained, its result), of an earlier run where the folder holds one that is complete."""
    from maskcls.training.loop import evaluation_stops
    from maskcls.training.run_folder import finished_result

    planned = len(evaluation_stops(job.config, photos.count("train")[1]))
    result = finished_result(job.out, job.config, origin, planned)
    if result is not None:
        say(f"{job.out} already holds this run.")
        return job.config, result
    dataset = _load(photos, job.config, initial, device, cache_dir, skip_unreadable)
    return _fit(job.out, job.config, dataset, initial, origin, device, runs)


def _fit(
    out: Path,
    config: TrainConfig,
    dataset: "Dataset",
    weights: "Weights",
    origin: dict[str, Any],
    device: "torch.device",
    runs: Path,
) -> "tuple[ResolvedConfig, Result]":
    """Train into the folder, printing the progress. Raises UserError when the run diverges or is out of memory."""
    import torch

    from maskcls.training.autotune import choose_numerics
    from maskcls.training.loop import DivergedError, evaluation_stops
    from maskcls.training.numerics import resolve
    from maskcls.training.run_folder import draw_best, train_into

    resolved = resolve(choose_numerics(config, device, runs / "cache", lambda: dataset), device)
    try:
        resolved, result = train_into(
            out,
            resolved,
            dataset,
            progress_printer(len(evaluation_stops(resolved, len(dataset.train.row_N)))),
            origin=origin,
            device=device,
            weight_file=weights.file(resolved.backbone),
        )
    except DivergedError as error:
        raise UserError(f"The training diverged: {error}. Lower lr ({config.lr:g}).") from None
    except torch.OutOfMemoryError:
        raise UserError(
            f"{device} has too little memory to train {config.backbone} even with the smallest micro-batch."
            " Use a smaller image_size or backbone."
        ) from None
    task = dataset.task
    draw_best(
        out, task.predicted(resolved), f"{task.metric_words} {result.best.scores.value:.4f}", out / "confusion.png"
    )
    return resolved, result


def _print_data_notes(table: "Table", task: str) -> None:
    from maskcls.data.split import missing_classes

    for note in table.notes:
        say(note)
    missing = missing_classes(table.photos, "valid", table.task.space, task)
    if missing:
        say(f"NO VALIDATION PHOTO OF: {some(missing)}. {table.task.uncounted}.")


def _origin(data: str, table: "Table", option: str, weights: "Weights") -> dict[str, Any]:
    from maskcls.system.provenance import Origin
    from maskcls.tasks.declared import task_to_json
    from maskcls.training.revision import REVISION

    return Origin(
        made_by="maskcls.train",
        data=data,
        split=table.hash,
        task=task_to_json(table.task),
        weights_option=option,
        weights=weights.describe(),
        weights_commits=weights.commits,
        revision=REVISION,
    ).to_json()


def _why_incomparable(config: TrainConfig, source: dict[str, Any], split: str, weights: dict[str, str]) -> str:
    """Why the score of ``source``, the exported run, does not compare: "comes from a run ..."; empty if it does."""
    if "value" not in source:
        return ""
    if (split, weights) != (source.get("split"), source.get("weights")):
        return "comes from a run with another split, other data or weights"
    from maskcls.training.revision import changed_since

    if changed := changed_since(source.get("revision", 1), config):
        return f"comes from a run of an earlier version, which {changed}"
    return ""


def _print_comparison(result: "Result", source: dict[str, Any], why_not: str) -> None:
    """Compare the score with that of ``source``, the exported run, if it had the same data, weights and revision."""
    if why_not:
        say(f"The config {why_not}; the scores cannot be compared.")
    elif "value" in source:
        exported = source["value"]
        said = compared(result.best.scores.value, exported)
        say(f"Trial {source.get('trial')} of {source.get('study')} had {exported!r}: {said}.")


def _join(
    ensemble: "EnsembleConfig", jobs: Sequence[Job], out: Path, task: "Task", origin: dict[str, Any], why_not: str
) -> None:
    """Write the file of the trained members, for maskcls.predict, and compare their score with the promised one.

    ``why_not``: why the scores do not compare; empty if they do.
    """
    from maskcls.model.composite import combine, predicted_space
    from maskcls.model.ensemble import join_folders
    from maskcls.model.trained import read_model
    from maskcls.run.record import PREDICTIONS
    from maskcls.scoring.metrics import score
    from maskcls.scoring.predictions import Predictions

    weights = [member.weight for member in ensemble.members]
    models = [replace(read_model(job.out), weight=weight) for job, weight in zip(jobs, weights, strict=True)]
    said = [Predictions.load(job.out / PREDICTIONS) for job in jobs]
    log_prob_NK = combine(models, [each.log_prob_NK for each in said])
    value = score(log_prob_NK, said[0].label_N, predicted_space(models), task.metric).value
    facts = {name: fact for name, fact in origin.items() if name in JOINED_FACTS}
    file = out / "team.toml"
    join_folders(file, [job.out.name for job in jobs], weights, {**facts, "value": value})
    say(f"{file}: all {len(jobs)} together, {task.metric_words} {value!r}")
    if why_not:
        say(f"The config of a member {why_not}; the scores cannot be compared.")
    elif "value" in ensemble.origin:
        promised = ensemble.origin["value"]
        say(f"The exported ensemble had {promised!r}: {compared(value, promised)}.")
    say(next_command(file, task))


if __name__ == "__main__":
    run_command(main)
