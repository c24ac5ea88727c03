"""Whether a model's code could notice that channels are gone, so that a cut has to be tried out.

It could where it asks a tensor for its sizes, hands an operator a number that may stand for channels, or reads such a
number from a layer. Where all of a pass is made of calls that take none, a smaller copy runs the very same calls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from reconv.graph.rules import SIZELESS_FUNCTIONS

_SIZELESS = SIZELESS_FUNCTIONS | {"dim", "is_floating_point", "device.default", "_assert"}
_SIZELESS_ATTRIBUTES = frozenset({"device", "dtype", "ndim", "requires_grad", "is_cuda", "is_nested", "layout"})
_WIDTHS_OF_LAYERS = frozenset(
    {"in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels", "groups"}
)


class NoFastPath(TorchFunctionMode):
    """Its mere presence keeps PyTorch's attention layers from their fused inference path, which hides its parts."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class FunctionCalls(NoFastPath):
    """Which of PyTorch's functions the model's code calls while its forward runs.

    Args:
        running: gives the module whose forward runs.

    Attributes:
        noticed: the first call that could notice a cut; "" while there was none.
        current: the call that is under way: its number, and the function's name; "" where none is.
    """

    def __init__(self, running: Callable[[], nn.Module | None]):
        super().__init__()
        self.running = running
        self.noticed = ""
        self.current = (0, "")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.noticed and not self._takes_no_size(func, args, kwargs or {}):
            self.noticed = getattr(func, "__name__", str(func))
        self.current = (self.current[0] + 1, getattr(func, "__name__", str(func)))
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.current = (self.current[0], "")

    def note_operator(self, operator: str) -> None:
        """An operator runs: where no function was called, it comes from compiled code that may count."""
        if not self.current[1]:
            self.noticed = self.noticed or operator

    def _takes_no_size(self, func: Any, args: Any, kwargs: Any) -> bool:
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return getattr(func.__self__, "__name__", "") in _SIZELESS_ATTRIBUTES
        if name in ("conv1d", "conv2d", "conv3d"):
            groups, module = kwargs.get("groups", args[6] if len(args) > 6 else 1), self.running()
            return groups == 1 or (isinstance(module, _ConvNd) and groups == module.groups)
        return name in _SIZELESS or (name == "layer_norm" and isinstance(self.running(), nn.LayerNorm))


def reads_sizes_of_layers(model: nn.Module) -> bool:
    """Whether the forward of one of the model's own classes, or a method that it names, reads how wide a layer is."""
    kinds: set[Any] = {type(module) for module in model.modules()}
    return any(not _WIDTHS_OF_LAYERS.isdisjoint(names_read(kind)) for kind in kinds)


@lru_cache(maxsize=1024)
def names_read(kind: Any) -> frozenset[str]:
    """Every name in the forward of a class of modules, and in the methods that it names, but for PyTorch's own."""
    waiting, done, result = ["forward"], set(), set()
    while waiting:
        name = waiting.pop()
        method = getattr(kind, name, None)
        method = getattr(method, "fget", method)  # of a property
        code = getattr(method, "__code__", None)
        if name in done or code is None or str(method.__module__).split(".")[0] == "torch":
            continue
        done.add(name)
        result.update(code.co_names)
        waiting += code.co_names
    return frozenset(result)
