"""From a checked ONNX model to an `OnnxNetwork`: node by node, each tried out without data as soon as it is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reconv.deploy.onnx.file import in_short, opset_of
from reconv.deploy.onnx.host import HOST, MOST_ELEMENTS, Array, plain, tracked
from reconv.deploy.onnx.modules import Apply, Sized, Slice, Split, check_size, located
from reconv.deploy.onnx.network import Input, OnnxNetwork, Program, Step, Stored
from reconv.errors import ArtifactError, ReconvError
from reconv.graph.copies import copy_model, parameters_and_buffers

_FOLDED_ELEMENTS = MOST_ELEMENTS
MOST_MULTIPLICATIONS = 10**12  # of a pass on the example, about


class UnsupportedError(Exception):
    """An operator, or a use of one, that is not read; the message says what."""


class Node:
    """A node of the graph, as the builder of its operator sees it.

    Attributes:
        operator, index: of the node. inputs, outputs: names of values. attributes: by name.
    """

    def __init__(self, builder: Builder, index: int, proto: Any):
        self.builder = builder
        self.index = index
        self.operator = proto.op_type
        self.inputs = [builder.alias.get(name, name) for name in proto.input]
        self.outputs = list(proto.output)
        self.attributes = {a.name: _attribute(a) for a in proto.attribute}
        self.name = builder.unused_name(proto.name or f"{proto.op_type}_{index}")

    @property
    def opset(self) -> int:
        return self.builder.opset

    def has(self, place: int) -> bool:
        """Whether an input is given."""
        return len(self.inputs) > place and self.inputs[place] != ""

    def constant(self, place: int) -> Array | None:
        """An input that does not depend on the network's inputs; None for others, and where there is none."""
        return self.builder.constants.get(self.inputs[place]) if self.has(place) else None

    def needed(self, place: int, what: str) -> Array:
        """An input that has to be a constant."""
        value = self.constant(place)
        if value is None:
            raise UnsupportedError(f"{what} that is computed from the network's input")
        return plain(value)

    def numbers(self, place: int) -> list[int] | None:
        """A constant input as a list of whole numbers."""
        value = self.constant(place)
        return None if value is None else [int(n) for n in value.ravel()]

    def value(self, place: int) -> Any:
        """An input as it is on the example: a tensor without data, or an array."""
        return self.builder.values[self.inputs[place]]

    def shape(self, place: int = 0) -> tuple[int, ...]:
        return tuple(self.value(place).shape)

    def text(self, name: str, otherwise: str) -> str:
        value = self.attributes.get(name, otherwise)
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)

    def add(
        self,
        module: nn.Module,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        suffix: str = "",
    ) -> str:
        """Let a module stand for the node, or for a part of it; returns the module's name.

        Args:
            inputs, outputs: names of values; None: the node's own. suffix: of the module's name.
        """
        name = self.name if not suffix else self.builder.unused_name(f"{self.name}_{suffix}")
        self.builder.run(
            name, module, self.inputs if inputs is None else inputs, self.outputs if outputs is None else outputs, self
        )
        return name

    def apply(self, function: Callable[..., Any], inputs: Sequence[str] | None = None) -> None:
        """Let a function of tensors stand for the node."""
        self.add(Apply(self.operator, function, self.attributes), inputs)

    def stored(self, module: str, attribute: str, place: int, transposed: bool = False) -> None:
        """Note that a tensor of a module is an input of this node."""
        shape = tuple(self.builder.constants[self.inputs[place]].shape)
        self.builder.stored.append(Stored(module, attribute, self.index, place, shape, transposed))

    def absent(self, module: str, attribute: str, place: int, size: int) -> None:
        """Note that a tensor of zeros of a module is an input that this node is not given."""
        self.builder.stored.append(Stored(module, attribute, self.index, place, (size,), absent=True))

    def between(self, suffix: str) -> str:
        """A name for a value inside the node."""
        return f"{self.outputs[0]}/{suffix}"

    def only_reader(self) -> Node | None:
        """The node that alone reads the first output, where it is no output of the network."""
        return self.builder.only_reader(self.outputs[0])


def _attribute(attribute: Any) -> Any:
    import onnx

    if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        raise UnsupportedError("a graph inside of an operator (If, Loop, Scan)")
    value = onnx.helper.get_attribute_value(attribute)
    return onnx.numpy_helper.to_array(value) if attribute.type == onnx.AttributeProto.TENSOR else value


class Builder:
    """Builds the network of a model.

    Args:
        model: the `onnx.ModelProto`. shapes: of the inputs to try it out with. where: the file's name, for messages.

    Attributes:
        constants: values that do not depend on the inputs. values: all others, as they are on the example.
        alias: values that are others under a second name. done: nodes that stand in another's module.
    """

    def __init__(self, model: Any, inputs: Sequence[Input], shapes: Sequence[tuple[int, ...]], where: str):
        self.model = model
        self.inputs = tuple(inputs)
        self.shapes = tuple(shapes)
        self.where = where
        self.opset = opset_of(model)
        self.constants: dict[str, Array] = {}
        self.values: dict[str, Any] = {"": None}
        self.alias: dict[str, str] = {}
        self.done: set[int] = set()
        self.modules: dict[str, nn.Module] = {}
        self.steps: list[Step] = []
        self.stored: list[Stored] = []
        self.places: dict[str, int] = {}
        self._work = 0
        self._names: set[str] = set()
        self._readers: dict[str, list[int]] = {}
        self._outputs = {value.name for value in model.graph.output}
        for i, proto in enumerate(model.graph.node):
            for name in proto.input:
                self._readers.setdefault(name, []).append(i)

    def build(self) -> OnnxNetwork:
        """The network, in evaluation mode.

        Raises:
            ArtifactError: something in the file is not read; the message names it.
        """
        import onnx

        graph = self.model.graph
        for tensor in graph.initializer:
            self.constants[tensor.name] = tracked(onnx.numpy_helper.to_array(tensor), tensor.name)
        for value, shape in zip(self.inputs, self.shapes, strict=True):
            check_size(shape, f"{self.where}: input {value.name}")
            self.values[value.name] = torch.empty(shape, dtype=value.dtype, device="meta")
        for i, proto in enumerate(graph.node):
            if i not in self.done:
                self._node(i, proto)
        return self._network()

    def _node(self, index: int, proto: Any) -> None:
        from reconv.deploy.onnx.operators import OPERATORS

        what = f"{self.where}: {proto.op_type} {(proto.name or proto.output[0])!r:.80}"
        try:
            if proto.op_type == "Constant":
                self._constant(proto)
                return
            node = Node(self, index, proto)
            if self._fold(node):
                return
            build = OPERATORS.get(node.operator)
            if build is None:
                raise UnsupportedError("an operator that is not read")
            build(node)
        except UnsupportedError as error:
            raise ArtifactError(
                f"{what}: {error}; export the network without it, or prune the PyTorch network"
            ) from None
        except ReconvError:
            raise
        except Exception as error:  # whatever a damaged file makes PyTorch or NumPy say
            raise ArtifactError(f"{what}: does not run on inputs of {self._said()} ({in_short(error)})") from error

    def _said(self) -> str:
        return ", ".join(str(list(shape)) for shape in self.shapes)

    def _constant(self, proto: Any) -> None:
        import onnx

        attribute = proto.attribute[0]
        value = _attribute(attribute)
        if attribute.name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
            raise UnsupportedError(f"a constant that is a {attribute.name}")
        if attribute.type != onnx.AttributeProto.TENSOR:
            value = np.array(value, np.float32 if "float" in attribute.name else np.int64)
        self.constants[proto.output[0]] = tracked(value, proto.output[0])

    def _fold(self, node: Node) -> bool:
        """Compute a node that reads nothing but constants."""
        inputs = [self.constants.get(name) for name in node.inputs]
        given = [value for name, value in zip(node.inputs, inputs, strict=True) if name]
        if any(value is None for value in given) or (not given and node.operator != "Constant"):
            return False
        compute = HOST.get(node.operator)
        if compute is None or sum(value.size for value in given if value is not None) > _FOLDED_ELEMENTS:
            return False
        self.constants[node.outputs[0]] = np.asarray(compute(inputs, node.attributes))
        return True

    # ------------------------------------------------------------------ what the operators use

    def unused_name(self, name: str) -> str:
        """A name for a module: letters, digits and underscores, and no other module's."""
        plain_name = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:100] or "node"
        plain_name = f"n{plain_name}" if plain_name[0].isdigit() or hasattr(nn.Module, plain_name) else plain_name
        candidate, i = plain_name, 1
        while candidate in self._names or candidate in ("program", "training", "example"):
            candidate, i = f"{plain_name}_{i}", i + 1
        self._names.add(candidate)
        return candidate

    def run(self, name: str, module: nn.Module, inputs: Sequence[str], outputs: Sequence[str], node: Node) -> None:
        """Add a step, and run it without data."""
        module.eval()
        read = [name_ for name_ in inputs if name_]
        values = [None if not n else self.values[n] if n in self.values else self.constants[n] for n in inputs]
        with torch.no_grad():
            if isinstance(module, Sized) and len(values) > 1 and values[1] is not None:
                module.state_sizes(np.asarray(values[1]), bool(node.attributes.get("allowzero", 0)))
            results = _on_meta(module)(*values)
            if isinstance(module, Sized):
                module._observed = tuple(results.shape)
        self._count_work(module, results, node)
        several = isinstance(results, tuple | list)
        for output, result in zip(outputs, results if several else [results], strict=False):
            if output:
                self.values[output] = result
                check_size(tuple(result.shape), f"{self.where}: {node.operator} {node.name}")
        for unread in [n for n in read if n in self.constants and isinstance(module, Sized)]:
            read.remove(unread)  # its sizes have it
        kept = [n if n in read or not n else "" for n in inputs]
        if isinstance(module, Sized | Slice | Split):
            own: Any = module
            own.__class__ = located(type(module), f"{self.where}:{name}")
        self.modules[name] = module
        self.places[name] = node.index
        self.steps.append(Step(name, tuple(kept), tuple(outputs)))

    def _count_work(self, module: nn.Module, result: Any, node: Node) -> None:
        """Refuse a network that would take minutes on its example."""
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() > 1 and isinstance(result, Tensor):
            self._work += result.numel() * weight[0].numel()
        if self._work > MOST_MULTIPLICATIONS:
            raise ArtifactError(
                f"{self.where}: {node.operator} {node.name}: more than {MOST_MULTIPLICATIONS:.0e} multiplications on "
                f"inputs of {self._said()}; give smaller shapes"
            )

    def only_reader(self, value: str) -> Node | None:
        """The node that alone reads a value which is no output of the network."""
        readers = self._readers.get(value, [])
        if len(readers) != 1 or value in self._outputs:
            return None
        proto = self.model.graph.node[readers[0]]
        node = Node.__new__(Node)
        node.builder, node.index, node.operator = self, readers[0], proto.op_type
        node.inputs = [self.alias.get(name, name) for name in proto.input]
        node.outputs, node.name = list(proto.output), ""
        node.attributes = {a.name: _attribute(a) for a in proto.attribute}
        return node

    def _network(self) -> OnnxNetwork:
        graph = self.model.graph
        outputs = tuple(self.alias.get(value.name, value.name) for value in graph.output)
        for value, name in zip(graph.output, outputs, strict=True):
            if not isinstance(self.values.get(name), Tensor):
                raise ArtifactError(f"{self.where}: output {value.name!r:.80} does not depend on the inputs")
        steps = _with_drops(self.steps, outputs)
        needed = {name for step in steps for name in step.inputs if name in self.constants}
        modules = {step.module: self.modules[step.module] for step in steps}
        program = Program(
            inputs=self.inputs,
            outputs=outputs,
            steps=steps,
            constants={name: plain(self.constants[name]) for name in needed},
            stored=tuple(entry for entry in self.stored if entry.module in modules),
            places={name: self.places[name] for name in modules},
            model=self.model,
            example=self.shapes,
        )
        return OnnxNetwork(program, modules).eval()


def _on_meta(module: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers hold no data; the module itself where it has none."""
    tensors = {id(t): _without_data(t) for named in parameters_and_buffers(module) for t in named.values()}
    return copy_model(module, tensors) if tensors else module


def _without_data(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _with_drops(steps: Sequence[Step], outputs: Sequence[str]) -> tuple[Step, ...]:
    """Each step with the values that nothing reads after it; steps whose results nothing reads are left out."""
    wanted, kept = set(outputs), []
    for step in reversed(steps):
        if wanted.isdisjoint(step.outputs):
            continue
        read = [name for name in dict.fromkeys(step.inputs) if name and name not in wanted]
        unread = [name for name in step.outputs if name and name not in wanted]
        wanted.update(read)
        kept.append(replace(step, dropped=(*read, *unread)))
    return tuple(reversed(kept))
