"""What is the best recipe for the age band?

The part that decides the score: the bands meet at 60, where many people are and faces differ little, and the old are
few. So it gets the larger photos, and knobs for both. No blur, which takes the wrinkles away.
search.compose joins the best trials with those of the mask state and gender.

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
