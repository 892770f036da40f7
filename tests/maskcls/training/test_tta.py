"""``tta``: the mean over a photo and its mirror image, wherever a model predicts, and only of models that have it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maskcls.config import change
from maskcls.data.dataset import Dataset
from maskcls.model.classifier import build_model
from maskcls.model.composite import combine
from maskcls.model.inference import log_probs
from maskcls.model.trained import TrainedModel
from maskcls.predict import _log_probs
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK
from maskcls.training.numerics import resolve
from maskcls.training.run_folder import load_trained, train_into
from tests.helpers.training import CPU, TINY, Log


def photos_of(data: Dataset) -> torch.Tensor:
    return torch.from_numpy(data.image_NCHW[data.valid.row_N])


def test_an_evaluation_in_training_averages_probabilities(few_photos: Dataset, tmp_path: Path) -> None:
    plain, flipped = (change(TINY, tta=tta, keep="last", augment=()) for tta in ("none", "flip"))
    folders = {}
    for config in (plain, flipped):
        folders[config.tta] = tmp_path / config.tta
        train_into(
            folders[config.tta], resolve(config, CPU), few_photos, Log(), origin={}, device=CPU, weight_file=None
        )
    assert (folders["none"] / "best.safetensors").read_bytes() == (folders["flip"] / "best.safetensors").read_bytes()
    model, config = load_trained(folders["flip"], CPU)
    assert config.tta == "flip"
    photos = photos_of(few_photos)
    one, mirrored = (log_probs(model, [image], resolve(plain, CPU)) for image in (photos, photos.flip(3)))
    stored = Predictions.load(folders["flip"] / "valid.npz").log_prob_NK
    np.testing.assert_allclose(np.exp(stored), (np.exp(one) + np.exp(mirrored)) / 2, rtol=1e-4, atol=1e-6)
    assert np.abs(np.exp(stored) - np.exp(one)).max() > 1e-3
    assert (log_probs(model, [photos], config) == log_probs(model, [photos], config, flip=True)).all()


def test_members_of_an_ensemble_predict_each_as_its_own_config_says(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = resolve(TINY, CPU)
    network, photos = build_model(config, MASK_TASK.space, None), photos_of(few_photos)
    configs = {"one": config, "other": resolve(change(config, tta="flip"), CPU)}
    models = [TrainedModel("all", tmp_path / name, each, {}, weight=1.0) for name, each in configs.items()]
    monkeypatch.setattr("maskcls.training.run_folder.load_trained", lambda folder, _: (network, configs[folder.name]))
    monkeypatch.setattr("maskcls.predict._chunks", lambda *_: iter([photos]))
    found = _log_probs(models, tmp_path, [], CPU, flip=False)
    each = [log_probs(network, [photos], config, flip) for flip in (False, True)]
    np.testing.assert_allclose(found, combine(models, each), rtol=1e-5, atol=1e-6)
    assert not np.allclose(*each)
