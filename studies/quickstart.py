"""Does random horizontal flip help on the synthetic photos?

Run:   python -m search.run --study quickstart --n-trials 8
Cost:  one to two minutes on 2 CPU cores.
Found: not distinguishable in 8 trials; worse once confirmed (the drawn faces show the gender on one side).
"""

from search.study import Choice, Float, Study

STUDY = Study(
    question="Does random horizontal flip help on the synthetic photos?",
    scientific={"augment": Choice((), ("flip",))},
    nuisance={"lr": Float(1e-3, 5e-2, log=True)},
    fixed={
        "backbone": "test_efficientnet",
        "image_size": 96,
        "epochs": 6,
        "evaluations_per_epoch": 2,
        "batch_size": 32,
    },
    baseline={"augment": (), "lr": 1e-2},
    synthetic=True,
)
