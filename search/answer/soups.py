"""Soups of the trials of one or more studies: the mean of their weights, judged by the validation photos.

Shape suffixes: N photos.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import torch
from safetensors.torch import load_file
from torch import Tensor

from maskcls.data.batches import Batches
from maskcls.data.dataset import Dataset
from maskcls.model.inference import log_probs, validation_batch_size
from maskcls.model.soup import average, has_batch_norm, renew_batch_norm
from maskcls.model.trained import read_model
from maskcls.run.record import WEIGHTS
from maskcls.scoring.counts import Counts, count
from maskcls.scoring.intervals import Selected, interval, select
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import resample
from maskcls.scoring.soup_choice import Models, SoupProcedure, correct_soup, tried_soups
from maskcls.system.errors import UserError, count_of, listed
from maskcls.training.run_folder import load_trained
from search.answer.candidates import Candidate, check_weights, each_once, find_trained
from search.answer.ensembles import check_joinable
from search.answer.gains import Best, Gain, gain_of
from search.study.record import read_search
from search.system.shell import quoted

ARCHITECTURE = ("backbone", "heads", "task", "image_size", "crop", "fit", "bit_depth")
"""Hyperparameters that ingredients have in common: what the weights mean, and which pixels they are made for."""

START = "pretrained weights"
"""What they have in common besides: the weights that their training began with."""

STATISTICS_PHOTOS = 4096
"""Training photos, drawn at random, that the statistics of batch norm are computed from."""


@dataclass(frozen=True)
class Soup:
    """The mean of some trials' weights."""

    ingredients: tuple[Candidate, ...]
    weights: dict[str, Tensor]
    """The state dict of best.safetensors."""
    predictions: Predictions

    def counts(self) -> Counts:
        """Counts over the model's classes, group by group."""
        said, stored = self.predictions, self.ingredients[0].stored
        predicted_N = said.log_prob_NK.argmax(1)
        return count(said.person_N, said.label_N, predicted_N, stored.space, metric=stored.task.metric)


@dataclass(frozen=True)
class BestSoup:
    """The best soup, and what it gains over the best single model."""

    soup: Soup
    best: Best
    """Its score; its candidates are all soups that were tried."""
    model: Candidate
    """The best single model."""
    single: Best
    gain: Gain
    redrawn: int
    """Resamples in which order and choice were made anew."""
    made: int
    """Soups that were made for that and before."""


def find_ingredients(studies: Sequence[optuna.Study], runs: Path) -> tuple[list[Candidate], list[Candidate]]:
    """(the trials that may make a soup together, the best first; all trained trials of the studies, each model once).

    They are those with weights and the architecture and pretrained weights of the best trial that shares its own with
    another, and with one of every other study. Raises UserError for a study that was trained from scratch, for studies
    of other classes, another metric or other photos, and where no two trials, or none of some study, have so much in
    common.
    """
    for study in studies:
        _check_is_pretrained(study)
    trained = [model for study in studies for model in find_trained(study, runs)]
    for other in trained[1:]:
        check_joinable(trained[0], other)
    groups: dict[tuple[object, ...], list[Candidate]] = {}
    for model in sorted(trained, key=lambda model: -(model.trial.value or 0.0)):  # of equals the earlier study's first
        if model.has_weights:
            groups.setdefault(tuple(_traits(model).values()), []).append(model)
    names = [study.study_name for study in studies]
    whole = [group for group in groups.values() if {model.study for model in group} == set(names)]
    if not whole:
        raise UserError(_why_apart(list(groups.values())))
    chosen = next((alike for group in whole if len(alike := each_once(group)) > 1), None)
    if chosen is None:
        several = f"studies {listed(names)} have" if len(names) > 1 else f"study {names[0]!r} has"
        raise UserError(
            f"A soup needs two complete trials with weights that share backbone, heads, image_size, crop, fit and"
            f" bit_depth; {several} none. Continue with a larger --n-trials or --keep."
        )
    return chosen, each_once(trained)


def _check_is_pretrained(study: optuna.Study) -> None:
    if read_search(study).weights.get("source") == "scratch":
        raise UserError(
            f"Study {study.study_name!r} was trained from scratch, and the mean of weights that did not begin at the"
            " same pretrained ones is no model. Run it with --weights pretrained, or join its trials by"
            " search.ensemble."
        )


def _traits(model: Candidate) -> dict[str, object]:
    """All that the ingredients of a soup have in common."""
    config, weights = read_model(model.folder).config, model.stored.weights
    start = weights.get(config.backbone, weights.get("source"))
    return {**{name: getattr(config, name) for name in ARCHITECTURE}, START: start}


def _why_apart(groups: Sequence[Sequence[Candidate]]) -> str:
    """Why no group of models that may make a soup has one of every study: the first thing that differs."""
    best = groups[0][0]
    inside = {model.study for model in groups[0]}
    other = next(model for group in groups for model in group if model.study not in inside)
    ours, theirs = _traits(best), _traits(other)
    name = next(name for name in ours if ours[name] != theirs[name])
    return (
        f"The weights of {best.name} and {other.name} cannot be averaged: {name} is {_typed(ours[name])} and"
        f" {_typed(theirs[name])}. Leave out --study {quoted(other.study)}, or join them by search.ensemble."
    )


def _typed(value: object) -> str:
    """A hyperparameter's value as one types it."""
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)


class Kitchen:
    """Makes soups of trials of one architecture and judges them."""

    def __init__(self, like: Candidate, data: Dataset, device: torch.device) -> None:
        """``like``: a trial of the architecture; ``data``: the photos that it was trained and judged by.

        Raises UserError when the validation photos are others.
        """
        if not np.array_equal(like.predictions.path_N, data.valid.path_N):
            raise UserError(f"{like.name} was judged by other photos than these; name those of its study by --data.")
        self.like, self.data, self.device = like, data, device
        self.model, self.config = load_trained(like.folder, device)

    def cook(self, ingredients: Sequence[Candidate]) -> Soup:
        """The soup of these trials, with its predictions of the validation photos."""
        network = self.model.weights()
        network.load_state_dict(average([load_file(model.folder / WEIGHTS) for model in ingredients]))
        if has_batch_norm(self.model):
            renew_batch_norm(self.model, self._training_photos(), self.config)
        weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        return Soup(tuple(ingredients), weights, self._predict())

    def _training_photos(self) -> Iterator[Tensor]:
        """Batches of random training photos, of about equal size, since each counts the same."""
        order_N = np.random.default_rng(0).permutation(self.data.train.row_N)[:STATISTICS_PHOTOS]
        size = min(len(order_N), max(self.config.batch_size, 64))
        parts = np.array_split(order_N, max(1, len(order_N) // size))
        for row_B in parts:
            batch = Batches(self.data.image_NCHW, row_B, np.zeros(len(row_B), np.int64), self.device, move=False)
            yield batch.take(torch.arange(len(row_B)))[0]

    def _predict(self) -> Predictions:
        valid = self.data.valid
        label_N = valid.labels(self.data.task.space, self.config.task)
        batches = Batches(self.data.image_NCHW, valid.row_N, label_N, self.device, move=False)
        in_order = batches.in_order(validation_batch_size(self.config, self.device, len(label_N)))
        log_prob_NK = log_probs(self.model, (image_BCHW for image_BCHW, _ in in_order), self.config)
        return Predictions(valid.path_N, valid.person_N, label_N, log_prob_NK)


def best_soup(
    ingredients: Sequence[Candidate],
    trained: Sequence[Candidate],
    cook: Callable[[Sequence[Candidate]], Soup],
    tell: Callable[[str], None],
) -> BestSoup:
    """The best of the greedy soup, the uniform one, and all that are tried on the way (scoring.soup_choice).

    Its score is corrected for the order of the ingredients and for the choice, both of which are made anew in every
    resample; that takes further soups. ``ingredients``: the best first. ``trained``: all trials, for the best single
    one.
    """
    for model in ingredients:
        check_weights(model)

    def cook_these(numbers: Models) -> Soup:
        return cook([ingredients[number] for number in numbers])

    procedure = SoupProcedure([model.counts() for model in ingredients], lambda numbers: cook_these(numbers).counts())
    soup_of: dict[Models, Soup] = {}

    def value_of(numbers: Models) -> float:
        soup_of[numbers] = cook_these(numbers)
        counts = procedure.made[numbers] = soup_of[numbers].counts()
        value = float(counts.score(*counts.sums()))
        said = _names([ingredients[number] for number in numbers])
        tell(f"  soup of {said}: {ingredients[0].stored.task.metric_words} {value:.4f}")
        return value

    value_T = np.array([model.score(model.part) for model in ingredients])
    tried = tried_soups(value_T, value_of)
    if tried[-1] not in soup_of:
        value_of(tried[-1])
    soups, singles = [procedure.made[numbers] for numbers in tried], [model.counts() for model in trained]
    resamples = resample(soups[0])
    raw_S = [float(counts.score(*counts.sums())) for counts in soups]
    place = int(np.argmax(raw_S))
    tell("  making soups in other orders, to correct the score for the order and the choice")
    corrected, redrawn = correct_soup(raw_S[place], procedure, resamples)
    best = Best(soups[place], Selected(place, raw_S[place], corrected), interval(soups[place], resamples), len(tried))
    selected = select(singles, resamples)
    chosen = singles[selected.index]
    single = Best(chosen, selected, interval(chosen, resamples), len(trained))
    return BestSoup(
        soup_of[tried[place]],
        best,
        trained[selected.index],
        single,
        gain_of(best, single, resamples),
        redrawn=redrawn,
        made=len(procedure.made),
    )


def _names(models: Sequence[Candidate]) -> str:
    """``trials 0, 3``; ``trial 0 of quickstart, trial 3 of dropout`` for models of several studies."""
    if len({model.study for model in models}) > 1:
        return ", ".join(model.name for model in models)
    return f"trials {', '.join(str(model.trial.number) for model in models)}"


def describe_ingredients(ingredients: Sequence[Candidate]) -> str:
    """``4 trials of tf_efficientnet_lite0``."""
    return f"{count_of(len(ingredients), 'trial')} of {read_model(ingredients[0].folder).config.backbone}"
