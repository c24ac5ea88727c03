"""BatchNorm statistics estimated again, after the weights in front of them have changed.

A pruned net's running means and variances are those of the net it was cut from. They need no labels and no
gradients to be right again: a forward pass over some images gives each layer's, and their plain average over
the batches replaces what was there.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reconv.errors import ConfigError, check_kind
from reconv.inputs import batch_size as number_of
from reconv.inputs import call, on_device, part_of, tensors_of
from reconv.modes import evaluating
from reconv.training.evaluation import device_of

_BatchNorm = nn.modules.batchnorm._BatchNorm


def recalibrate(model: nn.Module, images: Any, *, batch_size: int = 200) -> nn.Module:
    """Re-estimate the running mean and variance of every BatchNorm layer.

    With m_b and v_b the mean and (unbiased) variance of a layer's input over batch b of B, the running
    statistics become (1/B) sum m_b and (1/B) sum v_b. The batches are of nearly equal size, so each image
    weighs the same.

    Args:
        model: stays as it is. Dropout and the like are off.
        images: float `[n, C, H, W]`, normalized as the model expects, on any device; or other inputs of it.
        batch_size: images at a time, at most.

    Returns:
        A copy with the new statistics; weights, mode and device as they were.

    Raises:
        ConfigError: fewer than two images, or images that are not finite.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> images = torch.randn(100, 3, 8, 8)
        >>> bool(recalibrate(model, images)[1].running_mean.abs().max() > 0)
        True
    """
    check_kind("recalibrate: model", model, nn.Module)
    kinds = (Tensor, list, tuple, Mapping)
    check_kind("recalibrate: images", images, kinds, "a float tensor [n, C, H, W], such as calibration_images gives")
    number = number_of(images)
    if number < 2 or not all(bool(torch.isfinite(tensor).all()) for tensor in tensors_of(images)):
        raise ConfigError(f"recalibrate: {number} images; give at least two, all of them finite numbers.")
    fresh = copy.deepcopy(model)
    layers = [module for module in fresh.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    counts = [copy.deepcopy(layer.num_batches_tracked) for layer in layers]
    device = device_of(fresh)
    with evaluating(fresh), torch.no_grad():
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the cumulative average
            layer.train()
        for indices in torch.arange(number).tensor_split(-(-number // batch_size)):
            part = on_device(part_of(images, slice(int(indices[0]), int(indices[-1]) + 1)), device)
            planes = isinstance(part, Tensor) and part.dim() == 4
            call(fresh, part.contiguous(memory_format=torch.channels_last) if planes else part)
    for layer, momentum, count in zip(layers, momenta, counts):
        layer.momentum = momentum
        layer.num_batches_tracked = count
    return fresh
