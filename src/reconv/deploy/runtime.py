"""`Runtime`: what runs a network where it is deployed, as far as timing it asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.cost.timing import first_tensor
from reconv.deploy.exporter import Call
from reconv.deploy.onnx_out import onnx_of, quick_onnx
from reconv.errors import ReconvError
from reconv.graph.tracing import call_arguments
from reconv.registry import Registry

Pass: TypeAlias = Callable[[], float]
"""One forward pass; returns its milliseconds."""


@dataclass(frozen=True, eq=False)
class TimedNetwork:
    """A network that is to be timed.

    Args:
        model: in evaluation mode. example: an input, with the batch that is wanted.
        threads: that may compute.
        argument: what stands after the colon in the runtime's name, as in `command:PROGRAM`.
        file: content of an ONNX file in place of the model, such as a quantized one.
        is_candidate: one of many for a table, whose ONNX file need not be the one that `export` writes.
    """

    model: nn.Module
    example: Any
    threads: int
    argument: str = ""
    file: bytes | None = None
    is_candidate: bool = False

    @property
    def batch(self) -> int:
        """Images per pass."""
        tensor = first_tensor(self.example)
        return len(tensor) if tensor.dim() else 1

    @cached_property
    def onnx(self) -> bytes:
        """The content of an ONNX file of the network."""
        if self.file is not None:
            return self.file
        args, kwargs = call_arguments(self.example)
        if self.is_candidate:
            return quick_onnx(self.model, args, kwargs)
        try:  # as `export` writes it
            opened = Call(*Call(args, kwargs, ("batch",)).opened(), ("batch",))
            return bytes(onnx_of(self.model, opened).SerializeToString())
        except ReconvError:
            raise
        except Exception:  # the batch is fixed in the network
            return bytes(onnx_of(self.model, Call(args, kwargs)).SerializeToString())

    @property
    def arrays(self) -> list[Any]:
        """The inputs as arrays, in their order."""
        return [leaf.detach().cpu().numpy() for leaf in pytree.tree_leaves(self.example) if isinstance(leaf, Tensor)]

    def clocked(self, run: Callable[[], object]) -> Pass:
        """Milliseconds of each call.

        With one thread it is that thread's CPU time, which on an idle machine is the time that passes, and on a busy
        one is not stretched by what else computes there.
        """
        clock = time.thread_time if self.threads == 1 else time.perf_counter

        def timed() -> float:
            start = clock()
            run()
            return 1000 * (clock() - start)

        return timed


@dataclass(frozen=True)
class Runtime:
    """What runs a network; `reconv.register` adds one.

    Args:
        name: what `--runtime` takes. meaning: a phrase for `reconv list runtimes`.
        load: gets a network ready, and returns a function that makes one pass and returns its milliseconds.
        layers: seconds of each module of a network, one entry per pass; None: the runtime does not tell them apart, and
            the time of whole networks is predicted by their MACs and the bytes that they write.
        aliases: other names. packages: that it imports. extra: of reconv, that installs them; "" for nothing.
        runs_onnx: whether it runs the content of an ONNX file, such as an int8 one.
        takes_argument: whether something follows the name after a colon.

    Example:
        >>> import torch
        >>> from reconv.deploy import Runtime
        >>> def load(network):
        ...     script = torch.jit.trace(network.model, network.example)
        ...     return network.clocked(lambda: script(network.example))
        >>> Runtime("jit", "TorchScript, unfrozen", load).name
        'jit'
    """

    registry: ClassVar[Registry[Runtime]] = Registry("runtime", built_in=("reconv.deploy.runtimes",))

    name: str
    meaning: str
    load: Callable[[TimedNetwork], Pass]
    layers: Callable[[TimedNetwork], Mapping[str, Sequence[float]]] | None = None
    aliases: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    extra: str = ""
    runs_onnx: bool = False
    takes_argument: bool = False


def batched(example: Any, batch: int | None) -> Any:
    """An example whose tensors hold so many images along axis 0; as it is where None."""
    if batch is None:
        return example

    def repeat(tensor: Tensor) -> Tensor:
        if not tensor.dim():
            return tensor
        return torch.cat([tensor] * -(-batch // len(tensor)))[:batch].contiguous()

    return pytree.tree_map_only(Tensor, repeat, example)
