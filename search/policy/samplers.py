"""Where the next nuisance parameters come from: points that fill the space, or one of Optuna's samplers."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from maskcls.system.errors import UserError, nearest, one_line
from search.study.study import Sampler

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "tpe": TPESampler,
    "random": RandomSampler,
    "gp": GPSampler,
}

OURS: dict[str, dict[str, Any]] = {
    "tpe": {"multivariate": True, "group": True, "constant_liar": True, "n_startup_trials": 0},
    "gp": {"n_startup_trials": 0},
}

AUTO, FEW_TRIALS = "auto", 100
"""Up to so many trials a Gaussian process proposes: it finds better ones than TPE (benchmarks/policy.py), at a cost
that grows with the trials. From then on TPE does."""

MAX_MODELLED = 500
"""Trials that a sampler is shown at most, so that the thousandth trial costs no more to propose than the hundredth."""

BEST_MODELLED = 50
"""The best of them are always shown. TPE calls at most 25 trials good, so it calls the same ones good as with all."""


def make_sampler(asked: Sampler, seed: int, num_trials: int) -> BaseSampler:
    """Optuna's sampler of this name with these arguments. Raises UserError for an unknown name or argument.

    TPE is asked for what suits a study like ours, unless the study says otherwise: parameters together, running
    trials taken for bad ones (so that workers do not try the same), and no random trials of its own.
    """
    known = [AUTO, *SAMPLERS]
    if asked.name not in known:
        raise UserError(f"No sampler named {asked.name!r}.{nearest(asked.name, known)} There are: {', '.join(known)}.")
    name = asked.name if asked.name != AUTO else "gp" if num_trials <= FEW_TRIALS else "tpe"
    arguments = {**OURS.get(name, {}), **asked.arguments}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return SAMPLERS[name](**arguments, seed=seed)
    except (TypeError, ValueError, ImportError) as error:
        raise UserError(f"Sampler {asked.name} cannot be made with {arguments}: {one_line(error)}.") from error


def tune(
    sampler: BaseSampler,
    tuned: Mapping[str, BaseDistribution],
    trials: Sequence[FrozenTrial],
    offsets: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Values of the tuned parameters by ``sampler``, on copies of the trials whose values are lowered by their offsets.

    A copy, since Optuna's samplers write notes of their own into the study that they are asked for, and would go by
    the scientific parameters too.
    """
    order = _shown(trials, offsets, rng)
    copy = optuna.create_study(direction="maximize", sampler=sampler)
    # a Gaussian process knows complete trials only; TPE has a place for pruned ones
    all_complete = isinstance(sampler, GPSampler)
    copy.add_trials([_shifted(trials[i], offsets[i], tuned, all_complete) for i in order])
    return copy.ask(dict(tuned)).params


def _shown(trials: Sequence[FrozenTrial], offsets: Sequence[float], rng: np.random.Generator) -> list[int]:
    """Which trials the sampler sees, in order: all, or the running, the best, and others at random."""
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
    trial: FrozenTrial, offset: float, kept: Mapping[str, BaseDistribution], all_complete: bool
) -> FrozenTrial:
    """A copy of a trial with the kept parameters only and all its values lowered by ``offset``.

    ``all_complete``: a pruned trial counts as a complete one with the best value that it got to; one that diverged
    before it had any as a failed one.

    An interrupted one counts as running, as it will again: a waiting copy would be handed out as the next trial.
    """
    value = trial.value - offset if trial.state.is_finished() and trial.value is not None else None
    state = trial.state if trial.state.is_finished() else TrialState.RUNNING
    if all_complete and state == TrialState.PRUNED:
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
    return create_trial(
        state=state,
        value=value,
        params={name: trial.params[name] for name in kept if name in trial.params},
        distributions={name: found for name, found in kept.items() if name in trial.params},
        intermediate_values={step: found - offset for step, found in trial.intermediate_values.items()},
    )


def sobol(tuned: Mapping[str, BaseDistribution], index: int, seed: int) -> dict[str, Any]:
    """The ``index``-th of a sequence of configurations, from 0, that fill the space evenly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # balance is lost when not 2^n points are drawn; no matter
        from scipy.stats import qmc  # takes a second to load, and no study begins with it

        point = qmc.Sobol(len(tuned), rng=seed).random(index + 1)[-1]
    return {name: value_at(found, float(u)) for (name, found), u in zip(tuned.items(), point, strict=True)}


def value_at(distribution: BaseDistribution, share: float) -> Any:
    """The value that lies at this share, in [0, 1), of the distribution."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return choices[int(share * len(choices))]
        case IntDistribution(low=low, high=high, log=log):
            edges = (low - 0.5, high + 0.5)
            value = round(_between(edges[0] if not log else max(edges[0], 0.5), edges[1], log, share))
            return min(max(value, low), high)
        case FloatDistribution(low=low, high=high, log=log):
            return min(max(_between(low, high, log, share), low), high)
    raise AssertionError(distribution)


def _between(low: float, high: float, log: bool, share: float) -> float:
    if log:
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)
