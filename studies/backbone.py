"""Which backbone gives the best macro F1, each at its own learning rate?

In a team's learning log a DenseNet was ahead by 2 points, at one learning rate for all backbones.

Run:   python -m search.run --study backbone --n-trials 80
Cost:  not measured yet.
Found: not run yet.
"""

from search.study import Choice, Float, Study

STUDY = Study(
    question="Which backbone gives the best macro F1, each at its own learning rate?",
    scientific={
        "backbone": Choice(
            "efficientnet_b0",
            "efficientnet_b3",
            "densenet121",
            "resnet18",
            "resnet50",
            "convnext_tiny",
            "vit_small_patch16_224",
            "swin_tiny_patch4_window7_224",
        )
    },
    nuisance={"lr": Float(1e-5, 3e-3, log=True), "drop_rate": Choice(0.0, 0.2, 0.5)},
    fixed={"image_size": 224, "epochs": 6, "evaluations_per_epoch": 2, "batch_size": 32, "augment": ("flip",)},
    baseline={"backbone": "efficientnet_b3", "lr": 1e-3, "drop_rate": 0.2},
    preview={
        "backbone": Choice("test_efficientnet", "test_resnet", "test_convnext", "test_vit"),
        "image_size": 96,
        "epochs": 6,
    },
)
