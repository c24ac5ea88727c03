"""The built-in criteria of one layer's weights, of its gradients, and the norms of its convolution matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from reconv.registry import register
from reconv.saliency.criterion import Criterion, LayerContext

_SUN_SHI = "Sun & Shi, WACV 2024"


def _l1(layer: LayerContext) -> Tensor:
    return layer.filters.abs().sum(1)


def _l2(layer: LayerContext) -> Tensor:
    return layer.filters.square().sum(1).sqrt()


def _geometric_median(layer: LayerContext) -> Tensor:
    # A filter near the geometric median of all filters is the one that the others can replace.
    return torch.cdist(layer.filters, layer.filters, compute_mode="donot_use_mm_for_euclid_dist").sum(1)


def _batchnorm_scale(layer: LayerContext) -> Tensor | None:
    return None if layer.scale is None else layer.scale.abs()


def _lamp(layer: LayerContext) -> Tensor:
    """Energy of a filter over that of all filters of the layer that are at least as large."""
    energy, order = layer.filters.square().sum(1).sort(descending=True, stable=True)
    score = energy / energy.cumsum(0).clamp(min=torch.finfo(energy.dtype).tiny)
    return torch.empty_like(score).scatter(0, order, score)


def _random(layer: LayerContext) -> Tensor:
    return torch.rand(len(layer.filters), generator=layer.generator, dtype=torch.float64)


def _taylor(layer: LayerContext) -> Tensor:
    return layer.squared_gate_gradient


def _diagonal_fisher(layer: LayerContext) -> Tensor:
    return (layer.filters.square() * layer.squared_gradient).sum(1) / 2


for _row in (
    Criterion(
        "spectral",
        "spectral norm of the channel's convolution matrix, its largest singular value",
        ("spec",),
        source=_SUN_SHI,
        norm="spectral",
    ),
    Criterion(
        "nuclear",
        "nuclear norm of the channel's convolution matrix, the sum of its singular values",
        ("nuc",),
        source=_SUN_SHI,
        norm="nuclear",
    ),
    Criterion(
        "frobenius",
        "Frobenius norm of the channel's convolution matrix, the root of the sum of its squared singular values",
        ("fro",),
        source=_SUN_SHI,
        norm="frobenius",
    ),
    Criterion("l1", "sum of the absolute weights", source="Li et al., ICLR 2017", of_layer=_l1),
    Criterion("l2", "Euclidean norm of the weights", of_layer=_l2),
    Criterion(
        "fpgm",
        "sum of distances to the layer's other filters",
        source="He et al., CVPR 2019",
        of_layer=_geometric_median,
    ),
    Criterion(
        "bn_scale",
        "absolute scale of the BatchNorm that follows",
        ("bn",),
        source="Liu et al., ICCV 2017",
        of_layer=_batchnorm_scale,
    ),
    Criterion(
        "lamp",
        "energy of the filter over that of all filters of the layer that are at least as large",
        source="Lee et al., ICLR 2021, filter by filter",
        unit="as a share",
        of_layer=_lamp,
    ),
    Criterion("random", "uniform random numbers, seeded", needs=frozenset({"seed"}), of_layer=_random),
    Criterion(
        "taylor",
        "squared change of the loss with a factor on the channel, to first order, mean over batches",
        needs=frozenset({"weights", "gradients"}),
        source="Molchanov et al., CVPR 2019, gates behind BatchNorm",
        unit="in squared units of the loss",
        of_layer=_taylor,
    ),
    Criterion(
        "obd_c",
        "half the sum of squared weights times squared gradients: rise of the loss by the diagonal Fisher information",
        ("fisher",),
        needs=frozenset({"weights", "gradients"}),
        source="LeCun et al., NeurIPS 1989; channels as Wang et al., ICML 2019",
        unit="in units of the loss",
        of_layer=_diagonal_fisher,
    ),
):
    register(_row)
