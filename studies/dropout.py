"""Does dropout before the head raise macro F1?

In a team's learning log macro F1 went from .8139 to .8137 when timm's drop_rate was raised from 0 to 0.7.

Run:   python -m search.run --study dropout --n-trials 50
Cost:  not measured for the backbone here; 32 short trials of a small one took 2.1 hours of a CPU worker.
Found: in 3 epochs of a small backbone 0.7 is worse than 0; 0.2 and 0.4 are not distinguishable from 0 (LOG.md).
"""

from search.study import Choice, Float, Study, Subset

STUDY = Study(
    question="Does dropout before the head raise macro F1?",
    scientific={"drop_rate": Choice(0.0, 0.2, 0.4, 0.7)},  # 0 and 0.7 are what the learning log compared
    nuisance={
        "lr": Float(1e-4, 3e-3, log=True),
        "augment": Subset("gaussian", "cutmix", "sharpness", "contrast"),
    },
    fixed={
        "backbone": "efficientnet_b3",
        "image_size": 300,
        "epochs": 8,
        "evaluations_per_epoch": 2,
        "batch_size": 32,
    },
    baseline={"drop_rate": 0.0, "lr": 1e-3, "augment": ()},
    preview={"backbone": "test_efficientnet", "image_size": 96, "epochs": 6},
)
