"""Trained models on labelled photos: their predictions, as maskcls.evaluate and search.confirm score them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from maskcls.data.batches import Batches
from maskcls.data.dataset import Table, labelled_photos, load_photos
from maskcls.model.composite import TrainedModel, combine, predicted_part
from maskcls.model.inference import log_probs, validation_batch_size
from maskcls.scoring.predictions import Predictions
from maskcls.system.cores import num_cores
from maskcls.training.run_folder import load_trained


def predict_side(
    models: Sequence[TrainedModel],
    table: Table,
    side: str,
    device: torch.device,
    cache_dir: Path,
    skip_unreadable: bool = False,
    flip: bool = False,
) -> Predictions:
    """What the models together (composite.read_models) predict of the table's photos with this "split".

    ``cache_dir``: where all photos of the table are decoded to. Raises UserError for photos that cannot be read unless
    they are skipped, and for weights that are missing or damaged.
    """
    torch.set_num_threads(num_cores())
    log_probs_NK = []
    for model in models:
        image_NCHW, photos = load_photos(table, model.config, cache_dir, skip_unreadable)
        photos = photos[photos["split"] == side]
        log_probs_NK.append(_log_probs(model, image_NCHW, photos["row"].to_numpy(), device, flip))
    labelled = labelled_photos(photos, photos["label"].to_numpy())
    label_N = labelled.labels(models[0].task.space, predicted_part(models))
    return Predictions(labelled.path_N, labelled.person_N, label_N, combine(models, log_probs_NK))


def _log_probs(
    model: TrainedModel, image_NCHW: np.ndarray, row_N: np.ndarray, device: torch.device, flip: bool
) -> np.ndarray:
    """log_prob_NK of the photos in rows ``row_N``, over the classes of the model's own task."""
    network, config = load_trained(model.folder, device)
    # each photo is needed once, and often few of the file's, so none stays on the GPU
    batches = Batches(image_NCHW, row_N, np.zeros(len(row_N), np.int64), device, move=False)
    in_order = batches.in_order(validation_batch_size(config, device, len(row_N)))
    return log_probs(network, (image_BCHW for image_BCHW, _ in in_order), config, flip)
