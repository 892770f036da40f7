"""Scores a trial on the photos that the data holds back for a test, and stores what came of it with the study."""

import time
from pathlib import Path

import optuna
import torch

from maskcls.data.dataset import Table
from maskcls.labels import LabelSpace
from maskcls.model.composite import read_model
from maskcls.scoring.counts import MIN_JUDGES, count
from maskcls.scoring.intervals import interval
from maskcls.scoring.metrics import score
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import resample
from maskcls.system.errors import UserError
from maskcls.training.apply import predict_side
from maskcls.training.numerics import pick_device
from search.answer.format import has_interval
from search.storage.final_test import PREDICTIONS, FinalTest, spend_test
from search.study.record import Stored


def try_on_test(
    study: optuna.Study, stored: Stored, trial: int, home: Path, table: Table, device: str, cache_dir: Path
) -> FinalTest:
    """The study's test: of this trial, unless another command has stored one meanwhile.

    ``home``: the trial's folder, with its weights; ``table``: the study's, which holds the photos of the test back.
    Raises UserError, with the test unspent, for photos and weights that cannot be read, and for too little GPU memory.
    """
    assert table.test is not None
    held_back = Table(table.folder, table.test.assign(split="test"), table.hash, table.task)
    try:
        predictions = predict_side(
            (read_model(home),), held_back, "test", pick_device(device), cache_dir, stored.skip_unreadable
        )
    except torch.OutOfMemoryError:
        raise UserError("The GPU has too little free memory for the test. Use --device cpu.") from None
    made = score_test(predictions, stored.space, stored.task.metric, trial)
    return spend_test(study, made, lambda: predictions.save(home / PREDICTIONS))


def score_test(predictions: Predictions, space: LabelSpace, metric: str, trial: int) -> FinalTest:
    """The scores of a trial's ``predictions`` of the test's photos."""
    scores = score(predictions.log_prob_NK, predictions.label_N, space, metric)
    predicted_N = predictions.log_prob_NK.argmax(1)
    counts = count(predictions.person_N, predictions.label_N, predicted_N, space, metric=metric)
    over_groups = interval(counts, resample(counts))
    is_known = len(counts.person_P) >= MIN_JUDGES and has_interval(over_groups)
    return FinalTest(
        trial=trial,
        metric=metric,
        value=scores.value,
        low=over_groups.low if is_known else None,
        high=over_groups.high if is_known else None,
        accuracy=scores.accuracy,
        photos=len(predictions.label_N),
        groups=len(counts.person_P),
        when=round(time.time(), 3),
    )
