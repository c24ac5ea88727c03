"""Each command does what it says, on real digits and a network that is trained for a moment."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from cli_call import Call

from reconv.artifacts import load, load_saliency, save_saliency
from reconv.cost import profile
from reconv.graph import trace
from reconv.networks import example_of
from reconv.saliency import score
from reconv.zoo import load_model


def test_run_leaves_a_folder_with_everything(reconv: Call, tmp_path: Path) -> None:
    answer = reconv("run", "--base-epochs", "1", "--epochs", "1", "--recalibrate", "64", "--seed", "3")
    assert answer.code == 0, answer.err
    folder = tmp_path / "runs" / "resnet20-digits-nuclear"
    expected = {"config.json", "base", "scores.safetensors", "plan.json", "model", "metrics.json", "report.html"}
    assert expected <= {path.name for path in folder.iterdir()}
    for text in ("top-1 accuracy", "MACs", "parameters", "file size", "latency, batch 1", "latency, batch 64"):
        assert text in answer.out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["after"]["macs"] <= 0.5 * metrics["before"]["macs"]
    assert 0 <= metrics["after"]["accuracy"] <= 1
    assert metrics["verified"] < 1e-10
    assert [row["stage"] for row in metrics["stages"]] == [
        "base training",
        "before pruning",
        "score channels",
        "choose and prune",
        "verify",
        "validate",
        "recalibrate BatchNorm",
        "fine-tuning",
        "test",
        "measure latency",
    ]
    assert json.loads((folder / "config.json").read_text())["compression"]["seed"] == 3
    assert not list(folder.glob("training/*/*.safetensors"))
    small = load(folder / "model")
    assert profile(trace(small, example_of("digits")[0])).macs == metrics["after"]["macs"]
    report = (folder / "report.html").read_text()
    assert "reconv" in report
    assert "validation" in report

    again = reconv("run", "--base-epochs", "0", "--epochs", "0")
    assert again.code == 0
    assert (tmp_path / "runs" / "resnet20-digits-nuclear-2" / "report.html").is_file()
    evaluated = reconv("evaluate", "--model", folder, "--data-set", "digits")
    assert f"top-1 {metrics['after']['accuracy']:.2%}" in evaluated.out


@pytest.mark.slow
def test_prune_then_finetune_then_train_further(weights: Path, reconv: Call, tmp_path: Path) -> None:
    words = ("--model", "resnet20", "--weights", weights, "--data-set", "digits")
    scored = reconv(
        "saliency", *words, "--metric", "fro", "--metric", "l1", "--save-path", "scores", "--plot", "s.html"
    )
    assert scored.code == 0, scored.err
    assert "layer1.0.conv1" in scored.out
    assert "closed form" in scored.out
    assert "<svg" in (tmp_path / "s.html").read_text()
    saved = load_saliency(tmp_path / "scores" / "frobenius.safetensors")
    assert len(saved.values["layer3.0.conv2"]) == 64
    compared = reconv("saliency", *words, "--metric", "fro", "--compare", "scores/frobenius.safetensors")
    assert "mean 1.0000" in compared.out

    cut = ("prune", *words, "--budget", "macs=0.6", "--scores", "scores/frobenius.safetensors", "--save-path", "p")
    pruned = reconv(*cut, "--no-finetune")
    assert pruned.code == 0, pruned.err
    assert "16 ->" in pruned.out
    tuned = reconv("finetune", "--refine", "p", "--data-set", "digits", "--epochs", "1", "--save-path", "q")
    assert tuned.code == 0, tuned.err
    assert "validation" in tuned.out
    further = reconv("train", "--model", "q", "--data-set", "digits", "--epochs", "1", "--save-path", "r")
    assert further.code == 0, further.err
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["history"][0]["epoch"] == 1
    twice = reconv(
        "prune", "--model", "r", "--data-set", "digits", "--metric", "l2", "--budget", "macs=0.5", "--no-finetune"
    )
    assert twice.code == 0, twice.err


def test_the_papers_option_names(weights: Path, reconv: Call, tmp_path: Path) -> None:
    words = ("--model", "resnet56", "--data-set", "CIFAR10", "--metric", "fro", "--prune-cfg", "1", "--save-path", "P")
    from safetensors.torch import save_file

    from reconv.zoo import load_model

    save_file(load_model("resnet56").state_dict(), tmp_path / "w.safetensors")
    pruned = reconv("prune", *words, "--weights", "w.safetensors", "--rev", "--no-finetune")
    assert pruned.code == 0, pruned.err
    assert "frobenius, reversed" in pruned.out
    assert re.search(r"125,485,696 -> +86,", pruned.out)  # 31.1 % removed
    plan = json.loads((tmp_path / "P" / "plan.json").read_text())
    kept = {row["name"]: len(row["kept"]) for row in plan["groups"]}
    assert (kept["layer1.0.conv1"], kept["layer1.7.conv1"], kept["layer3.1.conv1"]) == (6, 16, 57)


def test_imagenet_is_pruned_without_its_images(reconv: Call, tmp_path: Path) -> None:
    import torch

    from reconv.zoo import load_model

    torch.save({"state_dict": load_model("torchvision:resnet18").state_dict()}, tmp_path / "w.pth")
    words = ("--model", "torchvision:resnet18", "--weights", "w.pth", "--data-set", "imagenet", "--metric", "l1")
    answer = reconv("prune", *words, "--budget", "macs=0.8", "--no-verify", "--save-path", "P")
    assert answer.code == 0, answer.err
    assert not (tmp_path / "P" / "training").exists()


@pytest.mark.slow
def test_a_librarys_model_is_looked_at_with_the_images_it_was_made_for(reconv: Call) -> None:
    def macs(*options: str) -> str:
        answer = reconv("profile", "--model", "torchvision:mobilenet_v3_small", *options)
        assert answer.code == 0, answer.err
        return answer.out.split("MACs        ")[1].split()[0]

    assert macs() == macs("--data-set", "imagenet")
    assert len({macs(), macs("--image-size", "96"), macs("--data-set", "CIFAR10")}) == 3


def test_profile_counts_and_inspect_explains(reconv: Call) -> None:
    counted = reconv("profile", "--model", "resnet56")
    assert "MACs        125,485,696 (125.5 M) per image" in counted.out
    assert "parameters  853,018" in counted.out
    explained = reconv("inspect", "--model", "resnet20")
    assert "residual stream" in explained.out
    assert "layer1.0.conv1" in explained.out
    branches = reconv("inspect", "--model", "resnet20", "--depth").out
    assert "9 branches, 7 may be removed as a whole" in branches
    assert "its shortcut changes the signal" in branches


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("models", "resnet110"),
        ("criteria", "nuclear, nuc"),
        ("data-sets", "cifar100"),
        ("protocols", "paper-cifar"),
        ("recipes", "--recipe 1, 2, 3"),
    ],
)
def test_list(kind: str, text: str, reconv: Call) -> None:
    assert text in reconv("list", kind).out


def test_protocols_lists_and_prints(reconv: Call) -> None:
    assert "paper-imagenet" in reconv("protocols").out
    printed = reconv("protocols", "short").out
    assert 'schedule = "cosine"' in printed
    assert "learning_rate = 0.01" in printed


def test_train_takes_any_key_and_tests_once(reconv: Call, tmp_path: Path) -> None:
    words = ("--model", "resnet20", "--data-set", "digits", "--set", "epochs=1", "--set", "schedule=constant")
    first = reconv("train", *words, "--save-path", "a")
    assert first.code == 0, first.err
    assert "360 images, once" in first.err
    assert "test        top-1" in first.out
    told = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert told["test"]["n"] == 360
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["base"]["changes"] == {"epochs": 1, "schedule": "constant"}
    taught = reconv("train", *words, "--teacher", "a", "--set", "distillation=0.9", "--save-path", "b")
    assert taught.code == 0, taught.err
    assert "with a teacher" in taught.err


@pytest.mark.slow
def test_rounds_on_the_command_line(reconv: Call, tmp_path: Path) -> None:
    words = ("--base-epochs", "1", "--round-epochs", "1", "--epochs", "0", "--no-verify", "--save-path", "r")
    answer = reconv("run", "--rounds", "2", "--budget", "macs=0.5", *words)
    assert answer.code == 0, answer.err
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert [row["number"] for row in metrics["rounds"]] == [1, 2]
    assert metrics["after"]["macs"] <= 0.5 * metrics["before"]["macs"] < metrics["rounds"][0]["macs"]


def test_scores_of_other_weights_are_used_and_noted(weights: Path, reconv: Call, tmp_path: Path) -> None:
    torch.manual_seed(1)  # other weights than the file's
    said = {}
    for name, file in (("own", weights), ("others", None)):
        model = load_model("resnet20", in_channels=1, weights=file)
        save_saliency(score(trace(model, torch.zeros(1, 1, 8, 8)), "l1"), tmp_path / f"{name}.safetensors")
        words = ("--model", "resnet20", "--data-set", "digits", "--weights", weights, "--budget", "macs=0.6")
        pruned = reconv("prune", *words, "--no-finetune", "--scores", f"{name}.safetensors", "--save-path", name)
        assert pruned.code == 0, pruned.err
        words = ("resnet20", "--data-set", "digits", "--weights", weights, "-c", "l1")
        compared = reconv("saliency", *words, "--compare", f"{name}.safetensors")
        assert compared.code == 0, compared.err
        texts = (pruned.out + pruned.err, compared.out + compared.err)
        said[name] = ["scores of other weights than these" in " ".join(text.split()) for text in texts]
    assert said == {"own": [False, False], "others": [True, True]}
