"""The trial list of engine.py as a study: some learning rates, each tried once, none pruned."""

import json
import os

from search.study.study import Choice, Pruner, Study

LRS = json.loads(os.environ.get("ENGINE_LRS", "[1e-3, 2e-3, 4e-3, 8e-3]"))

STUDY = Study(
    question="Which learning rate gives the best macro F1?",
    scientific={"lr": Choice(*LRS)},
    nuisance={},
    fixed={"backbone": "mobilenetv3_small_050", "image_size": 128, "epochs": 3, "augment": ("flip", "contrast")},
    baseline={"lr": LRS[0]},
    pruner=Pruner("none"),
)
