"""`Exporter`: one file format, how it is written, and how it is read back and run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from reconv.registry import Registry

AXES = {"batch": 0, "height": -2, "width": -1}
"""Axes of inputs whose sizes may be left open, by name."""


@dataclass(frozen=True)
class Call:
    """How the network is called while it is exported, and what is asked of the file.

    Args:
        args, kwargs: example inputs.
        dynamic: axes of the inputs, of `AXES`, that may have another size later.
        opset: version of ONNX's operators; None: the exporter's own.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dynamic: tuple[str, ...] = ()
    opset: int | None = None

    @property
    def dynamic_batch(self) -> bool:
        """Whether axis 0 of every input may have another size later."""
        return "batch" in self.dynamic


@dataclass(frozen=True)
class Exporter:
    """A format that networks are exported to.

    Args:
        name: what `to=` and `--to` take. suffix: of its files, such as ".onnx".
        meaning: a phrase for `reconv list exporters`.
        write: writes a network in evaluation mode to a path.
        read: a function that computes what the file computes, called as the network is.
        aliases: other names. extra: of reconv, that installs what the format needs; "" for nothing.
        companions: suffixes of further files of the same name that `write` makes beside the first.

    Example:
        >>> import torch
        >>> from reconv.deploy import Exporter
        >>> def write(model, call, path):
        ...     torch.jit.save(torch.jit.trace(model, call.args), str(path))
        >>> Exporter("script", ".ts", "traced by TorchScript", write, lambda path: torch.jit.load(str(path))).suffix
        '.ts'
    """

    registry: ClassVar[Registry[Exporter]] = Registry("exporter", built_in=("reconv.deploy.formats",))

    name: str
    suffix: str
    meaning: str
    write: Callable[[nn.Module, Call, Path], None]
    read: Callable[[Path], Callable[..., Any]]
    aliases: tuple[str, ...] = ()
    extra: str = ""
    companions: tuple[str, ...] = ()
