"""Every name of timm's: is it built to one row of classes a photo with dropout before it, or refused in a line?

    nice python benchmarks/timm_names.py -o names.jsonl          # half an hour of a core; --every 20 for a sample

Models are built on torch's meta device, which knows shapes and no numbers, so that the largest fit; what that cannot
build is built with numbers. At 224 pixels, this project's default, and where that is refused at the size of the
model's own pretraining. Names that timm has given up are only asked for: nothing is built for them.
"""

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_deprecated_models
from torch import Tensor, nn

from maskcls.config import TrainConfig
from maskcls.model.backbones import check_backbones, pretrained_cfg
from maskcls.model.classifier import Classifier, build_model, joint_log_prob
from maskcls.model.dropout import forward_and_find_dropout
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK

DROP_RATE = 0.41
"""A number that no model of timm's has by itself."""

HEADS = ("joint", "three_heads")


class Answer(nn.Module):
    """image_BCHW -> log_prob_BK of a model."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """See the class."""
        return joint_log_prob(self.model(image_BCHW))


def try_name(name: str, heads: str) -> dict[str, Any]:
    """{"name", "heads", "size", "outcome", "why"}; outcome "built", "refused", or a fault: "no dropout", "no row"."""
    native = tuple(pretrained_cfg(name).input_size[1:])
    for device, size in (("meta", (224, 224)), ("meta", native), ("cpu", native)):
        config = TrainConfig(backbone=name, heads=heads, drop_rate=DROP_RATE, image_size=size)
        outcome, why = try_config(config, device)
        if outcome != "refused" or "for one photo" in why:  # a shape is as wrong with numbers
            break
    return {"name": name, "heads": heads, "size": size, "outcome": outcome, "why": why}


def try_config(config: TrainConfig, device: str) -> tuple[str, str]:
    """(outcome, why) of one."""
    try:
        with torch.device(device):
            net = Answer(build_model(config, MASK_TASK.space, None)).train()
            out, drops = forward_and_find_dropout(net, torch.zeros(2, 3, *config.image_size), DROP_RATE)
    except UserError as error:
        return "refused" if "\n" not in str(error) else "more than a line", str(error)
    outcome = "built" if drops and out.shape == (2, 18) else "no row" if drops else "no dropout"
    return outcome, "" if outcome == "built" else str(tuple(out.shape))


def ask_for(name: str) -> dict[str, Any]:
    """The same of a name that timm has given up."""
    try:
        check_backbones([name])
    except UserError as error:
        return {"name": name, "heads": "", "size": (), "outcome": "refused", "why": str(error)}
    return {"name": name, "heads": "", "size": (), "outcome": "taken", "why": ""}


def rows(every: int) -> Iterator[dict[str, Any]]:
    """One a name and kind of heads."""
    for name in timm.list_models()[::every]:
        for heads in HEADS:
            yield try_name(name, heads)
    for name in get_deprecated_models():
        yield ask_for(name)


def main() -> None:
    """Write a row a line, then count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="only one name in so many")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")  # of timm, about names and sizes
    counts: Counter[tuple[str, str]] = Counter()
    with asked.out.open("w") as file:
        for row in rows(asked.every):
            print(json.dumps(row), file=file, flush=True)
            counts[row["heads"] or "name given up", row["outcome"]] += 1
    for (heads, outcome), count in sorted(counts.items()):
        print(f"{heads:14s} {outcome:10s} {count:5d}")


if __name__ == "__main__":
    main()
