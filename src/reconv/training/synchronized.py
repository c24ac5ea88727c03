"""BatchNorm over the whole batch, when its images are spread over several processes.

Without it each process normalizes by the statistics of its own part, and the result depends on how many
processes there are. PyTorch's own layer does this on accelerators only; the one here also runs on CPUs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class _Synchronized(nn.Module):
    """Mixed into a BatchNorm class: in training mode, sums over all processes.

        mean = sum(x) / n,   var = sum((x - mean)^2) / n,   y = gamma (x - mean) / sqrt(var + eps) + beta

    with n the number of a channel's values on all processes. The gradient passes through both sums.
    """

    def forward(self, x: Tensor) -> Tensor:
        layer: nn.modules.batchnorm._BatchNorm = self  # type: ignore[assignment]
        if not layer.training:
            return super().forward(x)  # type: ignore[no-any-return]
        axes = [axis for axis in range(x.ndim) if axis != 1]
        n = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        shape = [1, -1] + [1] * (x.ndim - 2)
        mean = all_reduce(x.sum(axes)) / n
        centered = x - mean.view(shape)
        variance = all_reduce(centered.square().sum(axes)) / n
        if layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None:
            layer.num_batches_tracked += 1
            momentum = layer.momentum if layer.momentum is not None else 1.0 / float(layer.num_batches_tracked)
            with torch.no_grad():
                layer.running_mean.lerp_(mean, momentum)
                layer.running_var.lerp_(variance * (n / (n - 1)), momentum)
        y: Tensor = centered * torch.rsqrt(variance + layer.eps).view(shape)
        if layer.affine:
            y = y * layer.weight.view(shape) + layer.bias.view(shape)
        return y


_KINDS: dict[type[nn.Module], type[nn.Module]] = {
    kind: type(kind.__name__, (_Synchronized, kind), {}) for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
}


def synchronize_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Let a model's BatchNorm layers use the statistics of all processes; names and weights stay.

    Args:
        model: is changed. A subclass of BatchNorm with a forward of its own is left alone.
        device: on CUDA PyTorch's layer takes over, which is faster.

    Returns:
        The model.
    """
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for module in model.modules():
        if type(module) in _KINDS:
            module.__class__ = _KINDS[type(module)]
    return model
