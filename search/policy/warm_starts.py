"""What a new study tries first: configurations known to work for fine-tuning, and the best of earlier studies."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.policy.portfolio import warm_configurations
from search.study.attributes import GROWN_FROM, judged_by_study
from search.study.domains import Domain, contains
from search.study.record import Stored, confirms, document_in
from search.study.space import distributions, factors, is_within, params_of

MAX_SHARE = 1 / 4
"""Largest share of the trials that are warm starts."""

KNOWN_TO_WORK: tuple[Mapping[str, Any], ...] = (
    {"lr": 3e-4, "augment": ("flip",), "loss": "focal", "label_smoothing": 0.0, "drop_rate": 0.2},
    {"lr": 1e-4, "augment": ("flip", "cutmix"), "loss": "cross_entropy", "label_smoothing": 0.1, "weight_decay": 1e-2},
    {"lr": 2e-3, "augment": ("flip",), "loss": "cross_entropy", "label_smoothing": 0.1, "drop_rate": 0.0},
)
"""What solutions of the competition have in common (learning rates from 1e-5 to 3e-4, flip, CutMix, focal loss or label
smoothing), and what a small backbone at a small size needed in our own studies (studies/LOG.md)."""


def choose_warm_starts(storage: RDBStorage, stored: Stored, n_trials: int) -> tuple[dict[str, Any], ...]:
    """Warm starts for policy.Policy, each {"params": nuisance parameters, "from": its source, in words}.

    As every level tries them, there are as many as take MAX_SHARE of the trials together.
    """
    levels = max((len(factor.levels) for factor in factors(stored.study.scientific)), default=1)
    count = int(MAX_SHARE * n_trials) // levels
    earlier = _from_earlier_studies(storage, stored, count)
    known = _known_to_work(stored.study.nuisance)[: count - min(len(earlier), count // 2)]
    baseline = params_of(stored.study.nuisance, stored.study.baseline)
    return tuple(_distinct(baseline, known + earlier)[:count])


def _distinct(baseline: dict[str, Any], starts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The starts that differ from the baseline and from those before them."""
    seen, distinct = [baseline], []
    for start in starts:
        params = {**baseline, **start["params"]}
        if params not in seen:
            seen.append(params)
            distinct.append(start)
    return distinct


def _known_to_work(nuisance: Mapping[str, Domain]) -> list[dict[str, Any]]:
    """Warm starts of KNOWN_TO_WORK, each with the values that the study's space contains."""
    starts: list[dict[str, Any]] = []
    for values in KNOWN_TO_WORK:
        space = {
            name: domain for name, domain in nuisance.items() if name in values and contains(name, domain, values[name])
        }
        if space:
            starts.append({"params": params_of(space, values), "from": "known to work"})
    return starts


def _from_earlier_studies(storage: RDBStorage, stored: Stored, count: int) -> list[dict[str, Any]]:
    """Warm starts from the studies on the same photos, with the nuisance parameters that both have."""
    space = distributions(stored.study.nuisance)
    names, histories = [], []
    summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
    copied = {study.user_attrs.get(GROWN_FROM) for study in summaries}  # their copies have their trials too
    for study in summaries:
        document = document_in(study)
        # a confirmation has its values from other people, and its configurations from its study
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
    return [
        {"params": params, "from": f"the best of {origin}"} for params in warm_configurations(histories, space, count)
    ]


def _history(study: optuna.Study, space: Mapping[str, BaseDistribution]) -> Sequence[tuple[dict[str, Any], float]]:
    """(Parameters within the space, value) of the complete trials that the study's own people judged."""
    history = []
    for trial in judged_by_study(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))):
        params = {
            name: value for name, value in trial.params.items() if name in space and is_within(space[name], value)
        }
        if params and trial.value is not None:
            history.append((params, trial.value))
    return history
