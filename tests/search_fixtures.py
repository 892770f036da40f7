"""What the tests of the search share."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import typer
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from search.policy import StudySampler
from search.space import distributions
from search.study import Study


def option_names(module: str) -> set[str]:
    """Every option of ``python -m module``."""
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(module).main)
    return {name for parameter in typer.main.get_command(app).params for name in parameter.opts}


def play(
    study: Study,
    trials: int,
    score: Callable[[Mapping[str, Any]], float | None],
    sampler: BaseSampler | None = None,
    into: optuna.Study | None = None,
) -> optuna.Study:
    """So many trials more in a study in memory, each scored by a formula of its parameters; None is a crash."""
    played = into or optuna.create_study(direction="maximize", sampler=sampler or StudySampler(study, 0))
    for _ in range(trials):
        trial = played.ask(distributions(study.space))
        value = score(trial.params)
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        played._storage.set_trial_state_values(trial._trial_id, state, None if value is None else [value])
    return played
