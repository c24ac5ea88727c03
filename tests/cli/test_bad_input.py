"""Bad input gets one clear line and exit code 2, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_call import Answer, Call
from PIL import Image
from safetensors.torch import load_file, save_file

_QUICK = ("--data-set", "digits", "--epochs", "0")


def _check(answer: Answer, *texts: str) -> None:
    assert answer.code == 2, answer
    told = [line for line in answer.err.splitlines() if not line.startswith(("note: ", "\u2713 "))]
    assert len(told) == 1, answer.err
    assert told[0].startswith("error: ")
    for text in texts:
        assert text in told[0], (text, told[0])


def _made(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["--model", "resnet57"], ["resnet57", "resnet56"]),
        (["--criterion", "nuclar"], ["nuclar", "nuclear"]),
        (["--data-set", "digit"], ["digit", "digits"]),
        (["--protocol", "modrn"], ["modrn", "modern"]),
        (["--base-protocol", "modrn"], ["modrn", "modern"]),
        (["--direction", "foward"], ["foward", "forward"]),
        (["--scheme", "unifrom"], ["unifrom", "uniform"]),
        (["--shortcut", "avrage"], ["avrage", "average"]),
        (["--budget", "macs=1.5"], ["1.5", "0.5"]),
        (["--budget", "macs=0"], ["macs=0", "between 0 and 1"]),
        (["--budget", "macs=-0.3"], ["-0.3"]),
        (["--budget", "macs=nan"], ["nan"]),
        (["--budget", "macs=half"], ["half", "macs=0.5"]),
        (["--budget", "mac=0.5"], ["mac", "macs"]),
        (["--budget", "0.5"], ["budget", "macs"]),
        (["--budget", "macs=0.03"], ["macs=0.03", "coupled"]),
        (["--budget", "macs=0.5", "--prune-cfg", "1"], ["budget", "recipe 1", "one of them"]),
        (["--prune-cfg", "1"], ["resnet56 1, 2, 3"]),
        (["--model", "resnet56", "--prune-cfg", "9"], ["9", "resnet56 1, 2, 3"]),
        (["--epochs", "-1"], ["-1"]),
        (["--batch-size", "0"], ["0"]),
        (["--recalibrate", "1"], ["1", "at least 2"]),
        (["--images", "1"], ["1", "at least 2"]),
        (["--calibration", "no/such/folder"], ["no/such/folder", "not a folder"]),
        (["--calibration", "leavs"], ["leavs", "digits"]),
        (["--criterion", "reconstructoin"], ["reconstructoin"]),
        (["--model", "resnet56", "--prune-cfg", "1", "--scheme", "allocated"], ["allocated", "budget"]),
        (["--scheme", "allocated", "--budget", "memory=0.01"], ["memory=0.01", "have to stay"]),
        (["--criterion", "reconstruction", "--direction", "backward"], ["reconstruction", "direction"]),
        (["--device", "cuda:99"], ["cuda:99"]),
        (["--device", "gpu"], ["'gpu': no kind of device; give cpu, cuda"]),
        (["--weights", "missing.safetensors"], ["missing.safetensors", "does not exist"]),
        (["--model", "no/such/folder"], ["no/such/folder"]),
        (["--resume"], ["--save-path"]),
        (["--data-set", "CIFAR10", "--data-root", "."], ["cifar10"]),
        (["--data-set", "imagenet", "--data-root", "."], ["imagenet", "train"]),
        (["--scores", "s.safetensors"], ["scores", "give weights"]),
        (["--set", "epoch=3"], ["epoch", "epochs"]),
        (["--set", "schedule=linear"], ["schedule", "cosine"]),
        (["--base-set", "epochs"], ["--base-set", "epochs", "name=value"]),
        (["--epochs", "1", "--set", "epochs=2"], ["epochs", "--set"]),
        (["--rounds", "0"], ["rounds", "at least 1"]),
        (["--rounds", "2", "--budget", "channels=100"], ["rounds", "channels=100", "share"]),
        (["--round-protocol", "shrt"], ["shrt", "short"]),
        (["--teacher", "nowhere"], ["teacher", "nowhere"]),
        (["--tracker", "tensorbord"], ["tensorbord", "tensorboard"]),
    ],
)
def test_run_refuses(
    words: list[str], texts: list[str], reconv: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", no_network)
    _check(reconv("run", *words), *texts)
    assert _made(tmp_path) == set()


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["profile", "--model", "resnt50"], ["resnt50"]),
        (["profile", "--model", "resnet20", "--image-size", "0"], ["0"]),
        (["inspect", "--model", "torchvision:nothing"], ["nothing"]),
        (["list", "modules"], ["modules", "models"]),
        (["list", "models", "--source", "tim"], ["tim", "timm"]),
        (["evaluate", "--model", "resnet20", "--data-set", "digits", "--split", "tset"], ["tset", "test"]),
        (["evaluate", "--model", "resnet20", "--data-set", "digits", "--batch-size", "0"], ["0"]),
        (["saliency", "--model", "resnet20", "--criterion", "sepc"], ["sepc", "spec"]),
        (["saliency", "--model", "resnet20", "--metric", "l1", "--compare", "none.py"], ["none.py", "does not exist"]),
        (["prune", "--model", "resnet32", "--budget", "macs=0.5"], ["resnet32", "--weights"]),
        (["prune", "--model", "resnet20", "--weights", "none", "--budget", "macs=0.5"], ["resnet20", "random"]),
        (["prune", "resnet20"], ["--budget", "--recipe"]),
        (["finetune", "--refine", "nowhere", "--data-set", "digits"], ["nowhere"]),
        (["finetune", "--refine", "nowhere"], ["--data-set"]),
        (["train", "--model", "resnet20", "--data-set", "digits", "--epochs", "-3"], ["-3"]),
        (["train", "--model", "resnet20", "--data-set", "digits", "--teacher", "base"], ["teacher", "resnet20/base"]),
        (["protocols", "shrt"], ["shrt", "short"]),
    ],
)
def test_other_commands_refuse(words: list[str], texts: list[str], reconv: Call, tmp_path: Path) -> None:
    _check(reconv(*words), *texts)
    assert _made(tmp_path) == set()


@pytest.fixture
def spoilt(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights, each spoilt in a way of its own."""
    folder = tmp_path_factory.mktemp("spoilt")
    content = weights.read_bytes()
    files = {
        name: folder / name
        for name in (
            "half.safetensors",
            "text.safetensors",
            "half.pth",
            "evil.pth",
            "nan.safetensors",
            "other.safetensors",
        )
    }
    files["half.safetensors"].write_bytes(content[: len(content) // 2])
    files["text.safetensors"].write_text("weights")
    torch.save(load_file(weights), files["half.pth"])
    files["half.pth"].write_bytes(files["half.pth"].read_bytes()[:5000])
    torch.save({"weights": _Evil()}, files["evil.pth"])
    tensors = load_file(weights)
    tensors["layer2.0.conv1.weight"][3, 2, 1, 0] = float("nan")
    save_file(tensors, files["nan.safetensors"])
    tensors = load_file(weights)
    tensors["layer2.0.conv1.weight"] = torch.zeros(32, 16, 5, 5)
    save_file(tensors, files["other.safetensors"])
    return files


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("evil-was-here"),))


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("half.safetensors", ["half.safetensors"]),
        ("text.safetensors", ["text.safetensors"]),
        ("half.pth", ["half.pth"]),
        ("evil.pth", ["evil.pth"]),
        ("nan.safetensors", ["layer2.0.conv1"]),
        ("other.safetensors", ["layer2.0.conv1.weight", "5, 5", "3, 3"]),
    ],
)
def test_spoilt_weights_are_refused(
    name: str, texts: list[str], spoilt: dict[str, Path], reconv: Call, tmp_path: Path
) -> None:
    words = ("prune", "--model", "resnet20", "--weights", spoilt[name], "--budget", "macs=0.5", *_QUICK)
    _check(reconv(*words, "--save-path", "out"), *texts)
    assert _made(tmp_path) == set()


def test_weights_for_other_images_are_refused(weights: Path, reconv: Call, tmp_path: Path) -> None:
    words = ("--model", "resnet20", "--weights", weights, "--data-set", "CIFAR10")
    _check(reconv("profile", *words), "conv1.weight")
    assert _made(tmp_path) == set()


def test_an_unreachable_budget_says_what_can_be_reached(weights: Path, reconv: Call, tmp_path: Path) -> None:
    words = ("prune", "--model", "resnet20", "--weights", weights, *_QUICK, "--metric", "l1", "--save-path", "out")
    answer = reconv(*words, "--budget", "macs=0.02")
    _check(answer, "macs=0.02", "ask for macs=0.")
    reachable = answer.err.split("ask for ")[1].split()[0]
    assert _made(tmp_path) == set()
    assert reconv(*words, "--budget", reachable).code == 0


def _images(folder: Path, classes: int) -> Path:
    for part in ("train", "val"):
        for label in range(classes):
            place = folder / part / f"class{label}"
            place.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (40, 40), (60 * label, number, 0)).save(place / f"{number}.png")
    return folder


@pytest.mark.parametrize(("classes", "texts"), [(0, ["train"]), (1, ["class"])])
def test_folders_with_too_few_classes_are_refused(
    classes: int, texts: list[str], reconv: Call, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("images")
    (folder / "train").mkdir()
    (folder / "val").mkdir()
    for part in ("train", "val"):
        (folder / part).rmdir()
    _images(folder, classes)
    (folder / "train").mkdir(exist_ok=True)
    _check(reconv("run", "--model", "resnet20", "--data-set", folder), str(folder), *texts)
    assert _made(tmp_path) == set()


def test_an_occupied_folder_is_left_as_it_is(weights: Path, reconv: Call, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear reader")
    words = ("prune", "--model", "resnet20", "--weights", weights, "--budget", "macs=0.5", *_QUICK)
    _check(reconv(*words, "--save-path", "mine"), "mine", "--overwrite")
    _check(reconv(*words, "--save-path", "mine", "--overwrite"), "mine", "not made by reconv")
    _check(reconv(*words, "--save-path", "mine", "--resume"), "mine", "resume")
    _check(reconv(*words, "--save-path", "mine/letter.txt"), "mine/letter.txt", "is a file")
    _check(reconv(*words, "--save-path", "mine/letter.txt/below"), "mine/letter.txt/below")
    assert _made(tmp_path) == {"mine", "mine/letter.txt"}


def test_a_run_is_resumed_with_the_same_options_only(weights: Path, reconv: Call, tmp_path: Path) -> None:
    words = ("prune", "--model", "resnet20", "--weights", weights, *_QUICK, "--metric", "l1", "--save-path", "out")
    assert reconv(*words, "--budget", "macs=0.5").code == 0
    _check(reconv(*words, "--budget", "macs=0.5"), "out", "--overwrite")
    _check(reconv(*words, "--budget", "macs=0.5", "--resume"), "out", "finished")
    (tmp_path / "out" / "metrics.json").unlink()
    _check(reconv(*words, "--budget", "macs=0.6", "--resume"), "compression.budget", "0.5", "0.6")
    assert reconv(*words, "--budget", "macs=0.5", "--resume").code == 0
    (tmp_path / "out" / "metrics.json").unlink()
    (tmp_path / "out" / "config.json").write_text('{"model": ')
    _check(reconv(*words, "--budget", "macs=0.5", "--resume"), "config.json", "JSON")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("__import__('os').mkdir('evil')\n", "line 1"),
        ("nucs2=[tensor(1.0)]\nimport os\n", "line 2"),
        ("nucs2=[tensor(1.0), open('evil', 'w')]\n", "line 1"),
    ],
)
def test_score_files_are_never_executed(
    text: str, line: str, weights: Path, reconv: Call, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("scores") / "resnet20_nucs.py"
    file.write_text(text)
    words = ("--model", "resnet20", "--weights", weights, "--data-set", "digits")
    _check(reconv("saliency", *words, "--metric", "l1", "--compare", file), line)
    _check(reconv("prune", *words, "--budget", "macs=0.5", "--epochs", "0", "--scores", file), line)
    assert _made(tmp_path) == set()
