"""Which augmentations raise macro F1?

In the search each is on in about half of the trials, independently of the others. The rounds compare each with the
baseline, one switched at a time.

Run:   python -m search.run --study augment --n-trials 60
Cost:  not measured yet.
Found: not run yet.
"""

from search.study import Float, Study, Subset

STUDY = Study(
    question="Which augmentations raise macro F1?",
    scientific={"augment": Subset("flip", "gaussian", "blur", "sharpness", "contrast", "cutmix")},
    nuisance={"lr": Float(1e-4, 3e-3, log=True)},
    fixed={
        "backbone": "efficientnet_b0",
        "image_size": 224,
        "epochs": 8,
        "evaluations_per_epoch": 2,
        "batch_size": 32,
    },
    baseline={"augment": ("flip",), "lr": 1e-3},
    preview={"backbone": "test_efficientnet", "image_size": 96, "epochs": 6},
)
