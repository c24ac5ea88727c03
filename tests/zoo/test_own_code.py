"""Networks of the user's own classes: by the code that the user names, and by nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import reconv
from reconv.errors import ArtifactError, ConfigError, UnknownNameError
from reconv.files import read_json, write_json
from reconv.networks import load_network
from reconv.provenance import ModelSpec, provenance_of
from reconv.zoo import code, load_model

NET = """
import os
from subprocess import run
from torch import nn
from blocks_of_mine import WIDTH

open("imported", "a").write("x")


class MyNet(nn.Module):
    def __init__(self, width=WIDTH, num_classes=10):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))


def make(width=5):
    return MyNet(width)


net = MyNet(3)
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network's file in it, and nothing named or imported yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(code, "_named", {})
    monkeypatch.setattr(code, "_files", {})
    (tmp_path / "blocks_of_mine.py").write_text("WIDTH = 6\n")
    (tmp_path / "my_own_net.py").write_text(NET)
    monkeypatch.delitem(sys.modules, "my_own_net", raising=False)
    return tmp_path


def _imports() -> int:
    file = Path("imported")
    return len(file.read_text()) if file.exists() else 0


def test_a_class_a_function_and_a_module_in_a_file(folder: Path) -> None:
    assert load_model("my_own_net.py:MyNet").conv.out_channels == 6
    assert load_model("my_own_net.py:MyNet", width=4, num_classes=3).fc.out_features == 3
    assert load_model(f"{folder}/my_own_net.py:make", width=7).conv.out_channels == 7
    net = load_model("my_own_net.py:net")
    assert net.conv.out_channels == 3
    assert net is not load_model("my_own_net.py:net")
    assert load_model("my_own_net:make").conv.out_channels == 5  # as a module
    assert type(load_model("torch.nn:Linear", in_features=2, out_features=3)) is torch.nn.Linear
    assert str(folder) not in sys.path


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("my_own_net.py:Mynet", {}, "did you mean MyNet|is not known"),
        ("my_own_net.py:number", {}, "a int; name a class"),
        ("my_own_net.py:net", {"width": 3}, "takes no arguments"),
        ("my_own_net.py:MyNet", {"colour": 3}, "cannot be built with"),
        ("my_own_net.py:os.getcwd", {}, "gives a str"),
        ("nothing.py:MyNet", {}, "no such file"),
        ("broken.py:MyNet", {}, r"cannot be imported \(ZeroDivisionError"),
        ("lacks.py:MyNet", {}, "imports package_that_is_not_there"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_is_refused(name: str, arguments: dict[str, int], said: str) -> None:
    Path("broken.py").write_text("1 / 0\n")
    Path("lacks.py").write_text("import package_that_is_not_there\n")
    with pytest.raises((ConfigError, UnknownNameError), match=said):
        load_model(name, **arguments)


@pytest.mark.usefixtures("folder")
def test_as_many_classes_as_the_data_have_only_where_the_class_takes_them() -> None:
    assert load_network("my_own_net.py:MyNet", classes=4).fc.out_features == 4
    assert load_network("my_own_net.py:make", classes=4).fc.out_features == 10


@pytest.mark.usefixtures("folder")
def test_weights_of_a_file_and_those_that_a_function_loads() -> None:
    from safetensors.torch import save_file

    torch.manual_seed(1)
    model = load_model("my_own_net.py:MyNet", num_classes=3)
    save_file(model.state_dict(), "w.safetensors")
    again = load_model("my_own_net.py:MyNet", weights="w.safetensors")  # as many classes as the weights have
    assert torch.equal(again.fc.weight, model.fc.weight)
    assert load_model("my_own_net.py:make", pretrained=True).conv.out_channels == 5


@pytest.mark.usefixtures("folder")
def test_a_saved_folder_imports_nothing_by_itself() -> None:
    model = load_model("my_own_net.py:MyNet", width=4)
    x = torch.rand(1, 1, 8, 8)
    graph = reconv.trace(model, x)
    plan = reconv.choose(graph, reconv.score(graph, "l1"), reconv.Budget(macs=0.5))
    small = reconv.prune(model, plan)
    reconv.save(small, "saved")
    code._files.clear()
    before = _imports()
    with pytest.raises(ArtifactError, match=r"never imports by itself; name the code, --code my_own_net\.py"):
        reconv.load("saved")
    with pytest.raises(ArtifactError, match="never imports by itself"):
        load_model("saved")
    assert _imports() == before
    for named in ("my_own_net.py", "my_own_net.py:MyNet", "my_own_net"):
        again = reconv.load("saved", code=named)
        assert torch.equal(again(x), small(x))
        assert provenance_of(again).spec == ModelSpec(
            f"{'module' if named == 'my_own_net' else 'file'}:{named.partition(':')[0]}:MyNet", {"width": 4}
        )
    assert _imports() > before
    code.use_code("my_own_net.py")
    assert torch.equal(load_model("saved")(x), small(x))


@pytest.mark.usefixtures("folder")
def test_a_module_of_ones_own_that_python_saved_is_found_by_its_class() -> None:
    from importlib import import_module

    sys.path.insert(0, ".")
    try:
        model = import_module("my_own_net").MyNet()
    finally:
        sys.path.remove(".")
    reconv.save(model, "saved")
    assert torch.equal(reconv.load("saved", code="my_own_net.py").fc.weight, model.fc.weight)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["run", "os.system", "os"])
def test_a_saved_folder_cannot_call_what_the_users_code_has_imported(name: str) -> None:
    reconv.save(load_model("my_own_net.py:MyNet"), "saved")
    manifest = read_json("saved/manifest.json")
    manifest["model"] = {"name": f"file:my_own_net.py:{name}", "arguments": {"args": ["touch", "harm"]}}
    write_json(Path("saved/manifest.json"), manifest)
    with pytest.raises(ArtifactError, match="has no network of that name"):
        reconv.load("saved", code="my_own_net.py")
    assert not Path("harm").exists()


@pytest.mark.parametrize("name", ["hf:a/b", "ultralytics:yolov8n", "smp:Unet/resnet18"])
def test_a_package_that_only_the_user_chooses_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("transformers", "ultralytics", "segmentation_models_pytorch"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match="which is not installed; pip install"):
        load_model(name)


def test_torchvisions_detectors_and_segmenters_are_found_by_name_and_download_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    model = load_model("lraspp_mobilenet_v3_large", num_classes=3)
    assert model(torch.zeros(1, 3, 32, 32))["out"].shape == (1, 3, 32, 32)
    assert reconv.zoo.own_input_size(load_model("torchvision:lraspp_mobilenet_v3_large")) == (3, 520, 520)


def test_a_folder_of_torch_hub(tmp_path: Path) -> None:
    (tmp_path / "hubconf.py").write_text("from torch import nn\ndef net(width=3):\n    return nn.Conv2d(3, width, 1)\n")
    model = load_model(f"hub:{tmp_path}:net", width=5)
    assert model.out_channels == 5
    reconv.save(model, tmp_path / "saved")
    with pytest.raises(ArtifactError, match="never imports by itself"):
        reconv.load(tmp_path / "saved")
    assert reconv.load(tmp_path / "saved", code="hub").out_channels == 5


def test_a_folder_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is for users to install")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=4
    )
    model = transformers.ResNetForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
    mine = load_model(f"hf:{tmp_path}", pretrained=True)
    x = torch.rand(1, 3, 32, 32)
    assert torch.allclose(mine(x).logits, model(x).logits, atol=1e-6)
    assert provenance_of(mine).normalization.mean == (0.5, 0.5, 0.5)
    assert load_model(f"hf:{tmp_path}", num_classes=7).num_labels == 7
    with pytest.raises(ConfigError, match="has no colour"):
        load_model(f"hf:{tmp_path}", colour="red")


def test_a_segmenter_of_smp() -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is for users to install")
    model = load_model("smp:Unet/resnet18", num_classes=3)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    with pytest.raises(ConfigError, match="smp:Unett/resnet18"):
        load_model("smp:Unett/resnet18")


def test_a_detector_of_ultralytics() -> None:
    pytest.importorskip("ultralytics", reason="ultralytics is for users to install")
    model = load_model("ultralytics:yolov8n")
    assert all(parameter.requires_grad for parameter in model.parameters())
    with pytest.raises(ConfigError, match="ultralytics:yolov99n"):
        load_model("ultralytics:yolov99n")
