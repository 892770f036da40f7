"""An image classifier: a timm backbone fine-tuned on labelled photos, by one config. It knows nothing of a search.

The path of a training, folder by folder; each imports only from those before it (tests/test_layers.py):

- system: the machine and the terminal: files, locks, cores, errors, output
- labels.py, config.py: the classes, and TrainConfig, which with data, weights and a machine type determines the result
- tasks: what is to be told from the photos: the label's factors, what a group of photos is, the metric
- scoring: from predictions to scores, with their intervals over people (groups)
- images: from a picture file to upright pixels
- reading: from a folder, a table or a dataset to photos with their labels
- augment: kernels that change a batch of training photos, and what they draw
- data: from these to batches: split by person (group), cache of decoded photos, augmentation
- run: what a training leaves in its folder, so that it continues after any interruption
- model: backbone, head, losses, weights, inference
- training: the loop (``fit`` in training/loop.py), numerics, speed
- train.py, evaluate.py, predict.py: the commands

To add

- a hyperparameter: a field of TrainConfig with its docstring, the place that reads it; then the reference anew:
  ``python docs/reference.py > docs/reference.md``
- an augmentation: its name in config.AUGMENTATIONS; a kernel in augment/; in data/augment.py its draw, and a line of
  DESCRIPTIONS
- a change to what existing configs compute: training/revision.py, which tells older results apart
"""
