"""The trial list of engine.py as a study: four learning rates, each tried once, none pruned."""

from search.study import Choice, Pruner, Study

STUDY = Study(
    question="Which learning rate gives the best macro F1?",
    scientific={"lr": Choice(1e-3, 2e-3, 4e-3, 8e-3)},
    nuisance={},
    fixed={"backbone": "mobilenetv3_small_050", "image_size": 128, "epochs": 3, "augment": ("flip", "contrast")},
    baseline={"lr": 1e-3},
    pruner=Pruner("none"),
)
