"""What is the best recipe for the gender?

search.compose combines the best trials with those of the mask state and the age band.

Run:   python -m search.run --study gender --n-trials 30
Cost:  not measured yet.
Found: not run yet.
"""

from search.study import Choice, Float, Study, Subset

STUDY = Study(
    question="What is the best recipe for the gender?",
    nuisance={
        "lr": Float(1e-5, 3e-3, log=True),
        "augment": Subset("flip", "gaussian", "blur", "contrast", "cutmix"),
        "drop_rate": Float(0.0, 0.5),
        "label_smoothing": Float(0.0, 0.2),
        "loss": Choice("cross_entropy", "focal"),
    },
    fixed={
        "task": "gender",
        "backbone": "efficientnet_b0",
        "image_size": 224,
        "epochs": 6,
        "evaluations_per_epoch": 2,
        "batch_size": 32,
    },
    baseline={"lr": 1e-3, "augment": ("flip",), "drop_rate": 0.2, "label_smoothing": 0.0, "loss": "cross_entropy"},
    preview={"backbone": "test_efficientnet", "image_size": 96, "epochs": 6},
)
