"""A network, data and a task of the user's own, in files that the user names, by commands alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cli_call import Call

from reconv.artifacts import save
from reconv.zoo import code, load_model

NET = """
import torch
from torch import nn

class MyNet(nn.Module):
    def __init__(self, width=16, num_classes=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.ReLU())
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.body(x).mean(3).amax(2))

def example():
    return torch.zeros(1, 1, 12, 12)
"""

TASK = """
import torch
from torch.utils.data import DataLoader, TensorDataset

labels = torch.arange(240) % 4
images = torch.randn(240, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * 0.1
for image, label in zip(images, labels.tolist()):
    image[0, :, : 3 * (label + 1)] += 1

def _loader(start, stop):
    return DataLoader(TensorDataset(images[start:stop], labels[start:stop]), 32)

def train_loader():
    return _loader(0, 160)

val_loader, test_loader = _loader(160, 200), _loader(200, 240)
"""


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's two files, in the folder that commands run in, with nothing named before."""
    monkeypatch.setattr(code, "_named", {})
    monkeypatch.setattr(code, "_files", {})
    for name, text in (("my_cli_net", NET), ("my_cli_task", TASK)):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("_files")
def test_a_private_class_is_run_compared_reported_and_studied(reconv: Call, tmp_path: Path) -> None:
    task = ("--task", "my_cli_task.py")
    run = reconv("run", "my_cli_net.py:MyNet", "--model-arg", "width=12", *task, "--base-epochs", "2", "-o", "R")
    assert run.code == 0, run.err
    assert "before pruning" in run.err
    assert "top-1 accuracy, test" in run.out

    assert "next    reconv export R --to onnx --code my_cli_net.py --example 1x1x12x12" in run.out

    evaluated = reconv("evaluate", "R", *task)  # the code was named in this process
    assert "40 images" in evaluated.out, evaluated.err
    code._named.clear()
    for words in (("evaluate", "R", *task), ("compare", "R/base", "R/model", *task)):
        refused = reconv(*words)
        assert refused.code == 2
        assert "never imports by itself" in refused.err
        assert "--code my_cli_net.py" in refused.err
    refused = reconv("compare", "R/base", "R/model", "--code", "my_cli_net.py")
    assert "name it: --task my_cli_task.py" in refused.err

    compared = reconv("compare", "R/base", "R/model", *task, "--code", "my_cli_net.py")
    assert compared.code == 0, compared.err
    assert "top-1, 40 test images" in compared.out

    code._named.clear()
    before = (tmp_path / "R" / "report.html").read_text()
    assert reconv("report", "R", "-o", "again.html").code == 0  # needs none of the code
    assert (tmp_path / "again.html").read_text() == before

    study = reconv(
        *("study", "my_cli_net.py:MyNet", "--model-arg", "width=12", "--weights", "R/base/weights.safetensors", *task),
        *("-c", "l1", "-c", "random", "-b", "macs=0.5", "--arm", "pruned-only", "-o", "S"),
    )
    assert study.code == 0, study.err
    assert (tmp_path / "S" / "report.html").is_file()

    (tmp_path / "with_metric.py").write_text(TASK + "def metric(outputs, targets):\n    return 0.5\n")
    refused = reconv("study", "my_cli_net.py:MyNet", "--weights", "none", "--task", "with_metric.py", "-o", "M")
    assert refused.code == 2
    assert "with_metric.py: defines metric, which a study does not use" in refused.err
    assert not (tmp_path / "M").exists()

    tuned = reconv("finetune", "R", *task, "--code", "my_cli_net.py", "--epochs", "1", "-o", "F")
    assert tuned.code == 0, tuned.err
    assert "40 images" in tuned.out


@pytest.mark.slow
@pytest.mark.usefixtures("_files")
def test_a_saved_private_class_is_studied_in_several_processes(reconv: Call, tmp_path: Path) -> None:
    save(load_model("my_cli_net.py:MyNet", width=8), tmp_path / "saved")
    answer = reconv(
        *("study", "saved", "--code", "my_cli_net.py", "--task", "my_cli_task.py", "--jobs", "2", "-o", "S"),
        *("-c", "l1", "-c", "l2", "-b", "macs=0.5", "--arm", "pruned-only"),
    )
    assert answer.code == 0, answer.err
    assert "0 cells cached, 3 computed" in answer.out


@pytest.mark.usefixtures("_files")
def test_inspect_and_profile_take_an_example_of_any_form(reconv: Call, tmp_path: Path) -> None:
    import numpy as np
    import torch

    torch.save(torch.zeros(1, 1, 12, 12), tmp_path / "x.pt")
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 1, 12, 12), np.float32))
    lines = set()
    for example in ("1x1x12x12", "x.pt", "x.npz", "my_cli_net.py:example"):
        answer = reconv("profile", "my_cli_net.py:MyNet", "--example", example)
        assert answer.code == 0, answer.err
        lines.add(answer.out)
    assert len(lines) == 1


@pytest.mark.usefixtures("_files")
def test_calibration_images_alone(reconv: Call, tmp_path: Path) -> None:
    import torch
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for number in range(40):
        pixels = torch.randint(0, 255, (14, 15, 3), generator=torch.Generator().manual_seed(number)).byte().numpy()
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    net, alone = ("prune", "my_cli_net.py:MyNet", "--weights", "pretrained"), ("--calibration", "photos")
    answer = reconv(*net, *alone, "--budget", "macs=0.5", "--example", "1x1x12x12", "-o", "P")
    assert answer.code == 0, answer.err
    assert "agreement" in answer.err
    assert "repair" in answer.err
    assert "photos" in answer.err


REGRESSION = """
import torch

def _pairs(start, stop):
    images = torch.randn(240, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    return images[start:stop], images[start:stop].mean((2, 3)).repeat(1, 4)

train_loader, val_loader, test_loader = _pairs(0, 160), _pairs(160, 200), _pairs(200, 240)

def loss(outputs, targets):
    return (outputs - targets).square().mean()
"""


@pytest.mark.usefixtures("_files")
def test_a_network_that_is_no_classifier_comes_to_a_report(reconv: Call, tmp_path: Path) -> None:
    (tmp_path / "my_regression.py").write_text(REGRESSION)
    words = ("--base-epochs", "1", "--epochs", "1", "--images", "32", "-o", "R")
    run = reconv("run", "my_cli_net.py:MyNet", "--task", "my_regression.py", *words)
    assert run.code == 0, run.err
    page = (tmp_path / "R" / "report.html").read_text()
    assert "training: loss" in page
    assert "top-1 accuracy (%) over epochs" not in page


@pytest.mark.usefixtures("_files")
def test_a_run_trains_without_labels(reconv: Call, tmp_path: Path) -> None:
    task = ("--task", "my_cli_task.py")
    words = ("--base-epochs", "1", "--protocol", "after-repair", "--epochs", "1", "--images", "32", "-o", "R")
    run = reconv("run", "my_cli_net.py:MyNet", *task, "--no-labels", *words)
    assert run.code == 0, run.err
    assert "agreement" in (tmp_path / "R" / "report.html").read_text()
    tuned = reconv("finetune", "R", *task, "--code", "my_cli_net.py", "--no-labels", "--epochs", "1", "-o", "F")
    assert tuned.code == 0, tuned.err


def test_a_task_that_cannot_be_used_is_refused_in_a_line(reconv: Call, tmp_path: Path) -> None:
    for text, said in (
        ("x = 1\n", "defines none of example, train_loader"),
        ("validation_loader = [1]\ntrain_loader = [1]\n", "validation_loader is not known; did you mean"),
        ("def train_loader(n): ...\n", "train_loader() fails"),
        ("loss = 3\n", "loss is a int"),
    ):
        (tmp_path / "task_of_mine.py").write_text(text)
        code._files.clear()
        answer = reconv("run", "resnet20", "--task", "task_of_mine.py")
        assert answer.code == 2
        assert said in answer.err, answer.err
    assert "no such file" in reconv("run", "resnet20", "--task", "nothing.py").err
