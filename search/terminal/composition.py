"""The work of search.compose: choose the best composition, compare it with the best single model, and write it.

A composition is a model for every factor of the label; one of three is a trio in what is printed, one of two a pair.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from maskcls.config import TrainConfig
from maskcls.labels import ALL
from maskcls.model.composite import save_composed
from maskcls.scoring.counts import Counts
from maskcls.scoring.intervals import interval, select
from maskcls.scoring.resampling import Resamples, resample
from maskcls.system.console import say
from maskcls.system.provenance import Origin
from maskcls.tasks.declared import task_to_json
from search.answer.candidates import Candidate, check_same_photos, check_weights, weights_elsewhere
from search.answer.combinations import (
    Compositions,
    NamedStudy,
    find_candidates,
    find_single,
    find_singles,
    in_label_order,
)
from search.answer.format import SYNTHETIC, as_score, describe_values
from search.answer.gains import Best, gain_of
from search.database.connect import load_study, place_of
from search.study.request import options_of, photo_options
from search.study.space import values_of
from search.system.shell import quoted
from search.terminal.gain import best_words, gain_facts, model_facts, show_gain

MAX_LOOKS, MIN_RESAMPLES = 60_000, 50
"""The correction may take this many compositions times resamples, about ten seconds: many get fewer resamples, but not
fewer than the minimum."""

KIND_OF = {2: "pair", 3: "trio"}
NUMBERS = {2: "two", 3: "three"}


def compose(named: Sequence[NamedStudy], out: Path, against: str | None, storage: RDBStorage, runs: Path) -> None:
    """Write the best composition to ``out``, and say what it gains. Raises UserError before anything is written.

    ``named``: a study for every factor of the label. ``against``: STUDY:TRIAL, the single model; None: the best one
    stored.
    """
    ordered = in_label_order(named, storage)
    candidates = {each.part: find_candidates(storage, each.study, each.part, runs, each.option) for each in ordered}
    compositions = Compositions(candidates)
    like = next(iter(compositions.candidates.values()))[0]
    singles = _singles(like, against, storage, runs)
    resamples = resample(compositions[0])
    best = _best_of(compositions, resamples)
    models = compositions.models(best.selected.index)
    for model in models.values():
        check_weights(model)
    say(_headline(compositions, resamples))
    for name in dict.fromkeys(each.study for each in ordered):
        if elsewhere := weights_elsewhere(load_study(storage, name), runs):
            say(f"  {elsewhere}")
    if any(model.stored.study.synthetic for model in models.values()):
        say(f"  {SYNTHETIC}")
    _show_models(models, best)
    origin = _origin(models, best)
    if singles:
        single = _best_of([model.counts() for model in singles], resamples)
        model, gain = singles[single.selected.index], gain_of(best, single, resamples)
        show_gain(model, single, best, gain, KIND_OF.get(len(models), "composition"))
        origin["single"] = model_facts(model, ALL)
        origin["gain"] = gain_facts(gain)
    else:
        _show_no_single(like, place_of(storage.url, runs))
    written, folder = save_composed(out, {part: model.folder for part, model in models.items()}, origin)
    say(f"{written}: the {NUMBERS.get(len(models), len(models))} models are in {folder}; keep both together")
    file = like.stored.task.predictions_file
    say(f"Next: python -m maskcls.predict --model {quoted(out)} --images DIR -o {file}")


def _singles(like: Candidate, against: str | None, storage: RDBStorage, runs: Path) -> list[Candidate]:
    if against is None:
        return find_singles(like, optuna.get_all_study_names(storage), storage, runs)
    single = find_single(against, like, storage, runs)
    check_same_photos(like, single)
    return [single]


def _best_of(models: Sequence[Counts], resamples: Resamples) -> Best:
    max_resamples = min(500, max(MIN_RESAMPLES, MAX_LOOKS // len(models)))
    selected = select(models, resamples, max_resamples=max_resamples)
    counts = models[selected.index]
    return Best(counts, selected, interval(counts, resamples), len(models))


def _headline(compositions: Compositions, resamples: Resamples) -> str:
    sizes = " x ".join(map(str, compositions.shape))
    stored = next(iter(compositions.candidates.values()))[0].stored
    kind, units = KIND_OF.get(len(compositions.shape), "composition"), len(resamples.person_P)
    judges = f"{units} {stored.task.unit.noun(units)}"
    photos = f", {len(compositions.label_N)} photos" if stored.task.has_groups else ""
    return f"The best of {len(compositions)} {kind}s ({sizes}), judged by {judges}{photos} (split {stored.split}):"


def _show_models(models: Mapping[str, Candidate], best: Best) -> None:
    task = next(iter(models.values())).stored.task
    width = max(8, *(len(part) + 1 for part in models))
    for part, model in models.items():
        values = describe_values(values_of(model.stored.study.space, model.trial.params))
        score = f"{task.metric_words} of {part} {as_score(model.score(part))}"
        say(f"  {part:{width}s}{model.name}: {score}  {values}")
    say(f"  {f'all {task.space.num_classes}':{width}s}{best_words(best)}")


def _show_no_single(like: Candidate, place: str) -> None:
    stored = like.stored
    data = "" if stored.study.synthetic else f" --data {quoted(stored.data)}{options_of(stored)}"
    data += f" --people {stored.study.fixed['people']}" if stored.study.fixed["people"] else ""
    for name in ("split_seed", "valid_share"):
        if (value := getattr(stored.baseline_config, name)) != TrainConfig.model_fields[name].default:
            data += f" --set {name}={value}"
    data += photo_options(stored.label_fixes, stored.skip_unreadable)
    say(
        f"single    none: no complete trial of all {stored.task.space.num_classes} classes is stored for these photos,"
        " so the gain is unknown. Make"
        f" one: python -m search.run --study recipe --n-trials 20{data}{place}"
    )


def _origin(models: Mapping[str, Candidate], best: Best) -> dict[str, Any]:
    stored = next(iter(models.values())).stored
    origin = Origin(
        made_by="search.compose",
        data=stored.data,
        split=stored.split,
        task=task_to_json(stored.task),
        value=best.selected.raw,
        corrected=best.selected.corrected,
        chosen_among=best.candidates,
    )
    return {**origin.to_json(), **{part: model_facts(model, part) for part, model in models.items()}}
