"""What stands in for a removed branch: modules that compute nothing, and the signal that they give.

`x + branch(x)` becomes `x`: the branch's modules give `NOTHING`, which an addition leaves out, without a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

IDENTITY = 0  # in place of a module that only passes its input on; positive numbers: of outputs that are all nothing
GUARD = -1  # around a module that others use too: nothing passes it by
_ADDITIONS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
_SIZES = frozenset({"size", "dim", "numel", "stride", "item", "tolist", "is_floating_point", "is_contiguous"})


class Nothing:
    """The signal of a removed branch.

    A sum leaves it out, a concatenation too; all else that is computed from it is nothing again, and it has no size.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operands = [*args, *(kwargs or {}).values()]
        if func.__name__ in _ADDITIONS:
            return next((value for value in operands[:2] if not isinstance(value, Nothing)), NOTHING)
        if func.__name__ in ("cat", "concat", "concatenate"):
            parts = [value for value in operands[0] if not isinstance(value, Nothing)]
            return func(parts, *args[1:], **(kwargs or {})) if parts else NOTHING
        return NOTHING

    def __add__(self, other: Any) -> Any:
        return other

    __radd__ = __add__

    def __mul__(self, other: Any) -> Nothing:
        return self

    __rmul__ = __sub__ = __truediv__ = __matmul__ = __getitem__ = __mul__

    def __neg__(self) -> Nothing:
        return self

    def __getattr__(self, name: str) -> Callable[..., Nothing]:
        if name.startswith("_") or name in _SIZES or not callable(getattr(Tensor, name, None)):
            raise AttributeError(f"a removed branch has no {name}")
        return lambda *_, **__: self

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = Nothing()


class Removed(nn.Module):
    """In place of a module of a removed branch: gives `NOTHING`, as many times as the module had outputs."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, *_: Any, **__: Any) -> Any:
        return NOTHING if self.outputs == 1 else (NOTHING,) * self.outputs

    def extra_repr(self) -> str:
        return "" if self.outputs == 1 else f"outputs={self.outputs}"


class Guard(nn.Module):
    """Around a module, such as a stochastic depth that two branches share: passes `NOTHING` by it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, signal: Any, *args: Any, **kwargs: Any) -> Any:
        return signal if isinstance(signal, Nothing) else self.module(signal, *args, **kwargs)


def bypass(model: nn.Module, replacements: Mapping[str, int]) -> None:
    """Put stand-ins into a model, in place, wherever it holds these modules.

    Args:
        replacements: path of a module -> `IDENTITY`, `GUARD`, or the number of outputs of a `Removed`.
    """
    for path in outermost(replacements):
        old, outputs = model.get_submodule(path), replacements[path]
        new = nn.Identity() if outputs == IDENTITY else Guard(old) if outputs == GUARD else Removed(outputs)
        new.training = old.training
        for parent in [module for module in model.modules() if module is not new]:
            for name, child in parent._modules.items():
                if child is old:
                    parent._modules[name] = new


def outermost(paths: Mapping[str, Any]) -> Iterator[str]:
    """Those paths that lie in none of the others."""
    return (path for path in paths if not any(is_within(path, other) for other in paths if other != path))


def vanishing(replacements: Mapping[str, int]) -> list[str]:
    """Paths of the modules that are no longer there: not of those that only got a guard."""
    return [path for path, outputs in replacements.items() if outputs != GUARD]


def is_within(path: str, module: str) -> bool:
    """Whether a dotted name is a module's own, or that of something inside it."""
    return not module or path == module or path.startswith(module + ".")
