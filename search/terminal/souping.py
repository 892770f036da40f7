"""The work of search.soup: make soups of studies' trials, compare the best with the best single model, write it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from maskcls.config import TrainConfig, config_to_toml, load_config
from maskcls.data.dataset import Dataset, load_dataset, prepare_data_folder, read_table
from maskcls.run.record import PREDICTIONS, RECORD, WEIGHTS, Content, Record, stamp_of
from maskcls.run.result import Evaluation
from maskcls.run.serialize import weights_content
from maskcls.scoring.metrics import score
from maskcls.system.console import say
from maskcls.system.errors import UserError
from maskcls.system.files import write_atomically, write_text
from maskcls.system.provenance import Origin
from maskcls.tasks.declared import task_to_json
from maskcls.training.numerics import pick_device
from maskcls.training.revision import REVISION
from maskcls.training.run_folder import draw_best
from search.answer.candidates import Candidate, weights_elsewhere
from search.answer.format import SYNTHETIC, describe_values
from search.answer.soups import BestSoup, Kitchen, best_soup, describe_ingredients, find_ingredients
from search.study.attributes import id_of
from search.study.record import check_photos, read_search
from search.study.space import values_of
from search.system.shell import quoted
from search.terminal.gain import best_words, gain_facts, model_facts, show_gain

MADE_BY = "search.soup"


def make_soup(
    studies: Sequence[optuna.Study], out: Path, data: str | None, device: str, force: bool, runs: Path, cache: Path
) -> None:
    """Write the best soup of the studies' trials into the folder ``out``, if it is better beyond noise or by ``force``.

    ``data``: where the photos are now; None: where the best trial's study found them. ``cache``: the folder
    of the decoded photos. Raises UserError before anything is written.
    """
    check_folder_is_free(out)
    ingredients, trained = find_ingredients(studies, runs)
    stored = ingredients[0].stored
    torch_device = pick_device(device)
    config, _ = load_config(ingredients[0].folder / "config.toml")
    dataset = _photos(ingredients[0], studies, config, data or stored.data, runs, cache)
    say(f"Soups of {describe_ingredients(ingredients)}, judged by {stored.task.unit.many} of split {stored.split}:")
    if stored.study.synthetic:
        say(f"  {SYNTHETIC}")
    for study in studies:
        if elsewhere := weights_elsewhere(study, runs):
            say(f"  {elsewhere}")
    found = best_soup(ingredients, trained, Kitchen(ingredients[0], dataset, torch_device).cook, say)
    for model in found.soup.ingredients:
        say(f"  {model.name}: {describe_values(values_of(model.stored.study.space, model.trial.params))}")
    say(f"soup      {best_words(found.best, 'the order and the choice among')}")
    say(f"          ({found.made} soups were made, for order and choice anew in {found.redrawn} resamples)")
    show_gain(found.model, found.single, found.best, found.gain, "soup")
    if found.gain.corrected.verdict != "better" and not force:
        say("Nothing is written: the soup is not better than the best single model beyond noise. --force writes it.")
        return
    _write(out, found, config, _origin(studies, found))
    say(f"{out}: the soup of {len(found.soup.ingredients)} models, one model, as fast as one of them")
    say(f"Next: python -m maskcls.predict --model {quoted(out)} --images DIR -o {stored.task.predictions_file}")


def check_folder_is_free(out: Path) -> None:
    """Raise UserError when the folder holds a model that search.soup did not make, or lies in a study's."""
    if any((folder / "study.json").exists() for folder in (out, out.parent)):
        raise UserError(f"{out} lies in a study's folder, and would be deleted with it. Choose another -o.")
    if (out / "config.toml").exists() and load_config(out / "config.toml")[1].get("made_by") != MADE_BY:
        raise UserError(f"{out} holds another model. Choose another -o.")


def _photos(
    like: Candidate, studies: Sequence[optuna.Study], config: TrainConfig, data: str, runs: Path, cache: Path
) -> Dataset:
    """The photos that the studies' trials were trained and judged by, those of ``like`` in one of them. Raises
    UserError for others."""
    stored = like.stored
    folder = prepare_data_folder(data, runs, stored.task, cache)
    table = read_table(folder, stored.baseline_config, stored.label_fixes, stored.task)
    if table.hash != stored.split:
        raise UserError(
            f"The photos in {data} are not those of study {like.study!r}: their split is {table.hash}, and the"
            f" study's {stored.split}. Name its photos by --data."
        )
    dataset = load_dataset(table, config, cache, stored.skip_unreadable)
    for study in studies:
        check_photos(read_search(study), dataset, study.study_name)
    return dataset


def _write(out: Path, found: BestSoup, config: TrainConfig, origin: dict[str, Any]) -> None:
    """Write a model's folder, its record last. The config is the best ingredient's."""
    soup, stored = found.soup, found.model.stored
    out.mkdir(parents=True, exist_ok=True)
    (out / RECORD).unlink(missing_ok=True)
    contents: dict[str, Content] = {WEIGHTS: weights_content(soup.weights), PREDICTIONS: soup.predictions.content()}
    for name, content in contents.items():
        write_atomically(out / name, lambda part, content=content: part.write_bytes(content))  # type: ignore[misc]
    write_text(out / "config.toml", config_to_toml(config, origin))
    said = soup.predictions
    scores = score(said.log_prob_NK, said.label_N, stored.space, stored.task.metric)
    # nothing was trained, so it took no time and has no loss
    evaluation = Evaluation(1, scores, train_loss=0.0, photos_per_second=0.0, seconds=0.0, peak_gib=0.0)
    stamps = {name: stamp_of(content, 1) for name, content in contents.items()}
    write_text(out / RECORD, Record(1, "soup", {"made_by": MADE_BY}, (evaluation,), stamps).to_json())
    title = f"soup of {len(soup.ingredients)} models: {stored.task.metric_words} {scores.value:.4f}"
    draw_best(out, stored.space, title, out / "confusion.png")


def _origin(studies: Sequence[optuna.Study], found: BestSoup) -> dict[str, Any]:
    """[origin] of the soup. ``studies``: those whose trials could join; only a single one is named as its own."""
    models = found.soup.ingredients
    stored, (study, *others) = models[0].stored, studies
    origin = Origin(
        made_by=MADE_BY,
        study=None if others else study.study_name,
        study_id=None if others else id_of(study),
        data=stored.data,
        split=stored.split,
        task=task_to_json(stored.task),
        weights_option=stored.weights_option,
        weights=stored.weights,
        weights_commits=stored.weights_commits or None,
        revision=REVISION,
    )
    selected = found.best.selected
    facts: dict[str, Any] = {"trials": [model.trial.number for model in models]}
    if others:
        facts = {"members": [model_facts(model, model.part) for model in models]}
    facts |= {
        "value": selected.raw,
        "corrected": selected.corrected,
        "chosen_among": found.best.candidates,
        "single": model_facts(found.model, found.model.part),
        "gain": gain_facts(found.gain),
    }
    return {**origin.to_json(), "soup": facts}
