"""Does random horizontal flip help on the synthetic photos?

Run:   python -m search.run --study quickstart --n-trials 8
Cost:  about a minute on 2 CPU cores.
Found: it hurts; the photos are drawn so that gender shows on one side of the face (maskcls/data/synthetic.py).
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
