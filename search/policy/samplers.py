"""Where the next nuisance parameters come from: a sequence that fills the space, or one of Optuna's samplers."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from maskcls.system.errors import UserError, nearest, one_line
from search.database.optuna_internals import store_trial
from search.study.study import Sampler

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "tpe": TPESampler,
    "random": RandomSampler,
    "gp": GPSampler,
}

DEFAULT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "tpe": {"multivariate": True, "group": True, "constant_liar": True, "n_startup_trials": 0},
    "gp": {"n_startup_trials": 0},
}
"""TPE models the parameters jointly and counts running trials as bad, so that workers do not try the same; neither
sampler draws random trials of its own."""

AUTO, FEW_TRIALS = "auto", 100
"""Up to so many trials a Gaussian process proposes: it finds better ones than TPE (benchmarks/policy.py), at a cost
that grows with the trials. From then on TPE does."""

MAX_MODELLED = 500
"""Trials that a sampler sees at most, so that the thousandth trial costs no more to propose than the hundredth."""

BEST_MODELLED = 50
"""The best of them are always seen. TPE calls at most 25 trials good, so it calls the same ones good as with all."""


def make_sampler(choice: Sampler, seed: int, num_trials: int) -> BaseSampler:
    """The chosen sampler; ``auto`` goes by the number of trials. Raises UserError for an unknown name or argument."""
    names = [AUTO, *SAMPLERS]
    if choice.name not in names:
        close = nearest(choice.name, names)
        raise UserError(f"No sampler named {choice.name!r}.{close} There are: {', '.join(names)}.")
    name = choice.name if choice.name != AUTO else "gp" if num_trials <= FEW_TRIALS else "tpe"
    arguments = {**DEFAULT_ARGUMENTS.get(name, {}), **choice.arguments}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return SAMPLERS[name](**arguments, seed=seed)
    except (TypeError, ValueError, ImportError) as error:
        raise UserError(f"Sampler {choice.name} cannot be made with {arguments}: {one_line(error)}.") from error


def ask_sampler(
    sampler: BaseSampler,
    tuned: Mapping[str, BaseDistribution],
    trials: Sequence[FrozenTrial],
    offsets: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Values that the sampler proposes for the tuned parameters, given trials whose values are lowered by ``offsets``.

    It sees a copy of the study: Optuna's samplers store attributes in the study and model all its parameters, also the
    scientific ones.
    """
    copy = optuna.create_study(direction="maximize", sampler=sampler)
    # a Gaussian process models complete trials only; TPE has a place for pruned ones
    all_complete = isinstance(sampler, GPSampler)
    for i in _modelled(trials, offsets, rng):
        store_trial(copy, _shifted(trials[i], offsets[i], tuned, all_complete))
    return copy.ask(dict(tuned)).params


def _modelled(trials: Sequence[FrozenTrial], offsets: Sequence[float], rng: np.random.Generator) -> list[int]:
    """Indices of the trials that the sampler sees: all, or the running ones, the best, and a sample of the others."""
    if len(trials) <= MAX_MODELLED:
        return list(range(len(trials)))
    finished = [i for i, trial in enumerate(trials) if trial.state.is_finished()]

    def badness(i: int) -> float:
        trial = trials[i]
        return math.inf if trial.state != TrialState.COMPLETE or trial.value is None else offsets[i] - trial.value

    ranked = sorted(finished, key=badness)
    kept = set(range(len(trials))) - set(finished) | set(ranked[:BEST_MODELLED])
    others = rng.choice(ranked[BEST_MODELLED:], size=max(0, MAX_MODELLED - len(kept)), replace=False)
    return sorted(kept | {int(i) for i in others})


def _shifted(
    trial: FrozenTrial, offset: float, tuned: Mapping[str, BaseDistribution], all_complete: bool
) -> FrozenTrial:
    """A copy of a trial with the tuned parameters only and all its values lowered by ``offset``.

    ``all_complete``: a pruned trial counts as complete, with its best value; one that diverged before it had a value
    as failed. An interrupted trial counts as running, since Optuna would take a waiting copy as the next trial.
    """
    value = trial.value - offset if trial.state.is_finished() and trial.value is not None else None
    state = trial.state if trial.state.is_finished() else TrialState.RUNNING
    if all_complete and state == TrialState.PRUNED:
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
    domains = {name: domain for name, domain in tuned.items() if name in trial.params}
    return Borrowed(
        number=-1,  # this and its id come from the study
        state=state,
        value=value,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params={name: trial.params[name] for name in domains},
        distributions=domains,
        user_attrs={},
        system_attrs={},
        intermediate_values={step: score - offset for step, score in trial.intermediate_values.items()},
        trial_id=-1,
    )


class Borrowed(FrozenTrial):
    """A trial that a study in memory keeps as it is.

    Such a study copies each value of what is added to it, which took longer than to model hundreds of trials.
    """

    def __deepcopy__(self, _: dict[int, Any]) -> "Borrowed":
        return self


def sobol(tuned: Mapping[str, BaseDistribution], index: int, seed: int) -> dict[str, Any]:
    """The ``index``-th configuration, from 0, of a sequence that fills the space evenly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of unbalanced sequences, those of other lengths than 2^n
        from scipy.stats import qmc  # takes a second to load, and no study needs it for its first trials

        point = qmc.Sobol(len(tuned), rng=seed).random(index + 1)[-1]
    return {name: value_at(domain, float(share)) for (name, domain), share in zip(tuned.items(), point, strict=True)}


def value_at(distribution: BaseDistribution, share: float) -> Any:
    """The value at this share, in [0, 1), of the distribution."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return choices[int(share * len(choices))]
        case IntDistribution(low=low, high=high, log=log):
            value = round(_between(low - 0.5 if not log else max(low - 0.5, 0.5), high + 0.5, log, share))
            return min(max(value, low), high)
        case FloatDistribution(low=low, high=high, log=log):
            return min(max(_between(low, high, log, share), low), high)
    raise AssertionError(distribution)


def _between(low: float, high: float, log: bool, share: float) -> float:
    if log:
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)
