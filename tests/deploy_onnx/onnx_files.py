"""Small ONNX files, made node by node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Make = Callable[..., Path]
X = {"x": [2, 4, 8, 8]}


def node(operator: str, inputs: str, outputs: str = "y", **attributes: Any) -> Any:
    """A node; names are separated by spaces, "-" stands for none."""
    import onnx

    names = [name if name != "-" else "" for name in inputs.split()]
    name = f"{operator}_{outputs.replace(' ', '_')}"
    return onnx.helper.make_node(operator, names, outputs.split(), name=name, **attributes)


def weights(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Random float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model_of(
    nodes: Sequence[Any],
    constants: dict[str, Any] | None = None,
    inputs: dict[str, Any] = X,
    outputs: dict[str, Any] | None = None,
    opset: int = 17,
) -> Any:
    """A model of nodes, constants by name, and inputs and outputs with their sizes: None unknown, texts dynamic."""
    import onnx

    def values(named: dict[str, Any]) -> list[Any]:
        return [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in named.items()]

    tensors = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()]
    graph = onnx.helper.make_graph(list(nodes), "graph", values(inputs), values(outputs or {"y": None}), tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    onnx.helper.set_model_props(model, {"author": "somebody"})
    return model if outputs else onnx.shape_inference.infer_shapes(model)


def small_network(batch: int | str = "n") -> Any:
    """Conv, BatchNorm, ReLU, depthwise Conv, Conv with a bias that is added, pool, linear layer."""
    constants = {
        "w1": weights(12, 3, 3, 3),
        "scale": abs(weights(12)) + 0.5,
        "shift": weights(12, seed=1),
        "mean": weights(12, seed=2),
        "variance": abs(weights(12, seed=3)) + 0.5,
        "w2": weights(12, 1, 3, 3, seed=4),
        "w3": weights(8, 12, 1, 1, seed=5),
        "b3": weights(1, 8, 1, 1, seed=6),
        "w4": weights(8, 5, seed=7),
        "b4": weights(5, seed=8),
    }
    nodes = [
        node("Conv", "x w1", "a", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "a scale shift mean variance", "b"),
        node("Relu", "b", "c"),
        node("Conv", "c w2", "d", group=12, pads=[1, 1, 1, 1]),
        node("Conv", "d w3", "e"),
        node("Add", "e b3", "f"),
        node("Relu", "f", "g"),
        node("GlobalAveragePool", "g", "h"),
        node("Flatten", "h", "i"),
        node("MatMul", "i w4", "j"),
        node("Add", "j b4", "y"),
    ]
    return model_of(nodes, constants, {"x": [batch, 3, 8, 8]}, {"y": [batch, 5]}, opset=13)


def saved(model: Any, path: Path) -> Path:
    """The model's file."""
    path.write_bytes(model.SerializeToString())
    return path
