"""What a new study tries first: configurations known to work for fine-tuning, and the best of earlier studies."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from maskcls.config import TrainConfig
from search.policy.portfolio import warm_configurations
from search.study.attributes import GROWN_FROM, judged_by_study
from search.study.domains import Choice, contains
from search.study.record import Stored, confirms, document_in
from search.study.space import distributions, factors, is_within, params_of
from search.study.study import Study

MAX_SHARE = 1 / 4
"""Largest share of the trials that are warm starts."""


@dataclass(frozen=True)
class Recipe:
    """A configuration that is known to work."""

    values: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    """Hyperparameters that a study must search, with these values, to try it: the rest is known to work with them."""
    optimizer: str = "adamw"


KNOWN_TO_WORK = (
    # MAE's fine-tuning of ViTs (He et al. 2022, table 9)
    Recipe({"layer_decay": 0.75, "lr": 3e-4, "weight_decay": 0.05, "drop_path_rate": 0.1, "label_smoothing": 0.1},
           needs=("layer_decay",)),
    # fastai's fine_tune trains the head alone for an epoch at first; Kumar et al. 2022 say when that helps
    Recipe({"frozen_share": 0.2, "lr": 3e-4}, needs=("frozen_share",)),
    # the range that Kornblith et al. 2019 and Steiner et al. 2022 (How to train your ViT?) found best
    Recipe({"lr": 1e-2, "weight_decay": 1e-4}, needs=("lr",), optimizer="sgd"),
    # Chen et al. 2023: a learning rate 3 to 10 times smaller than AdamW's, a weight decay as much larger
    Recipe({"lr": 5e-5, "weight_decay": 0.1}, needs=("lr",), optimizer="lion"),
    # ResNet strikes back (Wightman et al. 2021), procedure A2
    Recipe({"lr": 6e-4, "weight_decay": 0.02, "drop_path_rate": 0.05}, needs=("lr",), optimizer="lamb"),
    # what solutions of the competition have in common: learning rates from 1e-5 to 3e-4, flip, CutMix, focal loss or
    # label smoothing
    Recipe({"lr": 3e-4, "augment": ("flip",), "loss": "focal", "label_smoothing": 0.0, "drop_rate": 0.2}),
    Recipe({"lr": 1e-4, "augment": ("flip", "cutmix"), "loss": "cross_entropy", "label_smoothing": 0.1,
            "weight_decay": 1e-2}),
    # what a small backbone at a small size needed in our own studies (studies/LOG.md)
    Recipe({"lr": 2e-3, "augment": ("flip",), "loss": "cross_entropy", "label_smoothing": 0.1, "drop_rate": 0.0}),
)  # fmt: skip
"""Learning rates of the papers are for batches of 256 to 2,048; here they are scaled to 32 by the square root of the
ratio (Malladi et al. 2022). A study that searches none of what the others need tries the last three alone."""


def choose_warm_starts(storage: RDBStorage, stored: Stored, n_trials: int) -> tuple[dict[str, Any], ...]:
    """Warm starts for policy.Policy, each {"params": nuisance parameters, "from": its source, in words}.

    As every level tries them, there are as many as take MAX_SHARE of the trials together.
    """
    levels = max((len(factor.levels) for factor in factors(stored.study.scientific)), default=1)
    count = int(MAX_SHARE * n_trials) // levels
    earlier = _from_earlier_studies(storage, stored, count)
    known = _known_to_work(stored.study)[: count - min(len(earlier), count // 2)]
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


def _known_to_work(study: Study) -> list[dict[str, Any]]:
    """Warm starts of KNOWN_TO_WORK, each with the values that the study's space contains.

    Only of optimizers that the study may use: where it compares several, of the baseline's.
    """
    starts: list[dict[str, Any]] = []
    given = _given_optimizer(study)
    for recipe in KNOWN_TO_WORK:
        values = {"optimizer": recipe.optimizer, **recipe.values}
        space = {
            name: domain
            for name, domain in study.nuisance.items()
            if name in values and contains(name, domain, values[name])
        }
        can_be = "optimizer" in space or ("optimizer" not in study.nuisance and given == recipe.optimizer)
        if space and can_be and space.keys() >= set(recipe.needs):
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
            earlier = optuna.load_study(study_name=study.study_name, storage=storage)
            history = _history(
                earlier, space, _optimizers(stored.study), _given_optimizer(Stored.from_json(document).study)
            )
            if history:
                names.append(study.study_name)
                histories.append(history)
    if not histories or count < 1:
        return []
    origin = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return [
        {"params": params, "from": f"the best of {origin}"} for params in warm_configurations(histories, space, count)
    ]


def _given_optimizer(study: Study) -> str:
    """The optimizer of the trials that have none of their own; of a study that compares several, its baseline's."""
    given: str = {"optimizer": TrainConfig().optimizer, **study.fixed, **study.baseline}["optimizer"]
    return given


def _optimizers(study: Study) -> Collection[str]:
    """The optimizers whose learning rates are of use to the study's baseline settings."""
    tuned = study.nuisance.get("optimizer")
    return tuned.options if isinstance(tuned, Choice) else (_given_optimizer(study),)


def _history(
    study: optuna.Study, space: Mapping[str, BaseDistribution], optimizers: Collection[str], given: str
) -> Sequence[tuple[dict[str, Any], float]]:
    """(Parameters within the space, value) of the complete trials that the study's own people judged.

    Only of those with one of these optimizers, since a learning rate is of use to its own alone; ``given``: the
    optimizer of a trial that has none among its parameters.
    """
    history = []
    for trial in judged_by_study(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))):
        values = {"optimizer": given, **trial.params}
        params = {name: value for name, value in values.items() if name in space and is_within(space[name], value)}
        if trial.value is not None and values["optimizer"] in optimizers and params.keys() & trial.params.keys():
            history.append((params, trial.value))
    return history
