"""Where pixels come from: mirrored, cropped and enlarged, or moved by an affine map."""

import torch
from torch import Tensor

from maskcls.augment.samples import per_sample


def flip(image_BCHW: Tensor, chosen_B: Tensor) -> Tensor:
    """Mirror left and right where ``chosen_B`` (bool), bytes or float32: torchvision's ``hflip``."""
    return torch.where(per_sample(chosen_B), image_BCHW.flip(-1), image_BCHW)


def resized_crop(image_BCHW: Tensor, box_B4: Tensor) -> Tensor:
    """Enlarge a box of each sample to the whole image, bilinearly: torchvision's ``resized_crop``.

    ``box_B4`` is (top, left, bottom, right) in pixels, bottom and right excluded. No side of a box is longer than the
    image's, so nothing is ever reduced, and torchvision's ``antialias`` makes no difference.
    """
    height, width = image_BCHW.shape[2:]
    top_B, left_B, bottom_B, right_B = box_B4.unbind(1)
    y_BH, x_BW = _within(top_B, bottom_B, height), _within(left_B, right_B, width)
    return _sample(image_BCHW, y_BH[:, :, None], x_BW[:, None, :], "border")


def affine(image_BCHW: Tensor, matrix_B23: Tensor) -> Tensor:
    """Move each sample by an affine map, bilinearly, black where nothing comes from: torchvision's ``affine``.

    ``matrix_B23`` takes a place in the result to the one that it shows, both (x, y) in pixels from the image's centre.
    As in torchvision nothing is smoothed before it is reduced.
    """
    height, width = image_BCHW.shape[2:]
    y_H1, x_W = _from_centre(height, image_BCHW.device)[:, None], _from_centre(width, image_BCHW.device)
    (xx, xy, x1), (yx, yy, y1) = (row_B3[..., None, None].unbind(1) for row_B3 in matrix_B23.unbind(1))
    source_y_BHW, source_x_BHW = yx * x_W + yy * y_H1 + y1, xx * x_W + xy * y_H1 + x1
    return _sample(image_BCHW, source_y_BHW * (2 / height), source_x_BHW * (2 / width), "zeros")


def affine_matrix(
    degrees_B: Tensor, right_B: Tensor, down_B: Tensor, scale_B: Tensor, shear_x_B: Tensor, shear_y_B: Tensor
) -> Tensor:
    """``matrix_B23`` of ``affine`` as torchvision's ``affine`` has it: shear by y, then by x (both in degrees, below 90
    either way), scale, turn clockwise about the centre, then shift (in pixels)."""
    turn_B, shear_y_B = degrees_B.deg2rad(), shear_y_B.deg2rad()
    tan_x_B = shear_x_B.deg2rad().tan()
    xx_B, yx_B = (turn_B - shear_y_B).cos() / shear_y_B.cos(), (turn_B - shear_y_B).sin() / shear_y_B.cos()
    xy_B, yy_B = -(xx_B * tan_x_B + turn_B.sin()), turn_B.cos() - yx_B * tan_x_B
    # the inverse of [[xx, xy], [yx, yy]], whose determinant is 1, and of the scale
    matrix_B22 = torch.stack((yy_B, -xy_B, -yx_B, xx_B), 1).div(scale_B[:, None]).view(-1, 2, 2)
    shift_B2 = torch.stack((right_B, down_B), 1)
    return torch.cat((matrix_B22, -(matrix_B22 * shift_B2[:, None]).sum(2, keepdim=True)), 2)


def _within(low_B: Tensor, high_B: Tensor, size: int) -> Tensor:
    """[B, size]: the places between low and high that an enlarged line shows, from -1 to 1 over the whole line.

    The outermost are the middles of the box's outermost pixels, so that none beyond it is seen.
    """
    low_B1, high_B1 = low_B[:, None], high_B[:, None]
    middle_N = torch.arange(size, device=low_B.device) + 0.5
    place_BN = low_B1 + middle_N * (high_B1 - low_B1) / size
    return place_BN.clamp(low_B1 + 0.5, high_B1 - 0.5) * (2 / size) - 1


def _from_centre(size: int, device: torch.device) -> Tensor:
    """[size]: the middles of the pixels of a line, measured from the line's."""
    return torch.arange(size, device=device) - (size - 1) / 2


def _sample(image_BCHW: Tensor, y: Tensor, x: Tensor, beyond: str) -> Tensor:
    """The image at the places y, x, which broadcast to [B, H, W]; -1 to 1 from edge to edge of the image."""
    grid_BHW2 = torch.stack(torch.broadcast_tensors(x, y), -1)
    sampled_BCHW = torch.nn.functional.grid_sample(image_BCHW, grid_BHW2, "bilinear", beyond, align_corners=False)
    sampled_BCHW = sampled_BCHW.clamp_(0, 1)  # rounding of the weights can take white one bit beyond 1
    is_last = image_BCHW.is_contiguous(memory_format=torch.channels_last) and not image_BCHW.is_contiguous()
    return sampled_BCHW.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)
