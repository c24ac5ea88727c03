"""A pruned network goes back into its own file: what the file says beside weights and sizes stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx_files import model_of, node, saved, small_network, weights

import reconv
from reconv.deploy.onnx import OnnxNetwork
from reconv.deploy.onnx.runtime import largest_difference, outputs_of
from reconv.errors import ExportError


def _half(network: OnnxNetwork, **options: Any) -> tuple[OnnxNetwork, Any]:
    graph = reconv.trace(network, network.example())
    plan = reconv.choose(graph, reconv.score(graph, "l2"), reconv.Budget(params=0.6), **options)
    small: Any = reconv.prune(network, plan)
    assert reconv.verify(network, small, plan) < 1e-10
    return small, plan


def _written(network: OnnxNetwork, path: Path) -> Any:
    reconv.export(network, path, example=network.example())
    return onnx.load(path)


def test_names_opset_metadata_and_dynamic_axes_stay(tmp_path: Path) -> None:
    before = small_network()
    small, _ = _half(reconv.load_onnx(saved(before, tmp_path / "net.onnx")))
    after = _written(small, tmp_path / "small.onnx")
    assert small.Conv_a.out_channels < 12
    for field in ("input", "output"):
        assert [v.SerializeToString() for v in getattr(after.graph, field)] == [
            v.SerializeToString() for v in getattr(before.graph, field)
        ]
    assert after.opset_import == before.opset_import
    assert after.metadata_props == before.metadata_props
    assert [(n.name, n.op_type) for n in after.graph.node] == [(n.name, n.op_type) for n in before.graph.node]
    onnx.checker.check_model(after, full_check=True)


def test_a_written_file_is_read_as_the_pruned_network(tmp_path: Path) -> None:
    small, _ = _half(reconv.load_onnx(saved(small_network(), tmp_path / "net.onnx")))
    _written(small, tmp_path / "small.onnx")
    again = reconv.load_onnx(tmp_path / "small.onnx")
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in small.state_dict().items()}
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(again(x), small(x))


def test_an_unpruned_network_gives_its_own_file(tmp_path: Path) -> None:
    path = saved(small_network(), tmp_path / "net.onnx")
    after = _written(reconv.load_onnx(path), tmp_path / "same.onnx")
    assert after == onnx.load(path)


def test_a_bias_that_a_repair_wants_is_added(tmp_path: Path) -> None:
    network = reconv.load_onnx(saved(small_network(), tmp_path / "net.onnx"))
    assert network.Conv_d.bias is not None  # the file has none
    assert network.Conv_a.bias is None  # a norm follows
    small, plan = _half(network)
    images = torch.randn(64, 3, 8, 8) + 1
    small = reconv.repair(small, plan=plan, reference=network, images=images)
    assert small.Conv_d.bias.any()
    after = _written(small, tmp_path / "small.onnx")
    assert len(next(n for n in after.graph.node if n.name == "Conv_d").input) == 3
    onnx.checker.check_model(after, full_check=True)


def test_a_group_is_an_attribute_that_follows(tmp_path: Path) -> None:
    small, _ = _half(reconv.load_onnx(saved(small_network(), tmp_path / "net.onnx")))
    after = _written(small, tmp_path / "small.onnx")
    depthwise = next(n for n in after.graph.node if n.name == "Conv_d")
    assert {a.name: onnx.helper.get_attribute_value(a) for a in depthwise.attribute}[
        "group"
    ] == small.Conv_a.out_channels


def test_a_constant_that_two_layers_share_is_split_where_they_differ(tmp_path: Path) -> None:
    model = small_network()
    # An exporter that keeps equal tensors once makes a second layer of the same width read the same shift.
    wide = next(n for n in model.graph.node if n.name == "Conv_d")
    wide.input.append("shift")
    next(n for n in model.graph.node if n.op_type == "Conv" and n.name == "Conv_e").input[0] = "d2"
    model.graph.node.insert(4, node("Relu", "d", "d1"))
    model.graph.node.insert(5, node("Conv", "d1 w5 shift", "d2"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights(12, 12, 1, 1), "w5"))
    small, _ = _half(reconv.load_onnx(saved(model, tmp_path / "net.onnx")))
    after = _written(small, tmp_path / "small.onnx")
    onnx.checker.check_model(after, full_check=True)


# ------------------------------------------------------------------ sizes in constants


def _shuffled(shape: list[int], back: list[int], batch: int | str) -> Any:
    """Conv, a channel shuffle whose views are constants, Conv."""
    constants = {
        "w1": weights(12, 3, 3, 3),
        "w2": weights(5, 12, 1, 1, seed=1),
        "there": np.array(shape, np.int64),
        "back": np.array(back, np.int64),
    }
    nodes = [
        node("Conv", "x w1", "a", pads=[1, 1, 1, 1]),
        node("Reshape", "a there", "b"),
        node("Transpose", "b", "c", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "c back", "d"),
        node("Conv", "d w2", "y"),
    ]
    return model_of(nodes, constants, {"x": [batch, 3, 8, 8]}, {"y": [batch, 5, 8, 8]})


@pytest.mark.parametrize(
    ("shape", "back", "batch"),
    [
        ([1, 2, 6, 8, 8], [1, 12, 8, 8], 1),
        ([-1, 2, 6, 8, 8], [-1, 12, 8, 8], "n"),
        ([0, 2, 6, 8, 8], [0, -1, 8, 8], "n"),
    ],
)
def test_views_of_fixed_size_follow(tmp_path: Path, shape: list[int], back: list[int], batch: int | str) -> None:
    network = reconv.load_onnx(saved(_shuffled(shape, back, batch), tmp_path / "net.onnx"))
    small, _ = _half(network)
    assert small.Conv_a.out_channels < 12
    after = _written(small, tmp_path / "small.onnx")
    again = {t.name: onnx.numpy_helper.to_array(t).tolist() for t in after.graph.initializer}
    assert 2 * again["there"][2] == small.Conv_a.out_channels
    assert [a if b == 12 else b for a, b in zip(again["back"], back, strict=True)] == again["back"]


def test_sizes_that_a_graph_puts_together_follow(tmp_path: Path) -> None:
    model = _shuffled([0, 2, 6, 8, 8], [0, 12, 8, 8], "n")
    reshape = next(n for n in model.graph.node if n.output[0] == "d")
    reshape.input[1] = "shape"
    at = list(model.graph.node).index(reshape)
    for i, made in enumerate(
        [
            node("Shape", "x", "s"),
            node("Slice", "s zero one", "batch"),
            node("Cast", "channels", "channels64", to=7),
            node("Concat", "batch channels64 rest", "shape", axis=0),
        ]
    ):
        model.graph.node.insert(at + i, made)
    for name, value in {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "channels": np.array([12], np.int32),
        "rest": np.array([8, 8], np.int64),
    }.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    del model.graph.initializer[next(i for i, t in enumerate(model.graph.initializer) if t.name == "back")]
    small, _ = _half(reconv.load_onnx(saved(model, tmp_path / "net.onnx")))
    after = _written(small, tmp_path / "small.onnx")
    again = {t.name: onnx.numpy_helper.to_array(t) for t in after.graph.initializer}
    assert again["channels"] == [small.Conv_a.out_channels]
    assert again["channels"].dtype == np.int32


@pytest.mark.parametrize("opset", [11, 13])
def test_the_parts_of_a_split_follow(tmp_path: Path, opset: int) -> None:
    constants = {"w1": weights(12, 3, 1, 1), "w2": weights(5, 4, 1, 1), "w3": weights(5, 8, 1, 1)}
    parts: dict[str, Any] = {"split": [4, 8]} if opset < 13 else {}
    constants |= {} if opset < 13 else {"s": np.array([4, 8], np.int64)}
    nodes = [
        node("Conv", "x w1", "a"),
        node("Split", "a" if opset < 13 else "a s", "b c", axis=1, **parts),
        node("Conv", "b w2", "d"),
        node("Conv", "c w3", "e"),
        node("Add", "d e"),
    ]
    model = model_of(nodes, constants, {"x": ["n", 3, 8, 8]}, {"y": ["n", 5, 8, 8]}, opset)
    small, plan = _half(reconv.load_onnx(saved(model, tmp_path / "net.onnx")))
    assert small.Conv_a.out_channels < 12, plan
    onnx.checker.check_model(_written(small, tmp_path / "small.onnx"), full_check=True)


def test_a_file_of_one_image_runs_on_batches(tmp_path: Path) -> None:
    constants = {"w1": weights(12, 3, 1, 1), "w2": weights(5, 6, 1, 1)}
    constants |= {"there": np.array([6, 2, 64], np.int64), "back": np.array([2, -1, 6, 8, 8], np.int64)}
    nodes = [
        node("Conv", "x w1", "a"),
        node("Reshape", "a there", "b"),  # the batch is a factor of the 6
        node("Transpose", "b", "c", perm=[1, 0, 2]),
        node("Reshape", "c back", "d"),
        node("Gather", "d zero", "e", axis=0),
        node("Conv", "e w2", "y"),
    ]
    constants |= {"zero": np.array(0, np.int64)}
    model = model_of(nodes, constants, {"x": [1, 3, 8, 8]}, {"y": [1, 5, 8, 8]})
    network = reconv.load_onnx(saved(model, tmp_path / "net.onnx"))
    x = torch.randn(3, 3, 8, 8)
    each = torch.cat([torch.from_numpy(outputs_of(model, {"x": part}, "")[0]) for part in x.split(1)])
    assert largest_difference([network(x)], [each.numpy()]) < 1e-5


def test_two_views_that_need_other_sizes_of_one_constant_are_refused(tmp_path: Path) -> None:
    constants: dict[str, Any] = {
        "w1": weights(12, 3, 1, 1),
        "w2": weights(12, 3, 1, 1, seed=1),
        "w3": weights(4, 24, 1, 1),
    }
    constants |= {
        "twelve": np.array([12], np.int64),
        "rest": np.array([8, 8], np.int64),
        "zero": np.array([0], np.int64),
    }
    nodes = [
        node("Conv", "x w1", "a"),
        node("Conv", "x w2", "b"),
        node("Shape", "x", "s"),
        node("Slice", "s zero one", "batch"),
        node("Concat", "batch twelve rest", "shape", axis=0),
        node("Reshape", "a shape", "c"),
        node("Reshape", "b shape", "d"),
        node("Concat", "c d", "e", axis=1),
        node("Conv", "e w3", "y"),
    ]
    constants |= {"one": np.array([1], np.int64)}
    model = model_of(nodes, constants, {"x": ["n", 3, 8, 8]}, {"y": ["n", 4, 8, 8]})
    network = reconv.load_onnx(saved(model, tmp_path / "net.onnx"))
    graph = reconv.trace(network, network.example())
    plan = reconv.choose(
        graph, reconv.score(graph, "l2"), reconv.Budget(params=0.7), limits=reconv.Limits(exclude=("Conv_a",))
    )
    small = reconv.prune(network, plan)
    assert small.Conv_b.out_channels < 12
    with pytest.raises(ExportError, match="sizes that now differ"):
        reconv.export(small, tmp_path / "small.onnx", example=network.example())
    assert not (tmp_path / "small.onnx").exists()
