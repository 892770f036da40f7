"""One model with 18 classes, one with three heads, or three models?

Run:   python -m search.run --study heads --n-trials 36
Cost:  not measured yet.
Found: not run yet.
"""

from search.study import Choice, Float, Study

STUDY = Study(
    question="One model with 18 classes, one with three heads, or three models?",
    scientific={"heads": Choice("joint", "three_heads", "three_models")},
    nuisance={
        "lr": Float(1e-4, 3e-3, log=True),
        "drop_rate": Choice(0.0, 0.2, 0.5),
        "label_smoothing": Choice(0.0, 0.1),
    },
    fixed={
        "backbone": "efficientnet_b0",
        "image_size": 224,
        "epochs": 8,
        "evaluations_per_epoch": 2,
        "batch_size": 32,
        "augment": ("flip",),
    },
    baseline={"heads": "joint", "lr": 1e-3, "drop_rate": 0.2, "label_smoothing": 0.0},
    preview={"backbone": "test_efficientnet", "image_size": 96, "epochs": 6},
)
