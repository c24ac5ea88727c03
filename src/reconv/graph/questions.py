"""Whether a model's code could notice that channels are gone, so that a cut has to be tried out.

It could where it asks a tensor for its sizes, hands an operator a number that may stand for channels, or reads such a
number from a layer. Where all of a pass is made of calls that take none, a smaller copy runs the very same calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

# Functions of which no argument counts channels.
_NAMES = (
    "linear batch_norm relu relu_ relu6 hardtanh hardtanh_ hardswish hardsigmoid sigmoid sigmoid_ silu mish tanh gelu "
    "elu leaky_relu softplus dropout dropout2d add add_ __add__ __radd__ __iadd__ mul mul_ __mul__ __rmul__ __imul__ "
    "sub __sub__ cat flatten mean max_pool2d _max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d "
    "div __truediv__ neg __neg__ permute transpose contiguous detach clone dim "
    "is_floating_point device.default interpolate _assert"
)
NUMBERLESS = frozenset(_NAMES.split())
NUMBERLESS_QUESTIONS = frozenset({"device", "dtype", "ndim", "requires_grad", "is_cuda", "is_nested", "layout"})
SIZES_OF_LAYERS = frozenset(
    {"in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels", "groups"}
)


class NoFastPath(TorchFunctionMode):
    """Its mere presence keeps PyTorch's attention layers from their fused inference path, which hides its parts."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Listening(NoFastPath):
    """Listens to what the model's code calls while its forward runs.

    Args:
        running: gives the module whose forward runs.

    Attributes:
        noticed: the first call that could notice a cut; "" while there was none.
        called: whether a call is under way.
    """

    def __init__(self, running: Callable[[], nn.Module | None]):
        super().__init__()
        self.running = running
        self.noticed = ""
        self.called = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.noticed and not self._takes_no_size(func, args, kwargs or {}):
            self.noticed = getattr(func, "__name__", str(func))
        self.called = True
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.called = False

    def hear(self, operator: str) -> None:
        """An operator runs: where no call was heard, it comes from compiled code that may count."""
        if not self.called:
            self.noticed = self.noticed or operator

    def _takes_no_size(self, func: Any, args: Any, kwargs: Any) -> bool:
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return getattr(func.__self__, "__name__", "") in NUMBERLESS_QUESTIONS
        if name in ("conv1d", "conv2d", "conv3d"):
            groups, module = kwargs.get("groups", args[6] if len(args) > 6 else 1), self.running()
            return groups == 1 or (isinstance(module, _ConvNd) and groups == module.groups)
        return name in NUMBERLESS or (name == "layer_norm" and isinstance(self.running(), nn.LayerNorm))


def reads_sizes_of_layers(model: nn.Module) -> bool:
    """Whether the forward of one of the model's own classes, or a method that it names, reads how wide a layer is."""
    return any(_reads(kind) for kind in {type(module) for module in model.modules()})


def _reads(kind: type[nn.Module]) -> bool:
    waiting, seen = ["forward"], set()
    while waiting:
        name = waiting.pop()
        method = getattr(kind, name, None)
        method = getattr(method, "fget", method)  # of a property
        code = getattr(method, "__code__", None)
        if name in seen or code is None or str(method.__module__).split(".")[0] == "torch":
            continue
        if not SIZES_OF_LAYERS.isdisjoint(code.co_names):
            return True
        seen.add(name)
        waiting += code.co_names
    return False
