"""The obvious reference: the explicit matrix, by convolving basis vectors, and its SVD. Imports nothing of ours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad


def explicit_matrix(weight: Tensor, size: tuple[int, int], *, stride, padding, dilation) -> Tensor:
    """[C_out, outputs, C_in * inputs]: column j is the convolution of basis vector j. `padding`: a pair of pairs."""
    (top, bottom), (left, right) = padding
    inputs = weight.shape[1] * size[0] * size[1]
    basis = torch.eye(inputs, dtype=torch.float64).reshape(inputs, weight.shape[1], *size)
    padded = pad(basis, (left, right, top, bottom))
    maps = conv2d(padded, weight.to(torch.float64), stride=stride, dilation=dilation)
    return maps.flatten(2).permute(1, 2, 0)


def norms_by_svd(
    weight: Tensor,
    size: tuple[int, int],
    *,
    stride=1,
    padding=((0, 0), (0, 0)),
    dilation=1,
    groups=1,
    backward=False,
) -> dict[str, Tensor]:
    """Norms of every output channel's matrix; backward, of what every input channel feeds."""
    found = []
    for part in weight.chunk(groups):
        A = explicit_matrix(part, size, stride=stride, padding=padding, dilation=dilation)
        if backward:
            positions = size[0] * size[1]
            A = A.reshape(*A.shape[:2], -1, positions).permute(2, 0, 1, 3).flatten(1, 2)
        found.append(torch.linalg.svdvals(A))
    sigma = torch.cat(found)
    return {"spectral": sigma[:, 0], "nuclear": sigma.sum(1), "frobenius": sigma.square().sum(1).sqrt()}
