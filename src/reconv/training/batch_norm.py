"""BatchNorm statistics estimated again, after the weights in front of them have changed.

A pruned net's running means and variances are those of the net it was cut from. They need no labels and no
gradients to be right again: a forward pass over some images gives each layer's, and their plain average over
the batches replaces what was there.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from reconv.errors import ConfigError, check_kind
from reconv.modes import evaluating
from reconv.training.evaluation import device_of

_BatchNorm = nn.modules.batchnorm._BatchNorm


def recalibrate(model: nn.Module, images: Tensor, *, batch_size: int = 200) -> nn.Module:
    """Re-estimate the running mean and variance of every BatchNorm layer.

    With m_b and v_b the mean and (unbiased) variance of a layer's input over batch b of B, the running
    statistics become (1/B) sum m_b and (1/B) sum v_b. The batches are of nearly equal size, so each image
    weighs the same.

    Args:
        model: stays as it is. Dropout and the like are off.
        images: float `[n, C, H, W]`, normalized as the model expects, on any device.
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
    check_kind("recalibrate: images", images, Tensor, "a float tensor [n, C, H, W], such as calibration_images gives")
    if images.ndim != 4 or len(images) < 2 or not bool(torch.isfinite(images).all()):
        raise ConfigError(
            f"recalibrate: {tuple(images.shape)} images; give at least two, (n, C, H, W), all of them finite numbers."
        )
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
        for part in images.tensor_split(-(-len(images) // batch_size)):
            fresh(part.to(device).contiguous(memory_format=torch.channels_last))
    for layer, momentum, count in zip(layers, momenta, counts):
        layer.momentum = momentum
        layer.num_batches_tracked = count
    return fresh
