"""Parts of an image replaced: by noise, or by the sample before it, with its label."""

import torch
from torch import Tensor

from maskcls.augment.boxes import inside
from maskcls.augment.samples import per_sample

MIXUP_ALPHA = 0.2
"""Both parameters of mixup's Beta distribution: the paper has 0.2 on ImageNet, and so have torchvision's recipes.

https://arxiv.org/abs/1710.09412, https://pytorch.org/blog/how-to-train-state-of-the-art-models-using-torchvision-latest-primitives
"""

ATTEMPTS = 8
"""Of drawing from the Beta distribution; each succeeds with probability 0.95, so that 1 in 4e10 samples has none."""

Batch = tuple[Tensor, Tensor]
"""Images [B, C, H, W] and their soft labels [B, K]."""


def erase(image_BCHW: Tensor, box_B4: Tensor, value_BCHW: Tensor) -> Tensor:
    """Put other values in a box of each sample: torchvision's ``erase``. https://arxiv.org/abs/1708.04896"""
    return torch.where(inside(box_B4, *image_BCHW.shape[2:])[:, None], value_BCHW, image_BCHW)


def partners(image_BCHW: Tensor, target_BK: Tensor) -> Batch:
    """For each sample the one before it in the batch, as in torchvision; so the batch should be shuffled.

    Alone in its batch, a sample is its own partner.
    """
    return image_BCHW.roll(1, 0), target_BK.roll(1, 0)


def mixup(image_BCHW: Tensor, target_BK: Tensor, partner: Batch, share_B: Tensor) -> Batch:
    """Blend each sample and its soft label with the partner's, by the partner's share: torchvision's ``MixUp``."""
    return torch.lerp(image_BCHW, partner[0], per_sample(share_B)), _mixed(target_BK, partner[1], share_B)


def cutmix(image_BCHW: Tensor, target_BK: Tensor, partner: Batch, box_B4: Tensor) -> Batch:
    """Paste a box of each sample's partner, and mix the soft labels by the box's share of the area: torchvision's
    ``CutMix``. https://arxiv.org/abs/1905.04899
    """
    height, width = image_BCHW.shape[2:]
    mixed_BCHW = torch.where(inside(box_B4, height, width)[:, None], partner[0], image_BCHW)
    top_B, left_B, bottom_B, right_B = box_B4.unbind(1)
    share_B = (bottom_B - top_B) * (right_B - left_B) / (height * width)
    return mixed_BCHW, _mixed(target_BK, partner[1], share_B)


def draw_mixup_shares(batch: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """float32 [B]: Beta(MIXUP_ALPHA, MIXUP_ALPHA), by Jöhnk's method: of two draws U^(1 / alpha) whose sum is at most
    1, the first over the sum. A fixed number of attempts, since only the device knows which succeed.
    """
    one_BT, two_BT = torch.rand((2, batch, ATTEMPTS), generator=generator, device=device).pow(1 / MIXUP_ALPHA)
    sum_BT = one_BT + two_BT
    first_B1 = ((sum_BT > 0) & (sum_BT <= 1)).int().argmax(1, keepdim=True)
    return (one_BT / sum_BT.clamp(min=torch.finfo(torch.float32).tiny)).gather(1, first_B1)[:, 0]


def _mixed(target_BK: Tensor, partner_BK: Tensor, share_B: Tensor) -> Tensor:
    return torch.lerp(target_BK, partner_BK, share_B.to(target_BK.dtype)[:, None])
