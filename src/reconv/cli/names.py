"""Names that shell completion offers, kept here so that it needs no torch; a test holds them to the real tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MODELS = (
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "vgg16_bn",
    "resnet34",
    "resnet101",
)
DATA_SETS = ("digits", "cifar10", "cifar100", "imagenet")
METRICS = (
    *("spec", "nuc", "fro", "l1", "l2", "fpgm", "bn", "lamp", "random"),
    *("reconstruction", "activation", "taylor", "obd_c"),
)
DIRECTIONS = ("forward", "backward")
SCHEMES = ("uniform", "global", "knapsack", "allocated")
PROTOCOLS = ("paper", "paper-base", "paper-cifar", "paper-imagenet", "modern", "fast", "short")


def offer(names: Sequence[str]) -> Callable[[str], list[str]]:
    """A completion function that offers those of `names` that begin with what was typed."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.lower().startswith(incomplete.lower())]

    return complete
