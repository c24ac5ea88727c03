"""What least squares does on an image that it has not seen, in closed form.

Ridge regression is linear in its targets, so what it predicts for rows that are left out follows from one factorization
of all. With P = (U^T U + n r)^-1 and the rows U_b of one image (its positions, and those of its other views: they are
not independent of each other, so they are left out together),

    error without b  =  (I - U_b P U_b^T)^-1  error with b,

a small system for each image. Some of the images are enough to judge by.

Source: Allen, "The relationship between variable selection and data augmentation and a method for prediction" (1974),
the PRESS statistic, with blocks of rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

_PLENTY = 8  # rows an input
_PLENTY_OF_IMAGES = 1.5  # images an input: positions of one image tell little that is new
_JUDGED = 1_000  # rows that are left out, about
_BLOCKS = 1 << 23  # entries of the systems of all images


def judged_images(images: int, rows: int, groups: int) -> Tensor:
    """Which images are left out, spread over all of them.

    Args:
        images: how many there are. rows: of each. groups: of the layer.
    """
    count = max(8, min(_JUDGED // max(rows, 1), _BLOCKS // max(groups * rows * rows, 1)))
    if count >= images:
        return torch.arange(images)
    return (torch.arange(count) * images) // count


def is_plenty(rows: int, images: int, inputs: int) -> bool:
    """Whether rows and images are so many for a layer's inputs that none need be left out to choose a ridge."""
    return rows >= _PLENTY * inputs and images > _PLENTY_OF_IMAGES * inputs


def left_out(rows: Tensor, errors: Tensor, factor: Tensor, n: int) -> Tensor:
    """Errors of images that took part, as they would be had they not.

    Args:
        rows: [images, rows of each, groups, inputs]. errors: with them, [images, rows of each, groups, outputs].
        factor: Cholesky factor of `U^T U / n + r`, [groups, inputs, inputs]. n: rows in all.

    Returns:
        As `errors`.
    """
    images, each, groups, inputs = rows.shape
    flat = rows.permute(2, 3, 0, 1).reshape(groups, inputs, images * each)
    white = torch.linalg.solve_triangular(factor.to(rows.dtype), flat, upper=False)
    blocks = white.reshape(groups, inputs, images, each).permute(0, 2, 3, 1)  # [groups, images, each, inputs]
    leverage = blocks @ blocks.mT / n
    system = torch.eye(each, dtype=rows.dtype, device=rows.device) - leverage
    # An image that alone determines an input has a leverage of one there; rounding must not make it more.
    system = system + 1e-4 * torch.eye(each, dtype=rows.dtype, device=rows.device)
    without: Tensor = torch.linalg.solve(system, errors.permute(2, 0, 1, 3))
    return without.permute(1, 2, 0, 3)
