"""A file that is written computes what the network does, and nothing is left where it would not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reconv
from reconv.deploy import Exporter
from reconv.deploy.exporter import Call
from reconv.errors import ConfigError, ExportError, UnknownNameError


def _net() -> nn.Module:
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(8, 5))


pytestmark = pytest.mark.usefixtures("own_registries")

EXAMPLE = torch.zeros(1, 3, 8, 8)
FORMATS = [
    "net.pt2",
    "net.pt",
    pytest.param("net.onnx", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", FORMATS)
def test_a_pruned_network_is_written_and_agrees_at_any_batch_size(name: str, tmp_path: Path) -> None:
    if name.endswith("onnx"):
        pytest.importorskip("onnxruntime")
    model = _net().train()
    graph = reconv.trace(model, EXAMPLE)
    small = reconv.prune(model, reconv.choose(graph, reconv.score(graph), reconv.Budget(macs=0.5))).train()
    written = reconv.export(small, tmp_path / name, example=EXAMPLE)
    assert written.error < 1e-4
    assert written.agreement == 1.0
    assert not written.fixed_batch
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert all(module.training for module in small.modules())
    images = torch.randn(7, 3, 8, 8)
    outputs = Exporter.registry[written.format].read(tmp_path / name)(images)
    output = outputs if isinstance(outputs, Tensor) else outputs[0]
    torch.testing.assert_close(output, small.eval()(images), rtol=1e-4, atol=1e-5)


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, 3, 64).sum(2)


def test_a_network_of_one_batch_size_is_written_for_that_one_and_says_so(tmp_path: Path) -> None:
    written = reconv.export(FixedBatch(), tmp_path / "net.pt2", example=EXAMPLE)
    assert written.fixed_batch
    assert "the example's batch size only" in str(written)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, *, scale: Tensor) -> dict[str, Tensor]:
        return {"sum": self.layer(x) + scale, "product": self.layer(x) * scale}


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    example = {"x": torch.zeros(2, 4), "scale": torch.zeros(2, 3)}
    assert reconv.export(TwoInputs(), tmp_path / "net.pt2", example=example).error < 1e-6


def test_a_file_that_computes_something_else_is_not_left(tmp_path: Path) -> None:
    def wrong(path: Path) -> Any:
        return lambda x: _net()(x)

    exporter = Exporter.registry["torch"]
    broken = Exporter("broken", ".broken", "reads other weights", exporter.write, wrong)
    reconv.register(broken)
    with pytest.raises(ExportError, match="would differ"):
        reconv.export(_net(), tmp_path / "net.broken", example=EXAMPLE)
    assert not list(tmp_path.iterdir())


class BatchOfTwo(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 3, 64).sum(2)


class Labels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).argmax(1)


@pytest.mark.parametrize(
    ("model", "read", "images"),
    [
        (_net(), lambda x: torch.full((len(x), 5), torch.nan), None),
        (BatchOfTwo(), lambda x: torch.zeros(2, 3), torch.randn(1, 3, 8, 8)),
        (Labels(), lambda x: x.flatten(1).argmin(1), None),
        (TwoInputs(), lambda x, scale: {"sum": scale, "product": x}, None),
    ],
    ids=["NaN", "too few images", "integers", "other shapes"],
)
def test_no_file_passes_unseen(model: nn.Module, read: Any, images: Tensor | None, tmp_path: Path) -> None:
    exporter = Exporter.registry["torch"]
    reconv.register(Exporter("unseen", ".unseen", "reads something else", exporter.write, lambda path: read))
    example: Any = torch.zeros(2, 3, 8, 8)
    if isinstance(model, TwoInputs):
        example = {"x": torch.zeros(2, 4), "scale": torch.zeros(2, 3)}
    with pytest.raises(ExportError, match="would differ"):
        reconv.export(model, tmp_path / "net.unseen", example=example, images=images)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_one_line(tmp_path: Path) -> None:
    class Refuses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum().item() > 0 else -x.flip(0)

    with pytest.raises(ExportError, match="Refuses cannot be written as torch") as caught:
        reconv.export(Refuses(), tmp_path / "net.pt2", example=EXAMPLE)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_names_and_packages_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"\.onyx"):
        reconv.export(_net(), tmp_path / "net.onyx", example=EXAMPLE)
    with pytest.raises(UnknownNameError, match="onnx"):
        reconv.export(_net(), tmp_path / "net.pt2", example=EXAMPLE, to="onxx")

    def write(model: nn.Module, call: Any, path: Path) -> None:
        import a_package_that_is_not_there  # type: ignore[import-not-found]  # noqa: F401

    reconv.register(Exporter("missing", ".missing", "", write, lambda path: _net(), extra="onnx"))
    with pytest.raises(ConfigError, match=r"pip install 'reconv\[onnx\]'"):
        reconv.export(_net(), tmp_path / "net.missing", example=EXAMPLE)


@pytest.mark.parametrize("name", ["net.pt2", "net.pt"])
def test_batch_norm_is_folded_into_the_convolution_before_it(name: str, tmp_path: Path) -> None:
    model = _net().eval()
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    for tensor, low in ((norm.running_mean, -0.5), (norm.running_var, 0.5), (norm.weight, 0.5), (norm.bias, -0.5)):
        assert tensor is not None
        tensor.data.uniform_(low, low + 1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert reconv.export(model, tmp_path / name, example=EXAMPLE).error < 1e-5
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    read = Exporter.registry[name.replace("net.pt2", "torch").replace("net.pt", "torchscript")].read(tmp_path / name)
    assert "batch_norm" not in str(getattr(read, "graph", getattr(read, "code", "")))


class Shared(nn.Module):
    """One convolution with two norms: what it computes is read before the norm too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.a(y) + self.b(self.conv(x)) + y


def test_what_is_read_twice_is_not_folded(tmp_path: Path) -> None:
    model = Shared()
    model(torch.randn(8, 3, 8, 8))
    assert reconv.export(model, tmp_path / "net.pt2", example=EXAMPLE).error < 1e-5


def test_open_height_and_width_are_compared_at_another_size(tmp_path: Path) -> None:
    written = reconv.export(_net(), tmp_path / "net.pt2", example=EXAMPLE, dynamic=["batch", "height", "width"])
    assert written.dynamic == ("batch", "height", "width")
    assert Exporter.registry["torch"].read(tmp_path / "net.pt2")(torch.zeros(3, 3, 40, 9)).shape == (3, 5)
    fixed = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(128, 3))
    with pytest.raises(ExportError, match="Sequential cannot be written as torch"):
        reconv.export(fixed, tmp_path / "fixed.pt2", example=EXAMPLE, dynamic=["height"])
    with pytest.raises(UnknownNameError, match="hight"):
        reconv.export(fixed, tmp_path / "fixed.pt2", example=EXAMPLE, dynamic=["hight"])
    with pytest.raises(ConfigError, match="opset 17, and torch has none"):
        reconv.export(fixed, tmp_path / "fixed.pt2", example=EXAMPLE, opset=17)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"]


class Named(TwoInputs):
    def forward(self, x: Tensor, *, scale: Tensor) -> dict[str, Tensor]:
        return super().forward(x, scale=scale)


@pytest.mark.slow
def test_an_onnx_file_keeps_the_names_of_inputs_and_outputs_and_the_opset(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    example = {"x": torch.zeros(2, 4), "scale": torch.zeros(2, 3)}
    assert reconv.export(Named(), tmp_path / "net.onnx", example=example, opset=19).error < 1e-6
    proto = onnx.load(tmp_path / "net.onnx")
    assert [value.name for value in proto.graph.input] == ["x", "scale"]
    assert [value.name for value in proto.graph.output] == ["sum", "product"]
    assert proto.opset_import[0].version == 19
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.slow
def test_openvino_writes_two_files_and_agrees(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxscript")
    written = reconv.export(_net(), tmp_path / "net.xml", example=EXAMPLE)
    assert written.error < 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.bin", "net.xml"]
    assert written.size == sum(path.stat().st_size for path in tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("name", ["torch", "torchscript"])
def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(name: str) -> None:
    exporter = Exporter.registry[name]
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()).eval()
    with pytest.raises(OSError, match="No space left"):
        exporter.write(net, Call((torch.zeros(1, 1, 8, 8),), {}), Path("/dev/full"))
