"""The layouts of weights in use elsewhere: how each is recognized, renamed, and what it implies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from reconv.provenance import IMAGENET, Normalization


@dataclass(frozen=True)
class Layout:
    """A way to name the tensors of a model.

    Attributes:
        title: what the user is told.
        models: which models (a regular expression on the canonical name).
        sign: a regular expression; the layout is recognized by a name that it matches.
        renaming: regular expressions and what replaces them, to come to our names.
        arguments: arguments of the model that it implies.
        normalization: of the input that it implies.
    """

    title: str
    models: str
    sign: str
    renaming: tuple[tuple[str, str], ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    normalization: Normalization | None = None

    def matches(self, model: str, tensors: Mapping[str, Tensor]) -> bool:
        """Whether these are tensors of this layout, for this model."""
        return bool(re.fullmatch(self.models, model)) and any(re.search(self.sign, name) for name in tensors)

    def rename(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors by our names."""
        renamed = {}
        for name, tensor in tensors.items():
            for pattern, replacement in self.renaming:
                name = re.sub(pattern, replacement, name)
            renamed[name] = tensor
        return renamed


_CIFAR_RESNET = r"resnet(20|32|44|56|110)"
_HEAD_AND_SHORTCUT = ((r"^linear\.", "fc."), (r"\.downsample\.", ".shortcut."))

# The first that matches counts.
LAYOUTS = (
    Layout(
        "1x1-convolution shortcut",
        models=_CIFAR_RESNET,
        sign=r"\.(shortcut|downsample)\.0\.weight$",
        renaming=_HEAD_AND_SHORTCUT,
        arguments={"shortcut": "conv"},
    ),
    Layout(
        "akamaster/pytorch_resnet_cifar10 (its head is named `linear`)",
        models=_CIFAR_RESNET,
        sign=r"^linear\.weight$",
        renaming=_HEAD_AND_SHORTCUT,
        arguments={"shortcut": "stride"},
        normalization=IMAGENET,
    ),
    Layout(
        "CIFAR ResNet with a parameter-free shortcut (which one, the file does not say)",
        models=_CIFAR_RESNET,
        sign=r"^fc\.weight$",
        arguments={"shortcut": "average"},
    ),
    Layout(
        "CIFAR VGG16-BN whose head has another name",
        models="vgg16_bn",
        sign=r"^(fc|linear|classifier\.0)\.weight$",
        renaming=((r"^(fc|linear|classifier\.0)\.", "classifier."),),
    ),
    Layout(
        "torchvision's DenseNet of before 2018",
        models=r"torchvision:densenet\d+",
        sign=r"\.denselayer\d+\.norm\.1\.weight$",
        renaming=((r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),),
    ),
)


def layout_of(model: str, tensors: Mapping[str, Tensor]) -> Layout | None:
    """The layout of these tensors of a model, by its canonical name; None for our own or an unknown one."""
    return next((layout for layout in LAYOUTS if layout.matches(model, tensors)), None)


def in_our_names(model: str, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A model's tensors by our names."""
    layout = layout_of(model, tensors)
    return tensors if layout is None else layout.rename(tensors)
