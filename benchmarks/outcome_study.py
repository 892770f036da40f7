"""The study of outcome.py: what its arms search, and the recipe that people begin with.

Alone it is the study of ``outcome.py live``, which gives the rest by --set and the default learning rate by OUTCOME_LR.
"""

import os
from collections.abc import Sequence
from typing import Any

from search.study.study import Choice, Domain, Float, Study, Subset

DEFAULTS: dict[str, Any] = {"weight_decay": 0.01, "drop_rate": 0.2, "label_smoothing": 0.0, "augment": ["flip"]}
"""A sound recipe, but for its learning rate, which is another one for pretrained weights than from scratch."""


def space_of(backbones: Sequence[str] = ()) -> dict[str, Domain]:
    """The space as people write it; a choice of backbones only where there are several."""
    searched: dict[str, Domain] = {
        "lr": Float(1e-4, 1e-2, log=True),
        "weight_decay": Float(1e-4, 0.3, log=True),
        "drop_rate": Float(0.0, 0.6),
        "label_smoothing": Float(0.0, 0.2),
        "augment": Subset("flip", "contrast", "cutmix"),
    }
    return {**searched, "backbone": Choice(*backbones)} if len(backbones) > 1 else searched


def baseline_of(lr: float, backbones: Sequence[str] = ()) -> dict[str, Any]:
    """The default configuration: of several backbones the first."""
    return {"lr": lr, **DEFAULTS, **({"backbone": backbones[0]} if len(backbones) > 1 else {})}


STUDY = Study(
    question="What is the best recipe?",
    nuisance=space_of(),
    fixed={"backbone": "test_resnet", "image_size": 48, "epochs": 4, "batch_size": 32},
    baseline=baseline_of(float(os.environ.get("OUTCOME_LR", "1e-3"))),
)
