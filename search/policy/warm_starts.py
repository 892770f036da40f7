"""What a new study tries first: configurations known to work for fine-tuning, and the best of earlier studies."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.policy.portfolio import warm_configurations
from search.study.attributes import GROWN_FROM
from search.study.hyperparameters import Domain, contains
from search.study.record import Stored, confirms, document_in
from search.study.space import distributions, factors, is_within, params_of

MAX_SHARE = 1 / 4
"""Of the trials that warm starts may take."""

KNOWN: tuple[Mapping[str, Any], ...] = (
    {"lr": 3e-4, "augment": ("flip",), "loss": "focal", "label_smoothing": 0.0, "drop_rate": 0.2},
    {"lr": 1e-4, "augment": ("flip", "cutmix"), "loss": "cross_entropy", "label_smoothing": 0.1, "weight_decay": 1e-2},
    {"lr": 2e-3, "augment": ("flip",), "loss": "cross_entropy", "label_smoothing": 0.1, "drop_rate": 0.0},
)
"""What recurs in solutions of the competition (learning rates from 1e-5 to 3e-4, flip, CutMix, focal loss or label
smoothing), and what a small backbone at a small size needed in our own runs (studies/LOG.md)."""


def choose_warm_starts(storage: RDBStorage, stored: Stored, n_trials: int) -> tuple[dict[str, Any], ...]:
    """Nuisance parameters for policy.Policy, each {"params", "from"}; at most a quarter of the trials in all levels."""
    levels = max((len(factor.levels) for factor in factors(stored.study.scientific)), default=1)
    count = int(MAX_SHARE * n_trials) // levels
    earlier = _from_earlier(storage, stored, count)
    known = _known(stored.study.nuisance)
    known = known[: count - min(len(earlier), count // 2)]
    base = params_of(stored.study.nuisance, {name: stored.study.baseline[name] for name in stored.study.nuisance})
    return tuple(_different(base, known + earlier)[:count])


def _different(base: dict[str, Any], starts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are neither the baseline's configuration nor one before them."""
    seen, kept = [base], []
    for start in starts:
        whole = {**base, **start["params"]}
        if whole not in seen:
            seen.append(whole)
            kept.append(start)
    return kept


def _known(nuisance: Mapping[str, Domain]) -> list[dict[str, Any]]:
    """The known configurations, as far as the study tunes their hyperparameters."""
    found: list[dict[str, Any]] = []
    for values in KNOWN:
        admitted = {
            name: domain for name, domain in nuisance.items() if name in values and contains(name, domain, values[name])
        }
        if admitted:
            found.append({"params": params_of(admitted, values), "from": "known to work"})
    return found


def _from_earlier(storage: RDBStorage, stored: Stored, count: int) -> list[dict[str, Any]]:
    """The best of the studies on the same photos, over the nuisance parameters that both have."""
    space = distributions(stored.study.nuisance)
    names, histories = [], []
    summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    copied = {study.user_attrs.get(GROWN_FROM) for study in summaries}  # whose trials their copy has too
    for study in summaries:
        document = document_in(study)
        # a confirmation's values are other people's, and its configurations are those of its study
        if document is None or document["split"] != stored.split or confirms(study) is not None:
            continue
        if study.study_name not in copied:
            history = _history(optuna.load_study(study_name=study.study_name, storage=storage), space)
            if history:
                names.append(study.study_name)
                histories.append(history)
    if not histories or count < 1:
        return []
    origin = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    found = warm_configurations(histories, space, count)
    return [{"params": dict(params), "from": f"the best of {origin}"} for params in found]


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
