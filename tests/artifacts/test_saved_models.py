"""A saved model comes back bit-equal, in a fresh process too, and whatever is wrong with its files is said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reconv.artifacts import is_saved_model, load, read_manifest, save
from reconv.errors import ArtifactError, ConfigError, ReconvError, UnknownNameError, WeightsError
from reconv.files import read_tensors, tensors_fingerprint, write_tensors
from reconv.graph import trace
from reconv.plan import Budget, Plan, choose
from reconv.provenance import IMAGENET, Provenance, attach, provenance_of
from reconv.saliency import score
from reconv.surgery import prune
from reconv.zoo import load_model


def pruned(model: nn.Module, *, coupled: bool = False) -> tuple[nn.Module, Plan]:
    graph = trace(model, torch.zeros(1, 3, 32, 32))
    plan = choose(graph, score(graph, "l1"), Budget(channels=0.6), coupled=coupled)
    return prune(model, plan), plan


def assert_same(a: nn.Module, b: nn.Module) -> None:
    mine, other = a.state_dict(), b.state_dict()
    assert mine.keys() == other.keys()
    for name in mine:
        assert mine[name].dtype == other[name].dtype
        assert torch.equal(mine[name], other[name])
    assert str(a.eval()) == str(b.eval())
    assert [p.requires_grad for p in a.parameters()] == [p.requires_grad for p in b.parameters()]
    x = torch.randn(2, 3, 32, 32, dtype=next(a.parameters()).dtype)
    assert torch.equal(a(x), b(x))


@pytest.mark.parametrize(
    ("name", "coupled"),
    [
        ("resnet20", False),
        ("resnet20", True),
        ("vgg16_bn", False),
        ("torchvision:mobilenet_v2", True),
        ("torchvision:convnext_tiny", True),
        ("torchvision:regnet_y_400mf", False),
        ("timm:resnet18", True),
    ],
)
def test_a_pruned_model_comes_back_bit_equal(name: str, coupled: bool, tmp_path: Path) -> None:
    small, plan = pruned(load_model(name, num_classes=4), coupled=coupled)
    save(small, tmp_path / "small", plan=plan)
    loaded = load(tmp_path / "small")
    assert_same(small, loaded)
    assert provenance_of(loaded) == provenance_of(small)
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])


def test_it_comes_back_without_tracing_in_a_fresh_process(tmp_path: Path) -> None:
    small, plan = pruned(load_model("resnet20", shortcut="stride"), coupled=True)
    save(small, tmp_path / "small", plan=plan)
    program = (
        "import sys, torch; from reconv import graph; from reconv.artifacts import load\n"
        "def refuse(*_, **__): raise SystemExit('traced')\n"
        "graph.trace = refuse\n"
        f"model = load({str(tmp_path / 'small')!r})\n"
        "from reconv.files import tensors_fingerprint\n"
        "x = torch.linspace(-1, 1, 3072).reshape(1, 3, 32, 32)\n"
        "print(tensors_fingerprint({**model.state_dict(), 'output': model(x)}))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    x = torch.linspace(-1, 1, 3072).reshape(1, 3, 32, 32)
    assert run.stdout.strip() == tensors_fingerprint({**small.state_dict(), "output": small.eval()(x)})


def test_a_loaded_model_is_pruned_and_saved_again(tmp_path: Path) -> None:
    small, _ = pruned(load_model("resnet20"))
    save(small, tmp_path / "once")
    smaller, plan = pruned(load(tmp_path / "once"))
    save(smaller, tmp_path / "twice", plan=plan)
    assert_same(smaller, load(tmp_path / "twice"))


def test_a_loaded_model_can_be_trained_on(tmp_path: Path) -> None:
    small, _ = pruned(load_model("resnet20"))
    save(small, tmp_path / "small")
    loaded = load(tmp_path / "small").train()
    loaded(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_normalization_notes_and_plan_are_recorded(tmp_path: Path) -> None:
    model = load_model("resnet20", normalization=IMAGENET)
    small, plan = pruned(model)
    save(small, tmp_path / "small", plan=plan)
    assert provenance_of(load(tmp_path / "small")).normalization == IMAGENET
    manifest = read_manifest(tmp_path / "small")
    assert manifest["plan"] == plan.to_json()
    assert set(manifest["versions"]) == {"reconv", "torch"}


def test_a_folder_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    small, _ = pruned(load_model("resnet20"))
    save(small, tmp_path / "small")
    (tmp_path / "small" / "manifest.json").rename(tmp_path / "small" / "recipe.json")
    assert is_saved_model(tmp_path / "small")
    assert_same(small, load(tmp_path / "small"))


def test_dtypes_are_kept(tmp_path: Path) -> None:
    model = load_model("resnet20").double()
    save(model, tmp_path / "double")
    assert_same(model, load(tmp_path / "double"))


def test_loading_consumes_no_random_number(tmp_path: Path) -> None:
    save(load_model("torchvision:regnet_y_400mf"), tmp_path / "m")
    before = torch.random.get_rng_state()
    load(tmp_path / "m")
    assert torch.equal(before, torch.random.get_rng_state())


def test_its_weights_alone_know_what_they_are(tmp_path: Path) -> None:
    model = load_model("resnet20", shortcut="stride", num_classes=3)
    save(model, tmp_path / "whole")
    assert_same(model, load_model("resnet20", weights=tmp_path / "whole" / "weights.safetensors"))
    save(pruned(model)[0], tmp_path / "small")
    with pytest.raises(WeightsError, match=r"weights of a pruned resnet20; load the folder .*small instead"):
        load_model("resnet20", weights=tmp_path / "small" / "weights.safetensors")


# --- a class of the user's own ------------------------------------------------------------------------------


class Mine(nn.Module):
    """Two convolutions, with tied heads and a state that no file holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.third = nn.Conv2d(8, 8, 3, padding=1)
        self.third.weight = self.second.weight
        self.head = nn.Linear(8, 2)
        self.register_buffer("offset", torch.tensor(2.5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.first(x)).relu()
        return self.head(self.third(self.second(y).relu()).mean((2, 3))) + self.offset


def test_a_class_of_the_users_own_is_loaded_into_an_instance(tmp_path: Path) -> None:
    model = Mine()
    small, plan = pruned(model)
    save(small, tmp_path / "mine", plan=plan)
    with pytest.raises(ArtifactError, match=r"Mine, which reconv cannot build by name; .*load\(path, model"):
        load(tmp_path / "mine")
    instance = Mine()
    before = tensors_fingerprint(instance.state_dict())
    loaded = load(tmp_path / "mine", model=instance)
    assert_same(small, loaded)
    assert loaded.second.weight is loaded.third.weight
    assert tensors_fingerprint(instance.state_dict()) == before
    assert provenance_of(instance) == Provenance()


def test_what_may_not_learn_may_not_after_loading(tmp_path: Path) -> None:
    model = load_model("resnet20", widths=(4, 4, 4))
    model.get_submodule("layer1").requires_grad_(False)
    small, plan = pruned(model)
    save(small, tmp_path / "small", plan=plan)
    assert_same(small, load(tmp_path / "small"))
    mine = Mine()
    mine.second.requires_grad_(False)  # and with it the third, which is tied
    save(mine, tmp_path / "mine")
    loaded = load(tmp_path / "mine", model=Mine())
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in mine.parameters()]
    assert not loaded.get_submodule("third").weight.requires_grad


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    small, plan = pruned(load_model("resnet20", widths=(4, 4, 4)))
    save(small, tmp_path / "small", plan=plan)
    return tmp_path / "small"


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def halve(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def refit(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors, and the manifest's fingerprint along with them."""
    tensors = read_tensors(folder / "weights.safetensors")
    change(tensors)
    write_tensors(folder / "weights.safetensors", tensors)
    changed(folder, lambda manifest: manifest["weights"].update(fingerprint=tensors_fingerprint(tensors)))


CONV = "layer1.0.conv1"
CORRUPTIONS: dict[str, tuple[Callable[[Path], object], type[ReconvError], str]] = {
    "no manifest": (lambda p: (p / "manifest.json").unlink(), ArtifactError, "not a saved model"),
    "no weights": (
        lambda p: (p / "weights.safetensors").unlink(),
        ArtifactError,
        r"weights\.safetensors: cannot be read: it does not exist",
    ),
    "half the manifest": (lambda p: halve(p / "manifest.json"), ArtifactError, r"manifest\.json: not complete JSON"),
    "half the weights": (
        lambda p: halve(p / "weights.safetensors"),
        ArtifactError,
        "not a complete safetensors file",
    ),
    "a bit of the weights": (
        lambda p: flip_a_bit(p / "weights.safetensors"),
        ArtifactError,
        "fingerprints differ",
    ),
    "no fingerprint": (lambda p: changed(p, lambda r: r.pop("weights")), ArtifactError, "fingerprints differ"),
    "a list": (lambda p: (p / "manifest.json").write_text("[]"), ArtifactError, "not a model that reconv saved"),
    "another kind": (lambda p: changed(p, lambda r: r.update(kind="x")), ArtifactError, "not a model that"),
    "a newer format": (
        lambda p: changed(p, lambda r: r.update(format=99)),
        ArtifactError,
        "format 99, written by a newer reconv.*upgrade",
    ),
    "no edits": (lambda p: changed(p, lambda r: r.pop("edits")), ArtifactError, "does not describe a model"),
    "an unknown architecture": (
        lambda p: changed(p, lambda r: r["model"].update(name="resnt20")),
        UnknownNameError,
        "did you mean resnet20",
    ),
    "another architecture": (
        lambda p: changed(p, lambda r: r["model"].update(name="torchvision:resnet18", arguments={})),
        ArtifactError,
        r"it edits layer1\.2\.conv1, which this architecture lacks",
    ),
    "an edit of no module": (
        lambda p: changed(p, lambda r: r["edits"].update({"nowhere.conv": {"out_channels": 3}})),
        ArtifactError,
        r"it edits nowhere\.conv, which this architecture lacks",
    ),
    "an edit of no size": (
        lambda p: changed(p, lambda r: r["edits"].update({CONV: {"forward": 3}})),
        ArtifactError,
        rf"it edits {CONV}\.forward, which is no size of a layer",
    ),
    "an edit of a flag": (
        lambda p: changed(p, lambda r: r["edits"].update({CONV: {"training": 1}})),
        ArtifactError,
        "is no size of a layer",
    ),
    "an edited size": (
        lambda p: changed(p, lambda r: r["edits"][CONV].update(out_channels=3)),
        ArtifactError,
        rf"{CONV}\.out_channels is 3, its tensors have 2",
    ),
    "a larger tensor": (
        lambda p: refit(p, lambda t: t.update({f"{CONV}.weight": torch.zeros(99, 4, 3, 3)})),
        WeightsError,
        r"conv1\.weight is \(99, 4, 3, 3\) in the file, \(4, 4, 3, 3\) in the model",
    ),
    "a smaller tensor": (
        lambda p: refit(p, lambda t: t.update({f"{CONV}.weight": torch.zeros(1, 4, 3, 3)})),
        ArtifactError,
        rf"{CONV}\.out_channels is 2, its tensors have 1",
    ),
    "a missing tensor": (
        lambda p: refit(p, lambda t: t.pop("fc.bias")),
        WeightsError,
        r"fc\.bias \(10,\) is missing",
    ),
    "whole numbers for weights": (
        lambda p: refit(p, lambda t: t.update({"fc.bias": t["fc.bias"].long()})),
        WeightsError,
        r"fc\.bias is of torch\.int64 in the file, of torch\.float32 in the model",
    ),
    "fewer whole numbers for weights": (
        lambda p: refit(p, lambda t: t.update({f"{CONV}.weight": torch.zeros(1, 4, 3, 3, dtype=torch.int64)})),
        WeightsError,
        r"conv1\.weight is of torch\.int64 in the file",
    ),
    "a name of two lines": (
        lambda p: refit(p, lambda t: t.update({"a\nb\x1b[31m": torch.zeros(1)})),
        WeightsError,
        r"a b\\x1b\[31m \(1,\) is not in the model",
    ),
    "itself": (
        lambda p: changed(p, lambda r: r["model"].update(name=str(p), arguments={})),
        ArtifactError,
        "built from another saved model",
    ),
    "a file to unpickle": (
        lambda p: changed(p, lambda r: r["model"].update(name="timm:resnet18", arguments={"checkpoint_path": "w"})),
        ConfigError,
        "checkpoint_path would load weights",
    ),
    "a repository's file to unpickle": (
        lambda p: changed(p, lambda r: r["model"].update(name="local-dir:x", arguments={"checkpoint_path": "w"})),
        ConfigError,
        "checkpoint_path would load weights",
    ),
    "endless lists": (
        lambda p: changed(p, lambda r: r["model"].update(name="timm:resnetv2_50", arguments={"layers": [10**9] * 4})),
        ConfigError,
        r"layers = \[1000000000, .*; give numbers of at most 100,000",
    ),
    "endless widths": (
        lambda p: changed(p, lambda r: r["model"].update(arguments={"widths": [10**30, 4, 4]})),
        ConfigError,
        r"widths = \[1000000000000000000000000000000, 4, 4\]; give numbers of at most",
    ),
    "deep arguments": (
        lambda p: (p / "manifest.json").write_text('{"model": ' + "[" * 900 + "]" * 900 + "}"),
        ArtifactError,
        "nested too deeply",
    ),
    "no list of what may not learn": (
        lambda p: changed(p, lambda r: r.update(frozen=[["conv1.weight"]])),
        ArtifactError,
        "frozen is no list",
    ),
    "a normalization of NaN": (
        lambda p: changed(p, lambda r: r.update(normalization={"mean": [float("nan")] * 3, "std": [1, 1, 1]})),
        ArtifactError,
        "does not describe a model",
    ),
    "NaN": (
        lambda p: refit(p, lambda t: t["fc.bias"].fill_(float("nan"))),
        WeightsError,
        r"fc\.bias holds NaN or infinity \(10 of 10 values\)",
    ),
}


@pytest.mark.parametrize(("spoil", "kind", "said"), CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_what_is_corrupt_is_refused_in_one_line(
    spoil: Callable[[Path], object], kind: type[ReconvError], said: str, saved: Path
) -> None:
    load(saved)
    spoil(saved)
    with pytest.raises(kind, match=said) as caught:
        load(saved)
    assert "\n" not in str(caught.value)


def test_a_network_of_too_many_parts_is_not_built(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(saved)
    monkeypatch.setattr("reconv.zoo.bounded._MOST_PARTS", 20)
    with pytest.raises(ConfigError, match="its arguments make it larger than 20 modules and parameters"):
        load(saved)


def test_what_is_no_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a saved model"):
        load(tmp_path / "nowhere")


@pytest.fixture
def _failing_json(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reconv.artifacts.write_json", fail)


@pytest.mark.usefixtures("_failing_json")
def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no space left"):
        save(load_model("resnet20"), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_saved_model_is_replaced_only_on_demand(saved: Path) -> None:
    model = load_model("resnet20")
    with pytest.raises(ArtifactError, match="--overwrite"):
        save(model, saved)
    save(model, saved, overwrite=True)
    assert_same(model, load(saved))


def test_provenance_goes_with_any_model(tmp_path: Path) -> None:
    model = attach(Mine(), Provenance(notes=("hand-made",)))
    save(model, tmp_path / "mine")
    assert provenance_of(load(tmp_path / "mine", model=Mine())).notes == ("hand-made",)
