"""What a network in training learns from a teacher: its outputs, and what its layers give.

The layers are those that pruning left all their output channels and took input channels: the ends of the chains that
a repair solves. Their outputs in the teacher are the repair's targets, here batch by batch.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reconv.errors import ConfigError
from reconv.inputs import call
from reconv.training.divergence import named_tensors
from reconv.training.evaluation import are_scores, scores_of

_TINY = 1e-12


class Teacher:
    """A network whose outputs, and features, another one learns."""

    def __init__(self, teacher: nn.Module, student: nn.Module, device: torch.device, *, features: bool) -> None:
        """Keep a frozen copy of the teacher on a device.

        Args:
            teacher: stays as it is. student: the network in training, whose layers are watched. features: whether the
                layers' outputs are learned too.

        Raises:
            ConfigError: features are wanted, and no layer has fewer inputs than the teacher's of the same name.
        """
        self.network = copy.deepcopy(teacher).to(device).eval().requires_grad_(False)
        names = shortened_layers(self.network, student) if features else []
        if features and not names:
            raise ConfigError(
                "feature_distillation: no layer has fewer inputs than the teacher's layer of the same name; "
                "give feature_distillation=0, or the network before pruning as the teacher"
            )
        self._pairs = [_Pair(student.get_submodule(name), self.network.get_submodule(name)) for name in names]

    def outputs(self, inputs: Any) -> Any:
        """The teacher's outputs for a batch."""
        with torch.no_grad():
            return call(self.network, inputs)

    def forget(self) -> None:
        """Drop what the layers gave; before each pass."""
        for pair in self._pairs:
            pair.forget()

    def feature_distance(self) -> Tensor:
        """The mean over the watched layers of ||s - t||^2 / ||t||^2, s and t what both gave in this pass."""
        return torch.stack([pair.distance() for pair in self._pairs]).mean()


class _Pair:
    """A layer in both networks, and what it gave, call by call."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        self._student: list[Tensor] = []
        self._teacher: list[Tensor] = []
        student.register_forward_hook(lambda module, args, output: self._student.append(output))
        teacher.register_forward_hook(lambda module, args, output: self._teacher.append(output))

    def forget(self) -> None:
        self._student.clear()
        self._teacher.clear()

    def distance(self) -> Tensor:
        squares = [_relative(s, t) for s, t in zip(self._student, self._teacher)]
        return torch.stack(squares).mean()


def _relative(value: Tensor, target: Tensor) -> Tensor:
    """||value - target||^2 / ||target||^2."""
    target = target.float()
    return (value.float() - target).square().sum() / target.square().sum().clamp_min(_TINY)


def shortened_layers(whole: nn.Module, pruned: nn.Module) -> list[str]:
    """Names of the layers with as many outputs in both networks and fewer inputs in the pruned one."""
    before = {name: module.weight.shape for name, module in whole.named_modules() if _has_kernel(module)}
    after = {name: module.weight.shape for name, module in pruned.named_modules() if _has_kernel(module)}
    return [
        name
        for name, shape in after.items()
        if name in before and shape[0] == before[name][0] and shape[1] < before[name][1]
    ]


def _has_kernel(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)


def output_distance(outputs: Any, taught: Any, labels: Any, temperature: float) -> Tensor:
    """How far a network's outputs are from its teacher's.

    Args:
        outputs, taught: of the same structure. labels: of the images; int64 `[n]` for scores of classes.
        temperature: T, by which both scores are divided.

    Returns:
        For scores of classes T^2 KL(softmax(taught / T) || softmax(outputs / T)), the mean over the images, in nats;
        otherwise the mean over the tensors of floating-point numbers of ||outputs - taught||^2 / ||taught||^2.

    Raises:
        ConfigError: tensors of other names or shapes, or none.
    """
    scores, its_scores = scores_of(outputs, labels), scores_of(taught, labels)
    if are_scores(scores, labels) and are_scores(its_scores, labels) and scores.shape[1] > 1:
        log_p, log_q = (functional.log_softmax(x.float() / temperature, dim=1) for x in (scores, its_scores))
        return temperature**2 * functional.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    mine, its = (
        {name: value for name, value in named_tensors(x) if value.is_floating_point()} for x in (outputs, taught)
    )
    if not its or {name: value.shape for name, value in mine.items()} != {n: value.shape for n, value in its.items()}:
        raise ConfigError(
            f"teacher: it gives {_shapes(its)}, and the network in training {_shapes(mine)}; a teacher's outputs can "
            "be learned where both give the same tensors: train with loss= and without a teacher"
        )
    return torch.stack([_relative(mine[name], target) for name, target in its.items()]).mean()


def _shapes(tensors: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items()) or "no tensor"
