"""Weights load from every layout in use, and what does not fit says why."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reconv.errors import ArtifactError, ConfigError, WeightsError
from reconv.provenance import IMAGENET, Normalization, attach, provenance_of
from reconv.zoo import load_model, read_weights, write_weights

SMALL: dict[str, Any] = {"widths": (2, 3, 4)}


@pytest.fixture
def model() -> nn.Module:
    return load_model("resnet20", num_classes=5, **SMALL)


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def renamed(state: Mapping[str, Tensor], *pairs: tuple[str, str]) -> dict[str, Tensor]:
    result = dict(state)
    for pattern, replacement in pairs:
        result = {re.sub(pattern, replacement, name): tensor.clone() for name, tensor in result.items()}
    return result


Wrap = Callable[[dict[str, Tensor]], Any]
WRAPPERS: dict[str, Wrap] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "best_prec1": 91.7},
    "model": lambda state: {"model": state, "args": {"lr": 0.1}},
    "twice": lambda state: {"model": {"state_dict": state}},
    "data parallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "compiled in parallel": lambda state: {f"_orig_mod.module.{name}": t for name, t in state.items()},
    "parameters": lambda state: {
        name: nn.Parameter(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()
    },
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
@pytest.mark.parametrize("suffix", [".pth", ".th", ".tar", ".pt"])
def test_every_wrapper_and_prefix_is_understood(model: nn.Module, wrap: Wrap, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(wrap(dict(model.state_dict())), path)
    assert same(read_weights(path), model.state_dict())
    assert same(load_model("resnet20", weights=path, **SMALL).state_dict(), model.state_dict())


def test_safetensors_with_a_prefix_are_understood(model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in model.state_dict().items()}, path)
    assert same(load_model("resnet20", weights=path, **SMALL).state_dict(), model.state_dict())


def test_the_file_may_be_replaced_while_its_model_lives(model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_weights(model, path)
    loaded = load_model("resnet20", weights=path)
    path.write_bytes(b"")
    assert same(loaded.state_dict(), model.state_dict())


def test_loading_consumes_no_random_number(model: nn.Module, tmp_path: Path) -> None:
    write_weights(model, tmp_path / "w.safetensors")
    before = torch.random.get_rng_state()
    load_model("resnet20", weights=tmp_path / "w.safetensors")
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_loaded_model_trains_in_its_own_dtype(model: nn.Module, tmp_path: Path) -> None:
    torch.save({name: tensor.half() for name, tensor in model.state_dict().items()}, tmp_path / "half.pth")
    loaded = load_model("resnet20", weights=tmp_path / "half.pth", **SMALL)
    assert all(p.dtype == torch.float32 and p.requires_grad and p.is_leaf for p in loaded.parameters())
    assert loaded.bn1.num_batches_tracked.dtype == torch.int64
    loaded(torch.randn(2, 3, 8, 8)).sum().backward()


# --- layouts ------------------------------------------------------------------------------------------------

OPTION_A = ((r"^fc\.", "linear."),)


def test_akamasters_layout_implies_option_a_and_imagenets_normalization(tmp_path: Path) -> None:
    source = load_model("resnet20", shortcut="stride")
    path = tmp_path / "akamaster.th"
    torch.save({"state_dict": renamed(source.state_dict(), *OPTION_A)}, path)
    loaded = load_model("resnet20", weights=path)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(x), source(x))
    provenance = provenance_of(loaded)
    assert provenance.normalization == IMAGENET
    assert provenance.spec is not None
    assert provenance.spec.arguments == {"shortcut": "stride", "num_classes": 10}
    (note,) = provenance.notes
    assert "akamaster" in note
    assert "shortcut='stride'" in note


def test_what_a_layout_implies_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "akamaster.th"
    torch.save(renamed(load_model("resnet20").state_dict(), *OPTION_A), path)
    mine = Normalization((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    provenance = provenance_of(load_model("resnet20", weights=path, shortcut="average", normalization=mine))
    assert provenance.normalization == mine
    assert provenance.spec is not None
    assert provenance.spec.arguments["shortcut"] == "average"
    (note,) = provenance.notes
    assert "assumed" not in note


def test_a_parameter_free_shortcut_that_no_name_tells_is_the_papers(model: nn.Module, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "w.pth")
    (note,) = provenance_of(load_model("resnet20", weights=tmp_path / "w.pth", **SMALL)).notes
    assert "assumed shortcut='average', which an argument overrides" in note


@pytest.mark.parametrize(
    "names",
    [
        ((r"x", "x"),),
        ((r"\.shortcut\.", ".downsample."),),
        ((r"^fc\.", "linear."),),
    ],
    ids=["ours", "downsample", "linear head"],
)
def test_a_convolution_shortcut_is_recognized(names: tuple[tuple[str, str], ...], tmp_path: Path) -> None:
    source = load_model("resnet20", shortcut="conv", num_classes=100)
    torch.save(renamed(source.state_dict(), *names), tmp_path / "w.pth")
    loaded = load_model("resnet20", weights=tmp_path / "w.pth")
    assert same(loaded.state_dict(), source.state_dict())
    assert provenance_of(loaded).normalization is None


@pytest.mark.parametrize("head", ["fc", "linear", "classifier.0", "classifier"])
def test_vggs_head_may_have_any_usual_name(head: str, tmp_path: Path) -> None:
    source = load_model("vgg16_bn", num_classes=100)
    torch.save(renamed(source.state_dict(), (r"^classifier\.", f"{head}.")), tmp_path / "w.pth")
    assert same(load_model("vgg16_bn", weights=tmp_path / "w.pth").state_dict(), source.state_dict())


def test_densenet_of_before_2018_is_understood(tmp_path: Path) -> None:
    source = load_model("torchvision:densenet121", num_classes=3)
    old = renamed(source.state_dict(), (r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2."))
    assert old.keys() != source.state_dict().keys()
    torch.save(old, tmp_path / "w.pth")
    assert same(load_model("densenet121", weights=tmp_path / "w.pth").state_dict(), source.state_dict())


@pytest.mark.parametrize(
    "name",
    ["resnet20", "vgg16_bn", "torchvision:resnet18", "torchvision:squeezenet1_1", "timm:mobilenetv3_small_050"],
)
def test_classes_are_those_of_the_weights(name: str, tmp_path: Path) -> None:
    torch.save(load_model(name, num_classes=13).state_dict(), tmp_path / "w.pth")
    spec = provenance_of(load_model(name, weights=tmp_path / "w.pth")).spec
    assert spec is not None
    assert spec.arguments["num_classes"] == 13


def test_timms_published_normalization_goes_with_its_own_classes(tmp_path: Path) -> None:
    for classes, expected in ((1000, (0.5, 0.5, 0.5)), (10, None)):
        torch.save(load_model("timm:vit_tiny_patch16_224", num_classes=classes).state_dict(), tmp_path / "w.pth")
        found = provenance_of(load_model("timm:vit_tiny_patch16_224", weights=tmp_path / "w.pth"))
        assert (found.normalization.mean if found.normalization else None) == expected


def test_weights_from_before_batches_were_counted_load(model: nn.Module, tmp_path: Path) -> None:
    old = {name: t for name, t in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "w.pth")
    loaded = load_model("resnet20", weights=tmp_path / "w.pth", **SMALL)
    assert loaded.bn1.num_batches_tracked == 0


# --- what we write ------------------------------------------------------------------------------------------


def test_our_files_say_what_they_are(tmp_path: Path) -> None:
    mine = Normalization((0.5,), (0.25,))
    source = load_model("resnet20", num_classes=7, shortcut="stride", in_channels=1, normalization=mine)
    write_weights(source, tmp_path / "w.safetensors")
    loaded = load_model("resnet20", weights=tmp_path / "w.safetensors")
    assert same(loaded.state_dict(), source.state_dict())
    assert provenance_of(loaded) == provenance_of(source)
    with pytest.raises(WeightsError, match="holds weights of resnet20, not of resnet56; load them as resnet20"):
        load_model("resnet56", weights=tmp_path / "w.safetensors")


def test_weights_of_a_pruned_model_are_not_written_alone(model: nn.Module, tmp_path: Path) -> None:
    attach(model, replace(provenance_of(model), edits={"conv1": {"out_channels": 1}}))
    with pytest.raises(ConfigError, match=r"reconv\.save\(model, path\)"):
        write_weights(model, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("metadata", ["{", '{"model": 3}', "[]"])
def test_broken_metadata_is_refused(metadata: str, model: nn.Module, tmp_path: Path) -> None:
    save_file(model.state_dict(), tmp_path / "w.safetensors", {"reconv": metadata})
    with pytest.raises(ArtifactError, match=r"w\.safetensors: .*(save the model again|recreate the file)"):
        load_model("resnet20", weights=tmp_path / "w.safetensors", **SMALL)


# --- what does not fit --------------------------------------------------------------------------------------


def spoil(state: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    if how == "missing":
        del state["layer1.0.conv1.weight"]
    elif how == "unknown":
        state["extra.weight"] = torch.zeros(2)
    elif how == "shape":
        state["layer1.0.conv1.weight"] = torch.zeros(9, 2, 3, 3)
    elif how == "nan":
        state["layer2.1.conv2.weight"][0, 0, 0, 0] = float("nan")
    elif how == "infinity":
        state["bn1.running_var"][1] = float("inf")
    return state


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", r"do not fit resnet20: layer1.0.conv1.weight \(2, 2, 3, 3\) is missing"),
        ("unknown", r"extra.weight \(2,\) is not in the model"),
        ("shape", r"layer1.0.conv1.weight is \(9, 2, 3, 3\) in the file, \(2, 2, 3, 3\) in the model"),
        ("nan", r"layer2.1.conv2.weight holds NaN or infinity \(1 of 81 values\)"),
        ("infinity", r"bn1.running_var holds NaN or infinity \(1 of 2 values\)"),
    ],
)
def test_weights_that_do_not_fit_name_the_tensor(how: str, said: str, model: nn.Module, tmp_path: Path) -> None:
    torch.save(spoil(dict(model.state_dict()), how), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=said) as caught:
        load_model("resnet20", weights=tmp_path / "w.pth", **SMALL)
    assert "\n" not in str(caught.value)


def test_only_the_first_differences_are_listed(model: nn.Module, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"do not fit resnet56: .*; and \d+ more"):
        load_model("resnet56", weights=tmp_path / "w.pth", **SMALL)


def test_another_number_of_classes_names_the_head(model: nn.Module, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"fc.weight is \(5, 4\) in the file, \(100, 4\) in the model"):
        load_model("resnet20", weights=tmp_path / "w.pth", num_classes=100, **SMALL)


# --- hostile files: small, and without an end -----------------------------------------------------------------


def cycle(keys: tuple[str, ...]) -> dict[str, Any]:
    """Tables within each other, the last of which holds the first."""
    tables: list[dict[str, Any]] = [{} for _ in keys]
    for number, key in enumerate(keys):
        tables[number][key] = tables[(number + 1) % len(keys)]
    return tables[0]


def nested(depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {"a": torch.zeros(1)}
    for _ in range(depth):
        table = {"model": table}
    return table


def endless_list() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


HOSTILE: dict[str, Callable[[], Any]] = {
    "itself": lambda: cycle(("state_dict",)),
    "itself, as model": lambda: cycle(("model",)),
    "in a circle": lambda: cycle(("state_dict", "model", "net")),
    "a deep table": lambda: nested(100),
    "a list of itself": endless_list,
    "a table of lists of itself": lambda: {"model": endless_list()},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_table_without_an_end_is_refused(make: Callable[[], Any], legacy: bool, tmp_path: Path) -> None:
    torch.save(make(), tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ArtifactError, match="no table of tensors") as caught:
        read_weights(tmp_path / "w.pth")
    assert len(str(caught.value)) < 500


def archive(path: Path, pickled: bytes, more: Mapping[str, bytes] | None = None, packing: int = 0) -> Path:
    """A file as torch.save writes it, around a pickle of one's own."""
    parts = {"data.pkl": pickled, "version": b"3\n", "byteorder": b"little", **(more or {})}
    with zipfile.ZipFile(path, "w", packing) as file:
        for name, content in parts.items():
            file.writestr(f"archive/{name}", content)
    return path


EMPTY_TABLE, EMPTY_TUPLE, VALUE, STOP = b"}", b")", b"K\x01", b"."
ONE_IN_THE_OTHER = EMPTY_TUPLE + b"\x85" * 300_000  # a tuple of a tuple of ...
TWICE_EACH = EMPTY_TUPLE + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))  # 2**60 parts
LARGE = b"\x8a\x0a" + (10**20).to_bytes(10, "little")


@pytest.mark.parametrize(
    ("pickled", "said"),
    [
        (EMPTY_TABLE + ONE_IN_THE_OTHER + VALUE + b"s" + STOP, "a value of too many parts, or too deep"),
        (EMPTY_TABLE + TWICE_EACH + VALUE + b"s" + STOP, "a value of too many parts"),
        (EMPTY_TABLE + LARGE + VALUE + b"s" + STOP, "truncated|no table of tensors"),
        (b"(" * 100_000 + STOP, "truncated, or not a file of weights"),
        (b"h\x07" + STOP, "truncated, or not a file of weights"),
        (b"00" + STOP, "truncated, or not a file of weights"),
        (b"cbuiltins\nbytearray\n" + LARGE + b"\x85R" + STOP, "truncated, or not a file of weights"),
    ],
    ids=["deep", "doubling", "large key", "marks", "no memo", "empty stack", "large bytes"],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_nobody_could_hold_is_refused(pickled: bytes, said: str, legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    if legacy:
        head = (0x1950A86A20F9469CFC6C, 1001, {})  # magic number, version, sizes of types
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + pickled)
    else:
        archive(path, b"\x80\x02" + pickled)
    with pytest.raises(ArtifactError, match=said):
        read_weights(path)


def test_an_archive_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "w.pth", b"\x80\x02}.", {"data/0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(ArtifactError, match="unpack to more bytes than the file has"):
        read_weights(path)


def test_a_large_table_beside_the_tensors_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "w.pth", b"\x80\x02" + bytes(20_000_000))
    with pytest.raises(ArtifactError, match="a table of 20000002 bytes besides its tensors"):
        read_weights(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: torch.zeros(1).expand(1 << 45), r"a is \(35184372088832,\), more than this machine's memory"),
        (lambda: torch.eye(3).to_sparse(), "a is a sparse_coo tensor"),
        (lambda: torch.zeros(1 << 45, device="meta"), "a is a meta tensor"),
        (lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8), "a is a quantized tensor"),
    ],
    ids=["expanded", "sparse", "meta", "quantized"],
)
@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning")
def test_a_tensor_that_does_not_hold_its_values_is_refused(
    make: Callable[[], Tensor], said: str, tmp_path: Path
) -> None:
    torch.save({"a": make()}, tmp_path / "w.pth")
    with pytest.raises(ArtifactError, match=said):
        read_weights(tmp_path / "w.pth")


def test_complex_numbers_are_no_weights(model: nn.Module, tmp_path: Path) -> None:
    torch.save({**model.state_dict(), "fc.bias": torch.zeros(5, dtype=torch.complex64)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"fc.bias is of torch.complex64 in the file, of torch.float32"):
        load_model("resnet20", weights=tmp_path / "w.pth", **SMALL)


class Payload:
    """Would run on unpickling."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("pwned"),)


@pytest.mark.parametrize(
    "content", [{"state_dict": {"a": Payload()}}, nn.Linear(1, 1)], ids=["payload", "whole module"]
)
def test_python_objects_are_never_unpickled(content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "w.pth")
    with pytest.raises(
        ArtifactError, match=r"holds a Python object \((getattr|torch\.nn\.\S*)\) besides tensors.*state_dict\(\)"
    ):
        read_weights("w.pth")
    assert not Path("pwned").exists()


@pytest.mark.parametrize("content", [{}, {"a": 1}, [torch.zeros(1)], {"model": {"x": "y"}}, torch.zeros(2)], ids=str)
def test_a_file_without_a_table_of_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ArtifactError, match="no table of tensors"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(legacy: bool, share: float, model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtifactError, match=r"w\.pth: truncated, or ") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_noise_is_refused(name: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for size in (1, 10, 1000):
        (tmp_path / name).write_bytes(generator.bytes(size))
        with pytest.raises(ArtifactError, match=name):
            read_weights(tmp_path / name)


def test_a_missing_file_is_named() -> None:
    for name in ("no/such.pth", "no/such.safetensors"):
        with pytest.raises(ArtifactError, match=f"{name}: cannot be read: it does not exist"):
            load_model("resnet20", weights=name)


# --- the real ones ------------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "least"), [("resnet20", 0.90), ("resnet56", 0.92)])
def test_the_real_weights_know_what_they_are(name: str, least: float, weights_root: Path, data_root: Path) -> None:
    model = load_model(name, weights=weights_root / f"cifar10-{name}.safetensors")
    normalization = provenance_of(model).normalization
    assert normalization is not None
    raw = np.fromfile(data_root / "cifar-10-batches-bin" / "test_batch.bin", dtype=np.uint8, count=500 * 3073)
    rows = torch.from_numpy(raw.reshape(500, 3073))
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (normalization.mean, normalization.std))
    images = (rows[:, 1:].reshape(-1, 3, 32, 32) / 255 - mean) / std
    with torch.no_grad():
        correct = model(images).argmax(1) == rows[:, 0]
    assert correct.float().mean() >= least
