"""What is the best recipe for the age band?

Age decides the score: the bands meet at 60, where there are many people and faces differ little, and old people are
few. So this study has larger photos and tunes old_from and class_weights. No blur: it removes wrinkles.
search.compose combines the best trials with those of the mask state and gender.

Run:   python -m search.run --study age --n-trials 60
Cost:  not measured yet.
Found: not run yet.
"""

from search.study import Choice, Float, Int, Study, Subset

STUDY = Study(
    question="What is the best recipe for the age band?",
    nuisance={
        "lr": Float(1e-5, 3e-3, log=True),
        "augment": Subset("flip", "gaussian", "sharpness", "contrast", "cutmix"),
        "drop_rate": Float(0.0, 0.7),
        "label_smoothing": Float(0.0, 0.2),
        "loss": Choice("cross_entropy", "focal"),
        "old_from": Int(57, 60),
        "class_weights": Choice("none", "sqrt", "balanced"),
    },
    fixed={
        "task": "age",
        "backbone": "efficientnet_b3",
        "image_size": 300,
        "epochs": 8,
        "evaluations_per_epoch": 2,
        "batch_size": 32,
    },
    baseline={
        "lr": 1e-3,
        "augment": ("flip",),
        "drop_rate": 0.2,
        "label_smoothing": 0.0,
        "loss": "cross_entropy",
        "old_from": 60,
        "class_weights": "none",
    },
    preview={"backbone": "test_efficientnet", "image_size": 96, "epochs": 6},
)
