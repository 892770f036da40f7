"""What is the best recipe?

Everything at once and nothing compared: this study only looks for the best trial.

Run:   python -m search.run --study recipe --n-trials 100
Cost:  not measured yet.
Found: not run yet.
"""

from search.study import Choice, Float, Int, Study, Subset

STUDY = Study(
    question="What is the best recipe?",
    nuisance={
        "backbone": Choice("efficientnet_b0", "efficientnet_b3", "densenet121", "resnet50", "convnext_tiny"),
        "drop_rate": Float(0.0, 0.7),
        "augment": Subset("flip", "gaussian", "blur", "sharpness", "contrast", "cutmix"),
        "lr": Float(1e-5, 3e-3, log=True),
        "weight_decay": Float(1e-4, 1e-1, log=True),
        "loss": Choice("cross_entropy", "focal"),
        "label_smoothing": Float(0.0, 0.2),
        "class_weights": Choice("none", "sqrt", "balanced"),
        "old_from": Int(57, 60),
        "heads": Choice("joint", "three_heads"),
    },
    fixed={"image_size": 224, "epochs": 8, "evaluations_per_epoch": 2, "batch_size": 32},
    baseline={
        "backbone": "efficientnet_b3",
        "drop_rate": 0.2,
        "augment": ("flip",),
        "lr": 1e-3,
        "weight_decay": 1e-2,
        "loss": "cross_entropy",
        "label_smoothing": 0.0,
        "class_weights": "none",
        "old_from": 60,
        "heads": "joint",
    },
    preview={
        "backbone": Choice("test_efficientnet", "test_resnet", "test_convnext", "test_vit"),
        "image_size": 96,
        "epochs": 6,
    },
)
