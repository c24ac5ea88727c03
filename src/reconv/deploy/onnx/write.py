"""Write a pruned network back into the graph of the file that it came from.

Only what pruning changes is edited: weights, and the constants and attributes that repeat a size. Everything else is
the file's own: names, opset, metadata, dynamic axes, and operators that nothing here knows by more than name.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reconv.deploy.onnx.batch import without_data
from reconv.deploy.onnx.host import Array
from reconv.deploy.onnx.modules import Pad, Sized, Slice, Split
from reconv.deploy.onnx.network import OnnxNetwork, Stored
from reconv.errors import ExportError


def edited_model(network: OnnxNetwork) -> Any:
    """The file's model with the network's weights and sizes: an `onnx.ModelProto`.

    Raises:
        ExportError: two views whose sizes now differ share one constant of the file.
    """
    edit = _Edit(network)
    for stored in network.program.stored:
        array = _in_the_file(network, stored)
        if not stored.absent:
            edit.replace(stored.node, stored.place, array)
        elif array.any():
            edit.add(stored.node, stored.place, array)
    sizes = _observed(network)
    for name, place in network.program.places.items():
        module = network.get_submodule(name)
        if isinstance(module, Sized):
            edit.sizes(place, module, sizes[name][0])
        elif isinstance(module, Split):
            edit.parts(place, module, sizes[name])
        elif isinstance(module, Slice):
            edit.range(place, module)
        elif isinstance(module, Pad):
            edit.border(place, module)
        elif hasattr(module, "groups"):
            edit.attribute(place, "group", module.groups)
    return edit.finish()


def _in_the_file(network: OnnxNetwork, stored: Stored) -> Array:
    """A tensor of the network as the file lays it out."""
    tensor: Tensor = getattr(network.get_submodule(stored.module), stored.attribute).detach().cpu()
    array = (tensor.T if stored.transposed else tensor).contiguous().numpy()
    if array.ndim == len(stored.shape):
        return array
    axes = [axis for axis, size in enumerate(stored.shape) if size != 1]
    shape = [1] * len(stored.shape)
    if axes:
        shape[axes[0]] = array.size
    return array.reshape(shape)


def _observed(network: OnnxNetwork) -> dict[str, list[tuple[int, ...]]]:
    """The shapes that modules with sizes give on the example."""
    empty, shapes = without_data(network), {}

    def note(name: str) -> Any:
        def hook(module: Any, inputs: Any, outputs: Any) -> None:
            several = outputs if isinstance(outputs, tuple) else (outputs,)
            shapes[name] = [tuple(output.shape) for output in several]

        return hook

    for name, module in empty.named_modules():
        if isinstance(module, Sized | Split):
            module.register_forward_hook(note(name))
    program = network.program
    with torch.no_grad():
        empty(
            *(
                torch.empty(shape, dtype=value.dtype, device="meta")
                for value, shape in zip(program.inputs, program.example, strict=True)
            )
        )
    return shapes


class _Edit:
    """A copy of the file's model, and what is to change in it."""

    def __init__(self, network: OnnxNetwork):
        import onnx

        self.onnx = onnx
        self.model = onnx.ModelProto()
        self.model.CopyFrom(network.program.model)
        self.graph = self.model.graph
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self.constants = {node.output[0]: node for node in self.graph.node if node.op_type == "Constant"}
        self.taken = {name for node in self.graph.node for name in (*node.input, *node.output)} | set(self.initializers)
        self.wanted: dict[str, list[tuple[int, int, Array]]] = {}  # constant -> node, place, what that reads
        self.elements: dict[tuple[str, int], set[int]] = {}  # constant and index -> what sizes it stands for

    # ------------------------------------------------------------------ what is to change

    def replace(self, node: int, place: int, array: Array) -> None:
        """An input of a node is to be this constant."""
        self.wanted.setdefault(self.graph.node[node].input[place], []).append((node, place, array))

    def add(self, node: int, place: int, array: Array) -> None:
        """An input that a node is not given is to be this constant."""
        inputs = self.graph.node[node].input
        inputs.extend([""] * (place + 1 - len(inputs)))
        inputs[place] = self._new(f"{self.graph.node[node].output[0]}_bias", array)

    def attribute(self, node: int, name: str, value: Any) -> None:
        """An attribute of a node is to have this value; where it is not stated, it stays so."""
        for attribute in self.graph.node[node].attribute:
            if attribute.name == name and self.onnx.helper.get_attribute_value(attribute) != value:
                attribute.CopyFrom(self.onnx.helper.make_attribute(name, value))

    def sizes(self, node: int, module: Sized, shape: Sequence[int]) -> None:
        """The entries of a shape that the file states are to be those of this shape."""
        proto = self.graph.node[node]
        place = 3 if proto.op_type == "Resize" else 1
        direct = proto.input[place] if len(proto.input) > place else ""
        origins = [origin for origin in module._origins if origin is not None]
        if origins and direct and self._array(direct) is not None:
            array = np.array(self._array(direct))
            for axis, origin in enumerate(module._origins):
                if origin is not None:
                    array[axis] = shape[axis]
            self.replace(node, place, array)
            return
        for axis, origin in enumerate(module._origins):
            if origin is not None:
                self.elements.setdefault(origin, set()).add(shape[axis])

    def parts(self, node: int, module: Split, shapes: Sequence[Sequence[int]]) -> None:
        """The sizes of the parts of a split."""
        proto = self.graph.node[node]
        sizes = [shape[module._axis] for shape in shapes]
        self.attribute(node, "split", sizes)
        if len(proto.input) > 1 and (old := self._array(proto.input[1])) is not None:
            self.replace(node, 1, np.array(sizes, old.dtype))

    def range(self, node: int, module: Slice) -> None:
        """The start and the end of a slice."""
        proto = self.graph.node[node]
        if proto.op_type == "Gather":
            if (old := self._array(proto.input[1])) is not None:
                self.replace(node, 1, np.arange(module.start, module.end, dtype=old.dtype))
            return
        for place, value in ((1, module.start), (2, module.end)):
            old = self._array(proto.input[place])
            if old is None or old.size <= module._place:
                continue
            earlier = next((a for n, p, a in self.wanted.get(proto.input[place], []) if (n, p) == (node, place)), None)
            array = np.array(old) if earlier is None else earlier
            array[module._place] = min(value, np.iinfo(old.dtype).max)
            if earlier is None:
                self.replace(node, place, array)

    def border(self, node: int, module: Pad) -> None:
        """The channels that a border adds."""
        proto = self.graph.node[node]
        if proto.op_type != "Pad" or len(module._pads) < 4:
            return
        rank = len(module._pads) // 2
        pads = list(module._pads)
        pads[1], pads[rank + 1] = module.before, module.after
        self.attribute(node, "pads", pads)
        if len(proto.input) > 1 and (old := self._array(proto.input[1])) is not None:
            self.replace(node, 1, np.array(pads, old.dtype))

    # ------------------------------------------------------------------ the file

    def _array(self, name: str) -> Array | None:
        """A constant of the file; None for values that it computes."""
        if name in self.initializers:
            array: Array = self.onnx.numpy_helper.to_array(self.initializers[name])
            return array
        node = self.constants.get(name)
        if node is None:
            return None
        value = self.onnx.helper.get_attribute_value(node.attribute[0])
        if node.attribute[0].type == self.onnx.AttributeProto.TENSOR:
            return self.onnx.numpy_helper.to_array(value)  # type: ignore[no-any-return]
        return np.array(value, np.float32 if "float" in node.attribute[0].name else np.int64)

    def _set(self, name: str, array: Array) -> None:
        """Give a constant of the file another value."""
        if name in self.initializers:
            self.initializers[name].CopyFrom(self.onnx.numpy_helper.from_array(array, name))
            for value in self.graph.input:  # older files list their weights among the inputs
                if value.name == name:
                    kind = self.onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
                    value.type.CopyFrom(self.onnx.helper.make_tensor_type_proto(kind, array.shape))
            return
        attribute = self.onnx.helper.make_attribute("value", self.onnx.numpy_helper.from_array(array, name))
        self.constants[name].attribute[0].CopyFrom(attribute)

    def _new(self, name: str, array: Array) -> str:
        """Add a constant to the file; returns the name that it has."""
        fresh = next(f"{name}_{i}" for i in itertools.count(1) if f"{name}_{i}" not in self.taken)
        self.taken.add(fresh)
        self.graph.initializer.append(self.onnx.numpy_helper.from_array(array, fresh))
        return fresh

    def finish(self) -> Any:
        """The edited model."""
        self._set_elements()
        readers = Counter(name for node in self.graph.node for name in node.input)
        readers.update(value.name for value in self.graph.output)
        for name, uses in self.wanted.items():
            old, first = self._array(name), uses[0][2]
            alike = all(_same(first, array) for _, _, array in uses)
            if old is not None and alike and len(uses) == readers[name]:
                if not _same(old, first):
                    self._set(name, first)
                continue
            for node, place, array in uses:
                if old is not None and _same(old, array):
                    continue
                self.graph.node[node].input[place] = self._new(name, array)
        self._drop_unread()
        del self.graph.value_info[:]  # shapes between operators, which a runtime finds out by itself
        return self.model

    def _set_elements(self) -> None:
        arrays: dict[str, Array] = {}
        for (name, index), values in self.elements.items():
            old = self._array(name)
            if old is None:
                continue
            if len(values) > 1:
                raise ExportError(
                    f"constant {name!r:.80}: stands for sizes that now differ, {sorted(values)}; "
                    "exclude the layers before it, or export the network with fixed shapes"
                )
            arrays.setdefault(name, np.array(old)).reshape(-1)[index] = values.pop()
        for name, array in arrays.items():
            if not _same(self._array(name), array):
                self._set(name, array)

    def _drop_unread(self) -> None:
        """Leave out operators and constants that nothing reads any more."""
        wanted = {value.name for value in self.graph.output}
        kept = []
        for node in reversed(self.graph.node):
            if wanted.isdisjoint(node.output):
                continue
            wanted.update(node.input)
            kept.append(node)
        nodes = [self.onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(kept)]
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        tensors = [tensor for tensor in self.graph.initializer if tensor.name in wanted]
        unread = {tensor.name for tensor in self.graph.initializer} - wanted
        if unread:
            copies = [self.onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
            del self.graph.initializer[:]
            self.graph.initializer.extend(copies)
            inputs = [value for value in self.graph.input if value.name not in unread]
            if len(inputs) != len(self.graph.input):
                copies = [self.onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
                del self.graph.input[:]
                self.graph.input.extend(copies)


def _same(a: Array | None, b: Array) -> bool:
    return a is not None and a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b))
