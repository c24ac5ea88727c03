"""The published score files are read exactly, and nothing in them ever runs."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published_files import LITERALS, Literal, write_published_scores
from torch import Tensor, nn

from reconv.errors import ArtifactError
from reconv.graph import trace
from reconv.provenance import ModelSpec
from reconv.published_scores import read_published_scores
from reconv.saliency import score
from reconv.zoo import build_skeleton, load_model

HEADS = ["", "import torch", "from torch import tensor\nfrom numpy import array, float32", "import numpy as np"]


@cache
def net(name: str) -> nn.Module:
    return build_skeleton(ModelSpec(name))


def scores_of(channels: int) -> Tensor:
    return torch.rand(channels, dtype=torch.float64) * 100


@pytest.mark.parametrize("literal", LITERALS.values(), ids=LITERALS.keys())
@pytest.mark.parametrize("head", HEADS, ids=["bare", "torch", "names", "numpy"])
def test_every_literal_is_read_exactly(literal: Literal, head: str, tmp_path: Path) -> None:
    layers = {2: scores_of(16), 4: scores_of(16), 14: scores_of(64)}
    path = write_published_scores(tmp_path / "f.py", "nucs", layers, literal, head)
    found = read_published_scores(path, net("resnet20"))
    assert found.criterion == "nuclear"
    assert list(found.values) == ["layer1.0.conv1", "layer1.1.conv1", "layer3.0.conv1"]
    for values, expected in zip(found.values.values(), layers.values()):
        assert torch.equal(values, expected)


def test_squared_singular_values_become_singular_values(tmp_path: Path) -> None:
    sigma = scores_of(16)
    path = write_published_scores(tmp_path / "f.py", "eigvs", {4: sigma**2}, LITERALS["array"])
    found = read_published_scores(path, net("resnet20"))
    assert found.criterion == "spectral"
    torch.testing.assert_close(found.values["layer1.1.conv1"], sigma)


def test_an_eigenvalue_a_rounding_below_zero_is_zero(tmp_path: Path) -> None:
    values = scores_of(16)
    values[3] = -1e-9
    path = write_published_scores(tmp_path / "f.py", "eigvs", {2: values}, LITERALS["number"])
    assert read_published_scores(path, net("resnet20")).values["layer1.0.conv1"][3] == 0


# Most are the blocks that the paper skips, by the numbers that its code gives them.
@pytest.mark.parametrize(
    ("model", "number", "name", "channels"),
    [
        ("resnet56", 2, "layer1.0.conv1", 16),
        ("resnet56", 16, "layer1.7.conv1", 16),
        ("resnet56", 20, "layer2.0.conv1", 32),
        ("resnet56", 38, "layer3.0.conv1", 64),
        ("resnet56", 54, "layer3.8.conv1", 64),
        ("resnet110", 36, "layer1.17.conv1", 16),
        ("resnet110", 74, "layer3.0.conv1", 64),
        ("torchvision:resnet34", 8, "layer2.0.conv1", 128),
        ("torchvision:resnet34", 14, "layer2.3.conv1", 128),
        ("torchvision:resnet34", 32, "layer4.2.conv1", 512),
        ("vgg16_bn", 0, "features.0", 64),
        ("vgg16_bn", 7, "features.24", 512),
        ("vgg16_bn", 12, "features.40", 512),
        ("torchvision:vgg16_bn", 12, "features.40", 512),
    ],
)
def test_numbers_become_names(model: str, number: int, name: str, channels: int, tmp_path: Path) -> None:
    path = write_published_scores(tmp_path / "f.py", "fros", {number: scores_of(channels)}, LITERALS["tensor"])
    found = read_published_scores(path, net(model))
    assert found.criterion == "frobenius"
    assert list(found.values) == [name]


def test_our_own_scores_written_in_that_syntax_come_back(tmp_path: Path) -> None:
    model = load_model("resnet20")
    ours = score(trace(model, torch.zeros(1, 3, 32, 32)), "frobenius").values
    layers = {2 * b + 2: ours[f"layer{b // 3 + 1}.{b % 3}.conv1"] for b in range(9)}
    path = write_published_scores(tmp_path / "f.py", "fros", layers, LITERALS["tensor"])
    found = read_published_scores(path, model).values
    assert len(found) == 9
    assert all(torch.equal(values, ours[name]) for name, values in found.items())


REFUSED = {
    "a call": ("print(1)", 1, "is not a list of scores"),
    "a hidden call": (
        "nucs2=[tensor(1.0)]\nnucs4=[__import__('os').system('touch pwned')]",
        2,
        "is not a number",
    ),
    "a call in a call": ("nucs2=[tensor(open('pwned', 'w'))]", 1, "is not a number"),
    "a call as device": ("nucs2=[tensor(1.0, device=open('pwned', 'w'))]", 1, "is not a number"),
    "another keyword": ("nucs2=[tensor(1.0, out=1)]", 1, "is not a number"),
    "a dictionary as keywords": ("nucs2=[tensor(1.0, **{})]", 1, "is not a number"),
    "a foreign function": ("nucs2=[os.tensor(1.0)]", 1, "is not a number"),
    "two arguments": ("nucs2=[tensor(1.0, 2.0)]", 1, "is not a number"),
    "a comprehension": ("nucs2=[1.0 for _ in range(9)]", 1, "is not a number"),
    "arithmetic": ("nucs2=[9**9**9**9]", 1, "is not a number"),
    "a string": ("nucs2=['1.0']", 1, "is not a number"),
    "a truth": ("nucs2=[True]", 1, "is not a number"),
    "a complex number": ("nucs2=[1j]", 1, "is not a number"),
    "not a number": ("nucs2=[nan]", 1, "is not a number"),
    "infinity": ("nucs2=[1e999]", 1, "a number too large"),
    "a huge integer": (f"nucs2=[{'9' * 4000}]", 1, "a number too large"),
    "a longer integer": (f"nucs2=[{'9' * 9000}]", 1, "a number too large"),
    "a negative norm": ("nucs2=[-1.5]", 1, "-1.5 is negative"),
    "a plus sign": ("nucs2=[+1.5]", 1, "is not a number"),
    "a starred list": ("nucs2=[*[1.0]]", 1, "is not a list of scores"),
    "an empty list": ("nucs2=[]", 1, "an empty list"),
    "an import": ("import torch\nimport os", 2, "is not a list of scores"),
    "an import from": ("from os import system", 1, "is not a list of scores"),
    "a relative import": ("from . import tensor", 1, "is not a list of scores"),
    "an import of more": ("from torch import load", 1, "is not a list of scores"),
    "everything": ("from torch import *", 1, "is not a list of scores"),
    "another name": ("scores=[1.0]", 1, "is not a list of scores"),
    "a redefinition": ("tensor=[1.0]", 1, "is not a list of scores"),
    "an attribute": ("a.nucs2=[1.0]", 1, "is not a list of scores"),
    "two names": ("nucs2=nucs4=[1.0]", 1, "is not a list of scores"),
    "an annotation": ("nucs2: print(1) = [1.0]", 1, "is not a list of scores"),
    "a function": ("\n\ndef f(): pass", 3, "is not a list of scores"),
    "a walrus": ("nucs2=[(x := 1.0)]", 1, "is not a number"),
    "two kinds": (f"nucs2={[1.0] * 16}\nfros4={[1.0] * 16}", 2, "fros in a file of nucs"),
    "a layer twice": (f"nucs2={[1.0] * 16}\nnucs2={[1.0] * 16}", 2, "nucs2 a second time"),
    "a layer the model lacks": ("nucs3=[1.0]", 1, r"layer 3 is not one of this model's \(2, 4, ... 18\)"),
    "another number of channels": ("nucs2=[1.0, 2.0]", 1, r"2 scores for layer1\.0\.conv1, which has 16"),
    "half a line": ("nucs2=[tensor(1.0), tens", 1, "is not a list of scores"),
    "a backward function": ("nucs2=[tensor(1.0, grad_fn=<NormBackward1>)]", 1, "is not a number"),
    "nothing": ("# only a comment", 1, "no scores"),
    "a null byte": ("nucs2=[1.0]\0", 1, "is not a list of scores"),
    "deep lists": ("nucs2=" + "[" * 20 + "1.0" + "]" * 20, 1, "is not a list of scores"),
    "very deep lists": ("nucs2=" + "[" * 5000 + "]" * 5000, 1, "is not a list of scores"),
    "deep signs": ("nucs2=[" + "-" * 100_000 + "1.0]", 1, "is not a number"),
    "deep sums": ("nucs2=[" + "1+" * 100_000 + "1]", 1, "is not a number"),
    "deep calls": ("nucs2=[" + "tensor(" * 60 + "1.0" + ")" * 60 + "]", 1, "is not a number"),
}


@pytest.mark.parametrize(("source", "line", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_by_line(
    source: str, line: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.py").write_text(source)
    with pytest.raises(ArtifactError, match=rf"^f\.py, line {line}: .*({said})") as caught:
        read_published_scores("f.py", net("resnet20"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert [path.name for path in tmp_path.iterdir()] == ["f.py"]


def test_a_file_too_large_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("nucs2=[" + "1," * (2 << 20) + "]")
    start = time.perf_counter()
    with pytest.raises(ArtifactError, match="more than 2097152 bytes"):
        read_published_scores(tmp_path / "f.py", net("resnet20"))
    assert time.perf_counter() - start < 2


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_bytes(b"# coding: utf-7\n\xff\xfe")
    with pytest.raises(ArtifactError, match="not a text file"):
        read_published_scores(tmp_path / "f.py", net("resnet20"))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="nucsetor=[]()0123456789.,-+*'\n #:", max_size=80))
def test_noise_is_refused_with_our_error(tmp_path_factory: pytest.TempPathFactory, source: str) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.py"
    path.write_text(source)
    with pytest.raises(ArtifactError):
        read_published_scores(path, net("vgg16_bn"))


@pytest.mark.parametrize("name", ["torchvision:resnet101", "torchvision:mobilenet_v2"])
def test_models_without_published_files_are_refused(name: str, tmp_path: Path) -> None:
    path = write_published_scores(tmp_path / "f.py", "nucs", {2: scores_of(64)}, LITERALS["tensor"])
    with pytest.raises(ArtifactError, match="no score files of such a model were published"):
        read_published_scores(path, net(name))
