"""`OnnxNetwork`: the network of an ONNX file as a module, its steps, and where in the file its tensors stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from reconv.deploy.onnx.host import Array
from reconv.errors import ConfigError

_UP_TO_ONE = frozenset({"Sigmoid", "HardSigmoid", "Softmax"})


@dataclass(frozen=True)
class Step:
    """A module that runs: by its name, on which values of the graph, and what it gives.

    Args:
        module, inputs, outputs: names; "" for an input that is left out, or an output that nothing reads.
        dropped: values that nothing reads later on.
    """

    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stored:
    """A tensor of a module, and where the file has it.

    Args:
        module, attribute: of the network. node, place: of the graph's node, and of its input, that reads it.
        shape: that the file gives it. transposed: the file has it the other way around.
        absent: the file has none, which stands for zeros; a repair may want others.
    """

    module: str
    attribute: str
    node: int
    place: int
    shape: tuple[int, ...]
    transposed: bool = False
    absent: bool = False


@dataclass(frozen=True)
class Input:
    """An input of the network: its name, the sizes that the file states (None: any), its type."""

    name: str
    sizes: tuple[int | None, ...]
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Program:
    """What a network's file says beside its weights; shared by the network's copies.

    Args:
        inputs: in order. outputs: names of values. steps: in order.
        constants: arrays that steps read. stored: which tensors of modules the file has, and where.
        places: module -> index of the node that it stands for. model: the `onnx.ModelProto`, which nobody changes.
        example: shapes of the inputs that it was read with.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    constants: Mapping[str, Array]
    stored: tuple[Stored, ...]
    places: Mapping[str, int]
    model: Any = field(repr=False)
    example: tuple[tuple[int, ...], ...]

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        return self


class OnnxNetwork(nn.Module):
    """The network of an ONNX file; its layers are ordinary modules, named after the file's nodes.

    Args:
        program: what runs. modules: by name.
    """

    def __init__(self, program: Program, modules: Mapping[str, nn.Module]):
        super().__init__()
        self.program = program
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs, in the file's order: a tensor, or a tuple of them.

        Args:
            args, kwargs: the inputs, in the file's order or by name.
        """
        values: dict[str, Any] = dict(self.program.constants)
        values |= self._inputs(args, kwargs)
        values[""] = None
        for step in self.program.steps:
            results = self._modules[step.module](*[values[name] for name in step.inputs])  # type: ignore[misc]
            if len(step.outputs) == 1 and not isinstance(results, tuple | list):
                values[step.outputs[0]] = results
            else:
                values |= {name: value for name, value in zip(step.outputs, results, strict=False) if name}
            for name in step.dropped:
                values.pop(name, None)
        outputs = tuple(values[name] for name in self.program.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
        names = [value.name for value in self.program.inputs]
        given = dict(zip(names, args, strict=False)) | kwargs
        if len(args) > len(names) or set(given) != set(names):
            raise ConfigError(f"an ONNX network: got {len(args)} inputs and {sorted(kwargs)}; give {', '.join(names)}")
        return given

    @property
    def ranges(self) -> tuple[float, ...]:
        """What differences of each output are relative to, at least: 1 for probabilities, 0 for others.

        They are rounded as numbers up to one: where an input happens to have small ones alone, that is no error.
        """
        operators = {name: node.op_type for node in self.program.model.graph.node for name in node.output}
        return tuple(float(operators.get(name) in _UP_TO_ONE) for name in self.program.outputs)

    def example(self) -> Any:
        """Inputs of the shapes that it was read with, zeros: a tensor, or a tuple of them."""
        tensors = tuple(
            torch.zeros(shape, dtype=value.dtype)
            for value, shape in zip(self.program.inputs, self.program.example, strict=True)
        )
        return tensors[0] if len(tensors) == 1 else tensors
