"""Every operator that is read computes what onnxruntime does: `load_onnx` compares the two and refuses others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_files import X, model_of, node, saved, weights

import reconv

INTS = np.int64
POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}
ODD = {"x": [1, 4, 7, 9]}
IMAGE = weights(4, 4, 3, 3)
VECTOR, POSITIVE = weights(4), abs(weights(4, seed=1)) + 0.5

# What is tried, by name: nodes, constants, inputs, opset.
CASES: dict[str, tuple[list[Any], dict[str, Any], dict[str, Any], int]] = {
    "conv": ([node("Conv", "x w b", pads=[1, 1, 1, 1])], {"w": IMAGE, "b": VECTOR}, X, 11),
    "conv, border on one side": ([node("Conv", "x w", pads=[0, 0, 1, 1], strides=[2, 2])], {"w": IMAGE}, X, 17),
    "conv, same": ([node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2])], {"w": IMAGE}, ODD, 17),
    "conv, same, lower": ([node("Conv", "x w", auto_pad="SAME_LOWER", strides=[2, 2])], {"w": IMAGE}, X, 17),
    "conv, depthwise": ([node("Conv", "x w", group=4)], {"w": weights(4, 1, 3, 3)}, X, 17),
    "conv, groups": ([node("Conv", "x w", group=2, dilations=[2, 2])], {"w": weights(6, 2, 3, 3)}, X, 17),
    "conv, 1-d": ([node("Conv", "x w")], {"w": weights(3, 4, 3)}, {"x": [1, 4, 9]}, 17),
    "conv, then a bias": (
        [node("Conv", "x w", "c"), node("Add", "b c")],
        {"w": IMAGE, "b": VECTOR.reshape(1, 4, 1, 1)},
        X,
        17,
    ),
    "transposed conv": (
        [node("ConvTranspose", "x w b", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])],
        {"w": weights(4, 3, 3, 3), "b": weights(3)},
        X,
        17,
    ),
    "gemm": ([node("Gemm", "x w b", transB=1)], {"w": weights(3, 4), "b": weights(3)}, {"x": [2, 4]}, 11),
    "gemm, not transposed": ([node("Gemm", "x w b")], {"w": weights(4, 3), "b": weights(1, 3)}, {"x": [2, 4]}, 13),
    "matmul": ([node("MatMul", "x w", "m"), node("Add", "m b")], {"w": weights(8, 3), "b": weights(3)}, X, 17),
    "matmul, weight first": ([node("MatMul", "w x")], {"w": weights(3, 8)}, X, 17),
    "matmul of signals": ([node("MatMul", "x t"), node("Transpose", "x", "t", perm=[0, 1, 3, 2])][::-1], {}, X, 17),
    "batch norm": (
        [node("BatchNormalization", "x s b m v", epsilon=1e-3)],
        {"s": VECTOR, "b": VECTOR, "m": VECTOR, "v": POSITIVE},
        X,
        11,
    ),
    "batch norm, 2 axes": (
        [node("BatchNormalization", "x s b m v")],
        {"s": VECTOR, "b": VECTOR, "m": VECTOR, "v": POSITIVE},
        {"x": [2, 4]},
        17,
    ),
    "instance norm": ([node("InstanceNormalization", "x s b")], {"s": VECTOR, "b": VECTOR}, X, 17),
    "layer norm": ([node("LayerNormalization", "x s b", axis=-1)], {"s": weights(8), "b": weights(8)}, X, 17),
    "prelu": ([node("PRelu", "x s")], {"s": VECTOR.reshape(4, 1, 1)}, X, 17),
    "max pool": ([node("MaxPool", "x", pads=[1, 1, 1, 1], **POOL)], {}, X, 17),
    "max pool, ceil": ([node("MaxPool", "x", ceil_mode=1, **POOL)], {}, X, 11),
    "max pool, same": ([node("MaxPool", "x", auto_pad="SAME_UPPER", **POOL)], {}, X, 17),
    "average pool": ([node("AveragePool", "x", pads=[1, 1, 1, 1], **POOL)], {}, X, 17),
    "average pool, border": ([node("AveragePool", "x", pads=[1, 1, 1, 1], count_include_pad=1, **POOL)], {}, X, 11),
    "global pool": ([node("GlobalAveragePool", "x")], {}, X, 17),
    "global max pool": ([node("GlobalMaxPool", "x")], {}, X, 17),
    "clip, inputs": (
        [node("Clip", "x a b")],
        {"a": np.array(-0.5, np.float32), "b": np.array(1.0, np.float32)},
        X,
        11,
    ),
    "clip, below": ([node("Clip", "x a")], {"a": np.array(0.0, np.float32)}, X, 17),
    "hard sigmoid": ([node("HardSigmoid", "x", alpha=0.2, beta=0.5)], {}, X, 11),
    "hard sigmoid of PyTorch": ([node("HardSigmoid", "x", alpha=1 / 6)], {}, X, 11),
    "hard swish": ([node("HardSwish", "x")], {}, X, 14),
    "hard swish, written out": (
        [node("Add", "x three", "a"), node("Clip", "a zero six", "c"), node("Mul", "x c", "m"), node("Div", "m six")],
        {name: np.array(value, np.float32) for name, value in (("three", 3), ("zero", 0), ("six", 6))},
        X,
        11,
    ),
    "leaky relu": ([node("LeakyRelu", "x", alpha=0.2)], {}, X, 11),
    "elu": ([node("Elu", "x", alpha=0.5)], {}, X, 11),
    "softmax of older opsets": ([node("Softmax", "x", axis=2)], {}, X, 11),
    "softmax": ([node("Softmax", "x", axis=1)], {}, X, 13),
    "gelu": ([node("Gelu", "x", approximate="tanh")], {}, X, 20),
    "add a number": ([node("Add", "x c")], {"c": np.array([3.0], np.float32)}, X, 17),
    "number minus": ([node("Sub", "c x")], {"c": np.array(3.0, np.float32)}, X, 17),
    "multiply by channels": ([node("Mul", "x c")], {"c": VECTOR.reshape(4, 1, 1)}, X, 17),
    "divide by a signal": ([node("Div", "c e"), node("Exp", "x", "e")][::-1], {"c": VECTOR.reshape(4, 1, 1)}, X, 17),
    "power": ([node("Pow", "x c")], {"c": np.array(2.0, np.float32)}, X, 17),
    "maximum": ([node("Max", "x c")], {"c": np.array(0.1, np.float32)}, X, 17),
    "reshape": ([node("Reshape", "x s")], {"s": np.array([0, 2, -1, 8], INTS)}, X, 11),
    "reshape from a shape": (
        [
            node("Shape", "x", "s"),
            node("Gather", "s zero", "n", axis=0),
            node("Unsqueeze", "n axes", "n1"),
            node("Concat", "n1 rest", "shape", axis=0),
            node("Reshape", "x shape"),
        ],
        {"zero": np.array(0, INTS), "axes": np.array([0], INTS), "rest": np.array([4, 64], INTS)},
        X,
        17,
    ),
    "flatten": ([node("Flatten", "x", axis=2)], {}, X, 11),
    "squeeze": ([node("Squeeze", "x", axes=[0])], {}, {"x": [1, 4, 8]}, 11),
    "unsqueeze": ([node("Unsqueeze", "x a")], {"a": np.array([0, -1], INTS)}, X, 17),
    "expand": ([node("Expand", "x s")], {"s": np.array([2, 4, 8, 8], INTS)}, {"x": [1, 4, 8, 1]}, 17),
    "tile": ([node("Tile", "x s")], {"s": np.array([1, 2, 1, 1], INTS)}, X, 17),
    "slice": (
        [node("Slice", "x a b axes steps")],
        {"a": np.array([1, 0], INTS), "b": np.array([3, 2**62], INTS), "axes": np.array([1, -1], INTS)}
        | {"steps": np.array([1, 2], INTS)},
        X,
        11,
    ),
    "slice, turned around": (
        [node("Slice", "x a b axes steps")],
        {"a": np.array([-1], INTS), "b": np.array([-(2**62)], INTS), "axes": np.array([3], INTS)}
        | {"steps": np.array([-1], INTS)},
        X,
        11,
    ),
    "split, attribute": ([node("Split", "x", "a b", split=[1, 3], axis=1), node("Concat", "b a", axis=1)], {}, X, 11),
    "split, input": (
        [node("Split", "x s", "a b", axis=1), node("Concat", "b a", axis=1)],
        {"s": np.array([1, 3], INTS)},
        X,
        13,
    ),
    "gather one": ([node("Gather", "x i", axis=1)], {"i": np.array(2, INTS)}, X, 17),
    "gather several": ([node("Gather", "x i", axis=1)], {"i": np.array([2, 0, -1], INTS)}, X, 17),
    "gather a range": ([node("Gather", "x i", axis=1)], {"i": np.array([1, 2], INTS)}, X, 17),
    "concat with a constant": ([node("Concat", "x c", axis=0)], {"c": weights(1, 4, 8, 8)}, X, 17),
    "pad": ([node("Pad", "x p v")], {"p": np.array([0, 1, 0, 0, 0, 0, 2, 0], INTS), "v": VECTOR[0]}, X, 11),
    "pad, reflected": ([node("Pad", "x p", mode="reflect")], {"p": np.array([0, 0, 1, 2, 0, 0, 1, 0], INTS)}, X, 11),
    "resize, nearest": (
        [
            node(
                "Resize",
                "x - s",
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )
        ],
        {"s": np.array([1, 1, 2, 2], np.float32)},
        X,
        13,
    ),
    "resize, linear, to a size": (
        [node("Resize", "x - - s", mode="linear", coordinate_transformation_mode="half_pixel")],
        {"s": np.array([2, 4, 5, 13], INTS)},
        X,
        13,
    ),
    "resize, corners": (
        [node("Resize", "x - - s", mode="linear", coordinate_transformation_mode="align_corners")],
        {"s": np.array([2, 4, 16, 16], INTS)},
        X,
        13,
    ),
    "depth to space": ([node("DepthToSpace", "x", blocksize=2)], {}, X, 13),
    "depth to space, CRD": ([node("DepthToSpace", "x", blocksize=2, mode="CRD")], {}, X, 13),
    "space to depth": ([node("SpaceToDepth", "x", blocksize=2)], {}, X, 13),
    "mean": ([node("ReduceMean", "x", axes=[2, 3], keepdims=0)], {}, X, 11),
    "mean, input": ([node("ReduceMean", "x a")], {"a": np.array([1], INTS)}, X, 18),
    "sum of all": ([node("ReduceSum", "x", keepdims=1)], {}, X, 13),
    "L2": ([node("ReduceL2", "x", axes=[1])], {}, X, 13),
    "where": (
        [node("Greater", "x zero", "c"), node("Where", "c x minus")],
        {"zero": np.array(0, np.float32), "minus": np.array(-1, np.float32)},
        X,
        17,
    ),
    "cast there and back": ([node("Cast", "x", "i", to=6), node("Cast", "i", to=1)], {}, X, 17),
    "identity": ([node("Relu", "x", "r"), node("Identity", "r")], {}, X, 19),
    "dropout": ([node("Dropout", "x", "d"), node("Relu", "d")], {}, X, 13),
    "a constant in a node": (
        [node("Constant", "", "c", value_float=2.0), node("Mul", "x c")],
        {},
        X,
        17,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_operator_is_read_as_onnxruntime_runs_it(tmp_path: Path, case: str) -> None:
    nodes, constants, inputs, opset = CASES[case]
    network = reconv.load_onnx(saved(model_of(nodes, constants, inputs, opset=opset), tmp_path / "net.onnx"))
    assert network.program.outputs
