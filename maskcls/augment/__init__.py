"""Kernels and draws of augmentation, on whole batches: ``maskcls.data.augment`` applies them by name.

Every kernel takes explicit parameters for each sample and equals torchvision's function applied image by image. None
waits for the device (no ``.item()``, no boolean indexing, no shape that depends on a draw). All compute in float32,
whatever autocast or the TF32 switches say: none is a matrix product, and the only convolution, blur on a GPU, is
PyTorch's own. The memory format (channels_last or not) is kept; only blur and cutmix on a GPU make it contiguous.

Shape suffixes: B batch, C H W channels, rows, columns, K classes. Images are RGB, float32 in [0, 1], if nothing else is
said.
"""
