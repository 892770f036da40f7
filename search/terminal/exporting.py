"""The work of search.export --ensemble: a config that trains every member of a study's best ensemble again."""

from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from maskcls.model.ensemble_config import EnsembleConfig, MemberConfig
from maskcls.system.console import say
from maskcls.system.errors import count_of
from maskcls.system.outputs import is_own_output, messages_beside, write_output_text
from search.answer.ensembles import Ensemble, find_ensemble
from search.database.connect import place_of
from search.findings.recipe import find_recipe
from search.system.shell import quoted
from search.terminal.ensembling import ensemble_facts, show_members
from search.terminal.gain import show_gain


def export_ensemble(study: optuna.Study, size: int, out: Path, storage: RDBStorage, runs: Path) -> None:
    """Write the configs of the best ensemble of the study's trials to ``out``, and say what it gains.

    All complete trials may join, since their weights are not needed. Raises UserError before anything is written.
    """
    found = find_ensemble([study.study_name], size, storage, runs, needs_weights=False)
    recipes = [find_recipe(study, member.model.trial.number, runs) for member in found.members]
    members = tuple(
        MemberConfig(recipe.config, recipe.origin, member.weight)
        for recipe, member in zip(recipes, found.members, strict=True)
    )
    write_output_text(out, EnsembleConfig(members, ensemble_facts(found, "search.export")).to_toml())
    with messages_beside(out):
        _say(found, out)
        if out.is_file() and not is_own_output(out):
            say(f"Next: {recipes[0].training_command(out, runs, 'team')}")
            if len(members) > 1:
                say(f"Whether it gains with fresh trainings and judges: {_confirmation(study, out, storage, runs)}")


def _confirmation(study: optuna.Study, out: Path, storage: RDBStorage, runs: Path) -> str:
    """The command that confirms the team."""
    place = place_of(storage.url, runs)
    return f"python -m search.confirm --study {quoted(study.study_name)} --ensemble {quoted(out)}{place}"


def _say(found: Ensemble, out: Path) -> None:
    say(f"{out}: {count_of(len(found.members), 'config')}, of the best ensemble of {found.best.candidates} trials:")
    show_members(found)
    show_gain(found.model, found.single, found.best, found.gain, "ensemble")
