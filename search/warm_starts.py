"""Settings that a new study tries first: some known to work for fine-tuning, and the best of earlier studies."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.space import distributions, factors, is_within, params_of
from search.stored import KEY, Stored
from search.study import Knob, contains
from search.warm import warm_settings

MOST_SHARE = 1 / 4
"""Of the trials that warm starts may take."""

KNOWN: tuple[Mapping[str, Any], ...] = (
    {"lr": 3e-4, "augment": ("flip",), "loss": "focal", "label_smoothing": 0.0, "drop_rate": 0.2},
    {"lr": 1e-4, "augment": ("flip", "cutmix"), "loss": "cross_entropy", "label_smoothing": 0.1, "weight_decay": 1e-2},
    {"lr": 2e-3, "augment": ("flip",), "loss": "cross_entropy", "label_smoothing": 0.1, "drop_rate": 0.0},
)
"""What recurs in solutions of the competition (learning rates from 1e-5 to 3e-4, flip, CutMix, focal loss or label
smoothing), and what a small backbone at a small size needed in our own runs (studies/LOG.md)."""


def choose(storage: RDBStorage, stored: Stored, n_trials: int) -> tuple[dict[str, Any], ...]:
    """Nuisance settings for policy.Policy, each {"params", "from"}; at most a quarter of the trials in all levels."""
    levels = max((len(factor.levels) for factor in factors(stored.study.scientific)), default=1)
    count = int(MOST_SHARE * n_trials) // levels
    earlier = _from_earlier(storage, stored, count)
    known = _known(stored.study.nuisance, stored.study.baseline)
    known = known[: count - min(len(earlier), count // 2)]
    return tuple((known + earlier)[:count])


def _known(nuisance: Mapping[str, Knob], baseline: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The known settings as far as the study tunes their knobs; those that are the baseline again are left out."""
    base = params_of(nuisance, {name: baseline[name] for name in nuisance})
    found: list[dict[str, Any]] = []
    for values in KNOWN:
        admitted = {name: knob for name, knob in nuisance.items() if name in values and contains(knob, values[name])}
        params = params_of(admitted, values)
        is_new = {**base, **params} != base and all(params != other["params"] for other in found)
        if is_new:
            found.append({"params": params, "from": "known to work"})
    return found


def _from_earlier(storage: RDBStorage, stored: Stored, count: int) -> list[dict[str, Any]]:
    """The best of the studies on the same photos, over the nuisance parameters that both have."""
    space = distributions(stored.study.nuisance)
    names, histories = [], []
    for study in optuna.get_all_study_summaries(storage, include_best_trial=False):
        document = study.user_attrs.get(KEY)
        if document is not None and document["split"] == stored.split:
            history = _history(optuna.load_study(study_name=study.study_name, storage=storage), space)
            if history:
                names.append(study.study_name)
                histories.append(history)
    if not histories or count < 1:
        return []
    origin = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return [
        {"params": dict(params), "from": f"the best of {origin}"} for params in warm_settings(histories, space, count)
    ]


def _history(study: optuna.Study, space: Mapping[str, BaseDistribution]) -> Sequence[tuple[dict[str, Any], float]]:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = []
    for trial in trials:
        params = {
            name: value for name, value in trial.params.items() if name in space and is_within(space[name], value)
        }
        if params and trial.value is not None:
            found.append((params, trial.value))
    return found
