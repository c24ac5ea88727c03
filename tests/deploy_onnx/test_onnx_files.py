"""An ONNX file is data: what is wrong with it is one line, and nothing large is allocated for it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx_files import model_of, node, saved, small_network, weights

import reconv
from reconv.errors import ArtifactError, ConfigError, ReconvError, UnknownNameError
from reconv.provenance import Normalization, provenance_of


def _refused(model: Any, path: Path, match: str) -> None:
    with pytest.raises(ArtifactError, match=match) as caught:
        reconv.load_onnx(saved(model, path))
    assert "\n" not in str(caught.value)


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    for content in (b"", b"hello", b"\x08" * 100, small_network().SerializeToString()[:-100]):
        (tmp_path / "net.onnx").write_bytes(content)
        with pytest.raises(ArtifactError):
            reconv.load_onnx(tmp_path / "net.onnx")
    with pytest.raises(ArtifactError, match="no such file"):
        reconv.load_onnx(tmp_path / "missing.onnx")


def test_a_tensor_that_says_it_is_huge(tmp_path: Path) -> None:
    model = small_network()
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([10**6, 10**6])
    _refused(model, tmp_path / "net.onnx", "would take 4,000,000,000,000 bytes")


def test_a_tensor_that_holds_less_than_it_says(tmp_path: Path) -> None:
    model = small_network()
    model.graph.initializer[0].dims[0] += 1
    _refused(model, tmp_path / "net.onnx", "damaged")


@pytest.mark.parametrize("size", [10**9, -5])
def test_sizes_that_the_graph_computes_are_bounded(tmp_path: Path, size: int) -> None:
    nodes = [node("ConstantOfShape", "s", "c"), node("Add", "x c")]
    model = model_of(nodes, {"s": np.array([size], np.int64)}, outputs={"y": [None] * 4})
    _refused(model, tmp_path / "net.onnx", "too large")
    nodes = [node("Expand", "x s")]
    model = model_of(nodes, {"s": np.array([10**6, 4, 8, 800], np.int64)}, {"x": [1, 4, 8, 1]}, {"y": [None] * 4})
    _refused(model, tmp_path / "net.onnx", "too large")


def test_a_network_that_would_take_minutes(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w")]
    model = model_of(nodes, {"w": weights(64, 64, 7, 7)}, {"x": [1, 64, 2040, 2040]}, {"y": [1, 64, 2034, 2034]})
    model.graph.node.insert(0, node("Conv", "x w", "z"))
    _refused(model, tmp_path / "net.onnx", "multiplications")


def test_data_beside_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    model = small_network()
    tensor = model.graph.initializer[0]
    expected = onnx.numpy_helper.to_array(tensor)
    (folder / "weights.bin").write_bytes(b"1234" + tensor.raw_data)
    (tmp_path / "outside.bin").write_bytes(b"1234" + tensor.raw_data)

    def lies_in(location: str, offset: int = 4, length: int = expected.nbytes) -> Any:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in {"location": location, "offset": offset, "length": length}.items():
            tensor.external_data.add(key=key, value=str(value))
        return model

    network = reconv.load_onnx(saved(lies_in("weights.bin"), folder / "net.onnx"))
    np.testing.assert_array_equal(network.Conv_a.weight.detach().numpy(), expected)
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    for location in ("../outside.bin", str(tmp_path / "outside.bin"), "link.bin", "a/../../outside.bin", ""):
        _refused(lies_in(location), folder / "net.onnx", "outside of the model's folder")
    _refused(lies_in("missing.bin"), folder / "net.onnx", "missing")
    _refused(lies_in("weights.bin", offset=8), folder / "net.onnx", "does not hold them there")
    _refused(lies_in("weights.bin", length=10**12), folder / "net.onnx", "does not hold them there")


def test_operators_that_are_not_read_are_named(tmp_path: Path) -> None:
    custom = model_of([node("Relu", "x")], outputs={"y": [None] * 4})
    custom.graph.node[0].domain = "com.example"
    custom.opset_import.add(domain="com.example", version=1)
    _refused(custom, tmp_path / "net.onnx", "com.example")
    _refused(model_of([node("Relu", "x")], opset=9), tmp_path / "net.onnx", "opset 9")
    _refused(model_of([node("Det", "x")], inputs={"x": [4, 4]}), tmp_path / "net.onnx", "Det 'Det_y': an operator that")
    computed = model_of([node("Conv", "x x")], inputs={"x": [1, 1, 4, 4]}, outputs={"y": [None] * 4})
    _refused(computed, tmp_path / "net.onnx", "weight that is computed")


@pytest.mark.parametrize("seed", range(25))
def test_a_mutated_file_gives_a_network_or_one_line(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    content = bytearray(small_network(1).SerializeToString())
    for _ in range(rng.choice([1, 3, 20])):
        at = rng.randrange(len(content))
        how = rng.randrange(3)
        if how == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            del content[at : at + rng.randrange(1, 30)]
        else:
            content[at:at] = rng.randbytes(rng.randrange(1, 9))
    (tmp_path / "net.onnx").write_bytes(bytes(content))
    try:
        said = str(reconv.load_onnx(tmp_path / "net.onnx").program.outputs)
    except ReconvError as error:
        said = str(error)
    assert "\n" not in said


# ------------------------------------------------------------------ by name


def test_a_pruned_network_is_saved_and_loaded(tmp_path: Path) -> None:
    path = saved(small_network(), tmp_path / "net.onnx")
    network = reconv.load_model(str(path))
    graph = reconv.trace(network, network.example())
    plan = reconv.choose(graph, reconv.score(graph, "l2"), reconv.Budget(params=0.6))
    small = reconv.prune(network, plan)
    reconv.save(small, tmp_path / "saved")
    again = reconv.load(tmp_path / "saved")
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(again(x), small(x))
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(ArtifactError, match="not the file that the network was made of"):
        reconv.load(tmp_path / "saved")


def test_arguments_of_a_file(tmp_path: Path) -> None:
    path = str(saved(small_network(), tmp_path / "net.onnx"))
    (note,) = provenance_of(reconv.load_model(path)).notes
    assert "assumed mean" in note
    stated = reconv.load_model(path, mean=[0.5] * 3, std=[0.5] * 3, shapes=[[2, 3, 8, 8]])
    assert provenance_of(stated).normalization == Normalization((0.5,) * 3, (0.5,) * 3)
    assert stated.example().shape == (2, 3, 8, 8)
    with pytest.raises(ConfigError, match="go together"):
        reconv.load_model(path, mean=[0.5] * 3)
    with pytest.raises(ConfigError, match="its inputs are x"):
        reconv.load_model(path, shapes=[[2, 4, 8, 8]])
    with pytest.raises(ConfigError, match="arguments but mean, shapes, std"):
        reconv.load_model(path, width=3)
    with pytest.raises((UnknownNameError, ArtifactError), match="no such file"):
        reconv.load_model(str(tmp_path / "other.onnx"))


def test_weights_that_are_listed_among_the_inputs(tmp_path: Path) -> None:
    model = small_network()
    for tensor in model.graph.initializer:  # as files of version 3 do
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    network = reconv.load_onnx(saved(model, tmp_path / "net.onnx"))
    graph = reconv.trace(network, network.example())
    small = reconv.prune(network, reconv.choose(graph, reconv.score(graph, "l2"), reconv.Budget(params=0.6)))
    reconv.export(small, tmp_path / "small.onnx", example=network.example())
    onnx.checker.check_model(onnx.load(tmp_path / "small.onnx"), full_check=True)


def test_inputs_by_name(tmp_path: Path) -> None:
    nodes = [node("Conv", "b w", "c"), node("Add", "a c", "y")]
    inputs = {"a": ["n", 4, 8, 8], "b": ["n", 3, 8, 8]}
    model = model_of(nodes, {"w": weights(4, 3, 1, 1)}, inputs, {"y": ["n", 4, 8, 8]})
    network = reconv.load_onnx(saved(model, tmp_path / "net.onnx"))
    a, b = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 8, 8)
    assert torch.equal(network(a, b), network(b=b, a=a))
    with pytest.raises(ConfigError, match="give a, b"):
        network(a)


def test_small_probabilities_are_compared_as_probabilities(tmp_path: Path) -> None:
    """onnxruntime rounds a sigmoid to about 1e-7, however small it is."""
    nodes = [node("Add", "x c", "logits"), node("Sigmoid", "logits")]
    model = model_of(nodes, {"c": np.array([-13], np.float32)}, outputs={"y": [2, 4, 8, 8]})
    network = reconv.load_onnx(saved(model, tmp_path / "net.onnx"))
    written = reconv.export(network, tmp_path / "again.onnx", example=network.example())
    assert 1e-12 < written.error < 1e-6
    with pytest.raises(ArtifactError, match="it differs from onnxruntime"):
        reconv.load_onnx(tmp_path / "net.onnx", tolerance=1e-12)
