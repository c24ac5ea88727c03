"""The paper's pruning configurations: which fraction of which convolution's output channels is removed.

Each is a TOML file in `recipes/`. Kept channels are `int(C * (1 - fraction))` in decimal arithmetic, so that
no binary rounding of the fraction takes a channel away.

Source: Sun & Shi, "Towards Better Structured Pruning Saliency by Reorganizing Convolution", WACV 2024.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

from reconv.errors import ConfigError, UnknownNameError, check_kind
from reconv.files import read_toml
from reconv.zoo.sources import canonical_name

_FILE_NAME = re.compile(r"(.+)_cfg(\d+)\.toml")


@dataclass(frozen=True)
class Recipe:
    """A pruning configuration.

    Attributes:
        model: the canonical name of the model it is for.
        number: of the configuration, as `--prune-cfg` takes it.
        remove: pattern of layer names (`layer1.*.conv1`) -> fraction of the output channels removed.
        skip: layers that keep all channels although a pattern matches.
    """

    model: str
    number: int
    remove: Mapping[str, Decimal]
    skip: tuple[str, ...]

    def widths(self, channels: Mapping[str, int]) -> dict[str, int]:
        """The output channels to keep.

        Args:
            channels: layer name -> output channels, of every convolution of the model.

        Returns:
            Layer name -> kept output channels, for the layers that lose some, in the order of `channels`.

        Raises:
            ConfigError: a layer that the recipe names is not there: it is for another model.
        """
        for pattern in (*self.remove, *self.skip):
            if not any(fnmatchcase(name, pattern) for name in channels):
                raise ConfigError(
                    f"recipe {self.model} cfg{self.number}: no convolution {pattern} in this model; "
                    f"use it with {self.model}, or give a budget."
                )
        fractions = {name: self._fraction(name) for name in channels}
        return {name: int(channels[name] * (1 - fraction)) for name, fraction in fractions.items() if fraction}

    def _fraction(self, layer: str) -> Decimal:
        if layer in self.skip:
            return Decimal(0)
        return next((removed for pattern, removed in self.remove.items() if fnmatchcase(layer, pattern)), Decimal(0))


@cache
def _recipe_files() -> dict[tuple[str, int], str]:
    names = (entry.name for entry in (files("reconv.zoo") / "recipes").iterdir())
    matches = (_FILE_NAME.fullmatch(name) for name in names)
    return {(match[1], int(match[2])): match[0] for match in matches if match}


def recipe_numbers() -> dict[str, tuple[int, ...]]:
    """The published configurations: model -> numbers."""
    numbers: dict[str, tuple[int, ...]] = {}
    for model, number in sorted(_recipe_files()):
        numbers[model] = (*numbers.get(model, ()), number)
    return numbers


def load_recipe(model: str, number: int) -> Recipe:
    """The paper's configuration of this number for this model.

    Args:
        model: `resnet56`, `resnet110`, `resnet34` or `vgg16_bn`.
        number: from 1.

    Raises:
        UnknownNameError: none was published; the message lists those that were.

    Example:
        >>> import reconv
        >>> recipe = reconv.load_recipe("resnet56", 1)
        >>> recipe.model, recipe.number
        ('resnet56', 1)
    """
    check_kind("load_recipe: model", model, str, 'the name of a network, such as "resnet56"')
    name = canonical_name(model)
    bare = name.removeprefix("torchvision:")
    if (bare, number) not in _recipe_files():
        published = "; ".join(f"{known} {', '.join(map(str, numbers))}" for known, numbers in recipe_numbers().items())
        raise UnknownNameError(
            f"recipe: no configuration {number} was published for {name}; published: {published}. "
            "Any other model or size takes a budget."
        )
    table = read_toml(files("reconv.zoo") / "recipes" / _recipe_files()[bare, number], parse_float=Decimal)
    return Recipe(model=name, number=number, remove=table["remove"], skip=tuple(table.get("skip", ())))
