"""Should early layers learn more slowly than late ones?

The learning rate of each layer is that of the layer above it times layer_decay; 0.75 is what masked autoencoders and
their successors fine-tune ViTs with. It acts together with lr, which is therefore tuned.

Run:   python -m search.run --study layer_decay --n-trials 36
Cost:  not measured yet.
Found: not run yet.
"""

from search.study import Choice, Float, Study

STUDY = Study(
    question="Should early layers learn more slowly than late ones?",
    scientific={"layer_decay": Choice(1.0, 0.85, 0.75)},
    nuisance={"lr": Float(1e-5, 3e-3, log=True), "drop_path_rate": Choice(0.0, 0.1)},
    fixed={
        "backbone": "vit_small_patch16_224",
        "image_size": 224,
        "epochs": 6,
        "evaluations_per_epoch": 2,
        "batch_size": 32,
        "augment": ("flip",),
    },
    baseline={"layer_decay": 1.0, "lr": 1e-4, "drop_path_rate": 0.0},
    preview={"backbone": "test_vit", "image_size": 96, "epochs": 6},
)
