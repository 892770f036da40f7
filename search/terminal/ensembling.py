"""The work of search.ensemble: choose the best ensemble, compare it with the best single model, and write it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage

from maskcls.model.ensemble import save_ensemble
from maskcls.system.console import say
from maskcls.system.errors import count_of
from maskcls.system.provenance import Origin
from maskcls.tasks.declared import task_to_json
from search.answer.candidates import check_weights, weights_elsewhere
from search.answer.ensembles import Ensemble, find_ensemble
from search.answer.format import SYNTHETIC, as_score, describe_values
from search.database.connect import load_study
from search.study.space import values_of
from search.system.shell import quoted
from search.terminal.gain import best_words, gain_facts, model_facts, show_gain


def write_ensemble(names: Sequence[str], size: int, out: Path, storage: RDBStorage, runs: Path) -> None:
    """Write the best ensemble of the studies' trials to ``out``, and say what it gains and costs.

    Raises UserError before anything is written.
    """
    found = find_ensemble(names, size, storage, runs)
    for model in found.models:
        check_weights(model)
    say(_headline(found))
    if any(model.stored.study.synthetic for model in found.models):
        say(f"  {SYNTHETIC}")
    show_members(found)
    show_gain(found.model, found.single, found.best, found.gain, "ensemble")
    say(f"cost      {found.cost_words}")
    if found.without_weights:
        say(
            f"{count_of(found.without_weights, 'complete trial')} could not join, since the weights are not kept;"
            " search.run --keep keeps more."
        )
        for name in dict.fromkeys(names):
            if elsewhere := weights_elsewhere(load_study(storage, name), runs):
                say(elsewhere)
    members = [(member.model.folder, member.weight) for member in found.members]
    written, folder = save_ensemble(out, members, ensemble_facts(found, "search.ensemble"))
    say(f"{written}: its {count_of(len(members), 'model')} in {folder}; keep both together")
    file = found.model.stored.task.predictions_file
    say(f"Next: python -m maskcls.predict --model {quoted(out)} --images DIR -o {file}")


def _headline(found: Ensemble) -> str:
    stored, units = found.model.stored, len(found.resamples.person_P)
    photos = f", {len(found.model.predictions.label_N)} photos" if stored.task.has_groups else ""
    judges = f"{units} {stored.task.unit.noun(units)}{photos} (split {stored.split})"
    able = found.best.candidates - found.without_weights
    return f"The best ensemble of {count_of(able, 'trial')} with weights, judged by {judges}:"


def show_members(found: Ensemble) -> None:
    """Print each member with its share, score and configuration, and the score of all together."""
    total = sum(member.weight for member in found.members)
    for member in found.members:
        model = member.model
        values = describe_values(values_of(model.stored.study.space, model.trial.params))
        words = f"{model.stored.task.metric_words} {as_score(model.score(model.part))}"
        say(f"  {100 * member.weight / total:3.0f} %  {model.name}: {words}  {values}")
    say(f"  all    {best_words(found.best, 'being chosen from')}")


def ensemble_facts(found: Ensemble, made_by: str) -> dict[str, Any]:
    """[origin] of a file that the command ``made_by`` writes of an ensemble."""
    stored = found.model.stored
    origin = Origin(
        made_by=made_by,
        data=stored.data,
        split=stored.split,
        task=task_to_json(stored.task),
        value=found.best.selected.raw,
        corrected=found.best.selected.corrected,
        chosen_among=found.best.candidates,
    )
    part = found.model.part
    members = [{**model_facts(member.model, part), "weight": member.weight} for member in found.members]
    single = model_facts(found.model, part)
    return {**origin.to_json(), "members": members, "single": single, "gain": gain_facts(found.gain)}
