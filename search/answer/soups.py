"""Soups of a study's trials: the mean of their weights, judged by the validation photos.

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
from maskcls.system.errors import UserError, count_of
from maskcls.training.run_folder import load_trained
from search.answer.candidates import Candidate, check_weights, find_trained
from search.answer.gains import Best, Gain, gain_of
from search.study.record import read_search

ARCHITECTURE = ("backbone", "heads", "task", "image_size", "crop")
"""Hyperparameters that ingredients have in common: what the weights mean, and which pixels they are made for."""

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


def find_ingredients(study: optuna.Study, runs: Path) -> tuple[list[Candidate], list[Candidate]]:
    """(the trials that may make a soup together, the best first; all trained trials of the study).

    They are those with weights and the architecture of the best trial that shares its own with another.
    Raises UserError for a study that was trained from scratch, and where no two trials have an architecture in common.
    """
    stored, name = read_search(study), study.study_name
    if stored.weights.get("source") == "scratch":
        raise UserError(
            f"Study {name!r} was trained from scratch, and the mean of weights that did not begin at the same"
            " pretrained ones is no model. Run it with --weights pretrained, or join its trials by search.ensemble."
        )
    trained = find_trained(study, runs)
    groups: dict[tuple[object, ...], list[Candidate]] = {}
    for model in sorted(trained, key=lambda model: (-(model.trial.value or 0.0), model.trial.number)):
        if model.has_weights:
            config = read_model(model.folder).config
            groups.setdefault(tuple(getattr(config, field) for field in ARCHITECTURE), []).append(model)
    chosen = next((group for group in groups.values() if len(group) > 1), None)
    if chosen is None:
        raise UserError(
            f"A soup needs two complete trials with weights that share backbone, heads, image_size and crop; study"
            f" {name!r} has none. Continue it with a larger --n-trials or --keep."
        )
    return chosen, trained


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
        said = ", ".join(str(ingredients[number].trial.number) for number in numbers)
        tell(f"  soup of trials {said}: {ingredients[0].stored.task.metric_words} {value:.4f}")
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


def describe_ingredients(ingredients: Sequence[Candidate]) -> str:
    """``4 trials of tf_efficientnet_lite0``."""
    return f"{count_of(len(ingredients), 'trial')} of {read_model(ingredients[0].folder).config.backbone}"
