"""`Exporter`: one file format, how it is written, and how it is read back and run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from reconv.registry import Registry

AXES = {"batch": 0, "height": -2, "width": -1}
"""Axes of inputs whose sizes may be left open, by name."""

_LARGER = 32  # pixels by which images are larger, where height or width is open


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

    def opened(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs of another size along each open axis: two examples, since a size of 1 would be taken for fixed, and
        images that are larger."""

        def other(value: Any) -> Any:
            if not isinstance(value, Tensor) or not value.dim():
                return value
            value = torch.cat([value[:1]] * 2) if self.dynamic_batch else value
            for name in ("height", "width"):
                if name in self.dynamic and value.dim() > 2:
                    more = value.narrow(AXES[name], 0, min(_LARGER, value.shape[AXES[name]]))
                    value = torch.cat([value, more], AXES[name])
            return value

        opened: tuple[tuple[Any, ...], dict[str, Any]] = tree_map(other, (self.args, self.kwargs))
        return opened


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
