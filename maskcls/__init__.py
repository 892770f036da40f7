"""An image classifier: a timm backbone fine-tuned on labelled photos, by one config. It knows nothing of a search.

The path of a training, folder by folder; each imports only from those before it (tests/test_layers.py):

- system: the machine and the terminal: files, locks, cores, errors, output
- labels.py, config.py: the classes, and TrainConfig, which with data, weights and a machine type determines the result
- scoring: from predictions to macro F1, with its interval over people
- images: from a picture file to upright pixels
- data: from a folder of photos to batches: labels, split by person, cache of decoded photos, augmentation
- run: what a training leaves in its folder, so that it continues after any interruption
- model: backbone, head, losses, weights, inference
- training: the loop (``fit`` in training/loop.py), numerics, speed
- train.py, evaluate.py, predict.py: the commands

To add

- a hyperparameter: a field of TrainConfig with its docstring, the place that reads it; then the reference anew:
  ``python docs/reference.py > docs/reference.md``
- an augmentation: its name in config.AUGMENTATIONS; in data/augment.py a kernel, its draw, a line of DESCRIPTIONS
- a change to what existing configs compute: training/revision.py, which tells older results apart
"""
