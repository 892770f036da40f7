"""python -m maskcls.predict: a trained model's predictions for a folder of unlabelled photos, as a CSV file."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskcls.system.console import run_command, say
from maskcls.system.errors import UserError, count_of
from maskcls.system.options import DeviceOption, FlipOption, ModelOption
from maskcls.system.outputs import check_output, messages_beside, write_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    import torch
    from torch import Tensor

    from maskcls.images.fit import Fit
    from maskcls.labels import LabelSpace
    from maskcls.model.trained import TrainedModel

CHUNK = 256
"""Photos decoded at a time, so that memory does not grow with the folder."""


def main(
    model: ModelOption,
    images: Annotated[Path, typer.Option(help="Folder with info.csv and images/, or a folder of photos.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="CSV to write: path,label; in the mask task ImageID,ans.")],
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Write names of classes, and the probability of each."),
    ] = False,
    flip: FlipOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Predict the class of every photo and write it to a CSV file.

    The rows are info.csv's, in its order; without one, the folder's photos by name. The file has the columns path and
    label, or a column for every factor of the label; for the mask task it is a submission, with classes 0 to 17.
    """
    from maskcls.reading.unlabelled import find_unlabelled

    photos = find_unlabelled(images)
    check_output(out)
    for note in photos.notes:
        say(note)
    from maskcls.labels import ALL
    from maskcls.model.composite import predicted_part, predicted_space, read_models

    models = read_models(model)
    is_submission = models[0].task.submission == "competition" and not probabilities
    if is_submission and (part := predicted_part(models)) != ALL:
        raise UserError(
            f"{model} predicts {part} alone; a submission needs the whole label. Add --probabilities for other files."
        )
    import pandas as pd
    import torch

    from maskcls.system.cores import num_cores
    from maskcls.training.numerics import pick_device

    torch_device = pick_device(device)
    torch.set_num_threads(num_cores())
    log_prob_NK = _log_probs(models, photos.folder, photos.files, torch_device, flip)
    if is_submission:
        table = pd.DataFrame({"ImageID": photos.names, "ans": log_prob_NK.argmax(1)})
    else:
        table = _labelled(photos.names, log_prob_NK, predicted_space(models), probabilities)
    write_output(out, lambda part: table.to_csv(part, index=False))
    with messages_beside(out):
        say(f"{out}: {count_of(len(table), 'photo')}")


def _labelled(names: list[str], log_prob_NK: "np.ndarray", space: "LabelSpace", probabilities: bool) -> "pd.DataFrame":
    """A row for every photo: its path, the class of every factor by name, and on request every class's probability."""
    import numpy as np
    import pandas as pd

    label_N = log_prob_NK.argmax(1)
    columns: dict[str, object] = {"path": names}
    for factor in space.factors:
        class_N = space.part_of(label_N, factor.name) if space.parts else label_N
        columns[factor.name if space.parts else "label"] = np.asarray(factor.classes)[class_N]
    if probabilities:
        prob_KN = np.exp(log_prob_NK).T.round(6)
        columns |= {f"p({name})": prob_N for name, prob_N in zip(space.names, prob_KN, strict=True)}
    return pd.DataFrame(columns)


def _log_probs(
    models: "Sequence[TrainedModel]", folder: Path, files: list[str], device: "torch.device", flip: bool
) -> "np.ndarray":
    """log_prob_NK of all models together. Photos are decoded once for every TrainConfig.pixels among the models."""
    import numpy as np

    from maskcls.model.composite import combine
    from maskcls.model.inference import log_probs
    from maskcls.training.run_folder import load_trained

    loaded = [load_trained(model.folder, device) for model in models]
    chunks_by_model: list[list[np.ndarray]] = [[] for _ in models]
    for pixels in dict.fromkeys(model.config.pixels for model in models):
        for image_NCHW in _chunks(folder, files, *pixels):
            for model, (network, config), chunks in zip(models, loaded, chunks_by_model, strict=True):
                if model.config.pixels == pixels:
                    batches = (image_BCHW.to(device) for image_BCHW in image_NCHW.split(4 * config.micro_batch))
                    chunks.append(log_probs(network, batches, config, flip))
    return combine(models, [np.concatenate(chunks) for chunks in chunks_by_model])


def _chunks(
    folder: Path, files: list[str], size: tuple[int, int], crop: tuple[float, float], fit: "Fit", bit_depth: int
) -> "Iterator[Tensor]":
    """uint8 image_NCHW of CHUNK photos at a time, in order. Reports 16-bit photos that are nearly black.

    Raises UserError for photos that cannot be read.
    """
    import numpy as np
    import torch

    from maskcls.data.dataset import progress_bar
    from maskcls.images.decode import check_opened, decode_all, unreadable_error
    from maskcls.images.depth import why_dark

    deep_photos = used_bits = 0
    with progress_bar(f"{len(files)} photos", len(files)) as tick:
        for start in range(0, len(files), CHUNK):
            chunk = files[start : start + CHUNK]
            image_NCHW = np.zeros((len(chunk), 3, *size), np.uint8)
            decoded = decode_all(folder, chunk, size, crop, image_NCHW, tick, fit, bit_depth)
            check_opened(folder, decoded.unreadable)
            if decoded.unreadable:
                raise unreadable_error(folder, decoded.unreadable, "Every photo needs a row; replace them.")
            deep_photos, used_bits = deep_photos + decoded.deep_photos, max(used_bits, decoded.used_bits)
            yield torch.from_numpy(image_NCHW)
    if dark := why_dark(used_bits, deep_photos, bit_depth):
        say(f"CAUTION: {dark}")


if __name__ == "__main__":
    run_command(main)
