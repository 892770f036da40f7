"""What the tests of the search share."""

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import typer
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from search.policy import StudySampler
from search.space import distributions
from search.study import Choice, Float, Int, Knob, Study, Subset

LR = Float(1e-5, 1e-1, log=True)
BEST_LR, BEST_DECAY = 10**-2.6, 1e-2
LEVEL_VALUES = {0.0: 0.6, 0.5: 0.3, 0.7: 0.0}


def asking(**scientific: Knob) -> Study:
    """A study that compares these knobs and tunes lr and weight decay."""
    first = {Choice: lambda knob: knob.options[0], Subset: lambda knob: (), Float: lambda knob: knob.low}
    first[Int] = first[Float]
    return Study(
        question="Does it help?",
        scientific=scientific,
        nuisance={"lr": LR, "weight_decay": Float(1e-4, 1, log=True)},
        fixed={},
        baseline={
            **{name: first[type(knob)](knob) for name, knob in scientific.items()},
            "lr": 1e-4,
            "weight_decay": 0.1,
        },
    )


DROPOUT = asking(drop_rate=Choice(*LEVEL_VALUES))


def toy(params: Mapping[str, Any]) -> float:
    """Levels .3 apart; within each, lr is worth .3 and weight decay .05."""
    lr, decay = (math.log10(params[name] / best) for name, best in (("lr", BEST_LR), ("weight_decay", BEST_DECAY)))
    return LEVEL_VALUES.get(params.get("drop_rate", 0.7), 0.0) + 0.3 * math.exp(-(lr**2)) + 0.05 * math.exp(-(decay**2))


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
