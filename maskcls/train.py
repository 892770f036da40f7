"""python -m maskcls.train: train one config, for example one that ``search.export`` wrote, to the same score again."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskcls.config import TrainConfig, load_config, make_config, parse_assignment
from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError, some
from maskcls.system.files import check_folder
from maskcls.system.paths import as_kept

if TYPE_CHECKING:
    from maskcls.data.dataset import Table
    from maskcls.model.weights import Weights
    from maskcls.run.result import Result
    from maskcls.scoring.metrics import Scores
    from maskcls.training.reporter import Reporter


def main(
    data: Annotated[str, typer.Option(help="Folder with images/, or: synthetic.", envvar="MASKCLS_DATA")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the trained model, as predict takes it.")],
    config: Annotated[Path | None, typer.Option(help="TOML file with the knobs; without it their defaults.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE: change a knob. May repeat.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="auto, pretrained, scratch, or a folder of <backbone>.safetensors. Default: what the"
            " config file was trained from, else auto."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    label_fixes: Annotated[str, typer.Option(help="CSV of label fixes, auto (the shipped list), or none.")] = "auto",
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave out broken photos.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder for the cache of decoded photos.")] = Path("runs"),
) -> None:
    """Train one config on a folder of photos.

    The same command again goes on where an interrupted run stopped. Prints the scores of every evaluation;
    the model kept is the one with the best macro F1 on the validation people.
    """
    knobs, origin = load_config(config) if config else (TrainConfig(), {})
    knobs = make_config({**knobs.model_dump(), **dict(parse_assignment(text) for text in set_ or [])})
    if not isinstance(origin.get("value", 0.0), int | float):
        raise UserError(f"{config}: [origin] value must be a number, not {origin['value']!r}. Export the config again.")
    check_folder(out, "-o")
    if any((folder / "study.json").exists() for folder in (out, out.parent)):
        raise UserError(f"{out} lies in a study's folder, and would be deleted with it. Choose another -o.")
    check_folder(runs, "--runs")
    from maskcls.data.dataset import data_folder, load_dataset, read_table

    table = read_table(data_folder(data, runs), knobs, label_fixes)
    _say_what_is_odd(table, knobs.task)
    from maskcls.model.weights import resolve_weights
    from maskcls.training.autotune import choose_numerics
    from maskcls.training.numerics import describe_device, pick_device, resolve

    place = pick_device(device)
    source = as_kept(weights) if weights else _source(origin)
    found = resolve_weights(source, [knobs.backbone], origin.get("weights_commits"))
    import torch

    from maskcls.training.folder_lock import alone_in
    from maskcls.training.loop import DivergedError, evaluation_stops
    from maskcls.training.run_folder import draw_best, finished_result, train_into

    made_from = _origin(as_kept(data), table.hash, source, found)
    with alone_in(out):
        result = finished_result(out, knobs, made_from, len(evaluation_stops(knobs, table.count("train")[1])))
        if result is not None:
            say(f"{out} holds this run already.")
        else:
            knobs = resolve(choose_numerics(knobs, place, runs / "cache"), place)
            people, photos = table.count("train")
            say(
                f"Training on {photos} photos of {people} people, judged on {table.count('valid')[1]} of others"
                f" (split {table.hash}); {describe_device(place)}; weights: {found.source}"
            )
            if found.note:
                say(f"NOT PRETRAINED: {found.note}. Training from scratch.")
            dataset = load_dataset(table, knobs, runs / "cache", skip_unreadable)
            try:
                knobs, result = train_into(
                    out,
                    knobs,
                    dataset,
                    _printer(len(evaluation_stops(knobs, len(dataset.train.row_N)))),
                    device=place,
                    weight_file=found.file(knobs.backbone),
                    origin=made_from,
                )
            except DivergedError as error:
                raise UserError(f"The training diverged: {error}. Lower lr ({knobs.lr:g}).") from None
            except torch.OutOfMemoryError:
                raise UserError(
                    f"The memory of {place} does not hold a training step of {knobs.backbone} in its smallest parts."
                    " Use a smaller image_size or backbone."
                ) from None
            draw_best(out, knobs, f"macro F1 {result.best.scores.macro_f1:.4f}", out / "confusion.png")
    _sum_up(result, out)
    _compare(result, knobs, origin, table.hash, found.describe())


def _say_what_is_odd(table: "Table", task: str) -> None:
    from maskcls.data.split import missing_classes

    for note in table.notes:
        say(note)
    missing = missing_classes(table.photos, "valid", task)
    if missing:
        say(f"NO VALIDATION PHOTO OF: {some(missing)}. Their F1 counts 0.")


def _source(origin: dict[str, Any]) -> str:
    """The weights option that the config's own run had."""
    return str(origin.get("weights_option", "auto"))


def _origin(data: str, split: str, option: str, weights: "Weights") -> dict[str, Any]:
    from maskcls.system.provenance import Origin
    from maskcls.training.revision import REVISION

    return Origin(
        made_by="maskcls.train",
        data=data,
        split=split,
        weights_option=option,
        weights=weights.describe(),
        weights_commits=weights.commits,
        revision=REVISION,
    ).to_json()


def _printer(num_planned: int) -> "Reporter":
    def report(step: int, scores: "Scores") -> bool:
        parts = "".join(f"  {part} {value:.4f}" for part, value in scores.f1_per_part.items())
        say(
            f"evaluation {step:2d} of {num_planned}  macro F1 {scores.macro_f1:.4f}"
            f"  accuracy {scores.accuracy:.4f}  loss {scores.loss:.4f}{parts}"
        )
        return True

    return report


def _sum_up(result: "Result", out: Path) -> None:
    best, accurate, likely = result.best, result.best_accuracy, result.best_loss
    say(
        f"{result.keep.capitalize()} macro F1 {best.scores.macro_f1!r} at evaluation {best.step}"
        f" (best accuracy {accurate.scores.accuracy:.4f} at {accurate.step}, best loss {likely.scores.loss:.4f}"
        f" at {likely.step}); {best.photos_per_second:.0f} photos/s, {result.history[-1].seconds:.0f} s,"
        f" peak {best.peak_gib:.2f} GiB"
    )
    say(f"Next: python -m maskcls.predict --model {shlex.quote(str(out))} --images DIR -o submission.csv")


def _compare(result: "Result", knobs: TrainConfig, origin: dict[str, Any], split: str, weights: dict[str, str]) -> None:
    """Beside the score of the run that the config was exported from, when it was on the same data."""
    if "value" not in origin:
        return
    if (split, weights) != (origin.get("split"), origin.get("weights")):
        say("The config comes from a run on other data or weights; its score is no yardstick for this one.")
        return
    from maskcls.training.revision import changed_since

    if changed := changed_since(origin.get("revision", 1), knobs):
        say(f"The config comes from a run of an earlier version, which {changed}; its score is no yardstick.")
        return
    there, here = origin["value"], result.best.scores.macro_f1
    verdict = "the same" if there == here else f"{here - there:+.4f}"
    say(f"Trial {origin.get('trial')} of {origin.get('study')} had {there!r}: {verdict}.")


if __name__ == "__main__":
    run_command(main)
