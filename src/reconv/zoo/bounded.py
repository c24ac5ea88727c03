"""Networks of bounded size: what a file says of a network's arguments does not fill the memory, nor the day."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from reconv.errors import ConfigError
from reconv.files import memory

_MOST_PARTS = 100_000  # modules and parameters; the largest networks of the libraries have a tenth
_LARGEST_NUMBER, _MOST_CLASSES = 100_000, 10_000_000


def check_arguments(name: str, arguments: Mapping[str, Any], classes: str) -> None:
    """Refuse numbers of layers, widths or repetitions that no network has: libraries make lists that long.

    Args:
        name: of the network. arguments: its own. classes: the one that is a number of classes.

    Raises:
        ConfigError: one of them is too large.
    """
    for key, value in arguments.items():
        limit = _MOST_CLASSES if key == classes else _LARGEST_NUMBER
        if any(abs(number) > limit for number in _numbers(value)):
            raise ConfigError(f"{name}: {key} = {reprlib.repr(value)}; give numbers of at most {limit:,}.")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, Mapping):
        yield from _numbers(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)


@contextmanager
def bounded_building(name: str) -> Iterator[None]:
    """End the building of a network that has too many parts, or parameters for which there is no memory.

    Args:
        name: of the network, for the message.

    Raises:
        ConfigError: it has.
    """
    parts = size = 0
    largest = memory()

    def count(module: nn.Module, name_in_it: str, part: object) -> None:
        nonlocal parts, size
        parts += 1
        if isinstance(part, nn.Parameter) and not part.is_meta:
            size += part.nbytes
        if parts > _MOST_PARTS or size > largest:
            limit = f"{_MOST_PARTS:,} modules and parameters" if parts > _MOST_PARTS else "this machine's memory"
            raise ConfigError(f"{name}: its arguments make it larger than {limit}; give smaller ones.")

    hooks = (register_module_module_registration_hook(count), register_module_parameter_registration_hook(count))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
