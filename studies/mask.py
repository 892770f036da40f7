"""What is the best recipe for the mask state?

The easy part of the label. No CutMix: a box that covers the mouth hides the whole answer, whatever its area.
search.compose combines the best trials with those of gender and age.

Run:   python -m search.run --study mask --n-trials 30
Cost:  not measured yet.
Found: not run yet.
"""

from search.study import Choice, Float, Study, Subset

STUDY = Study(
    question="What is the best recipe for the mask state?",
    nuisance={
        "lr": Float(1e-5, 3e-3, log=True),
        "augment": Subset("flip", "gaussian", "blur", "contrast"),
        "drop_rate": Float(0.0, 0.5),
        "label_smoothing": Float(0.0, 0.2),
        "loss": Choice("cross_entropy", "focal"),
    },
    fixed={
        "task": "mask",
        "backbone": "efficientnet_b0",
        "image_size": 224,
        "epochs": 6,
        "evaluations_per_epoch": 2,
        "batch_size": 32,
    },
    baseline={"lr": 1e-3, "augment": ("flip",), "drop_rate": 0.2, "label_smoothing": 0.0, "loss": "cross_entropy"},
    preview={"backbone": "test_efficientnet", "image_size": 96, "epochs": 6},
)
