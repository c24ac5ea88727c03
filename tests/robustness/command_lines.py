"""Command lines drawn at random from all options, with right, wrong and hostile values, run in this process."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import typer
from attempts import DONE, FAULT, REFUSED, Accepted, TooLong, limited
from fuzzing import Counts
from mutations import mutate
from small import IMAGES, NET, network, saved

from reconv.artifacts import save_saliency
from reconv.cli.app import build_app, main
from reconv.graph import trace
from reconv.saliency import score

_MODELS = (NET, "resnet20", "small-net", "start", "torchvision:resnet18", "timm:nothing", "vgg16_bn", "run", "hf:x", "")
_WORDS = (
    "", " ", "x", "-1", "0", "1", "2", "16", "0.5", "1e999", "nan", "-inf", "9" * 30, "9" * 5000, "none", "null",
    "true", "[" * 3000, "{}", "a=b", "a=[1", "=", "==", "a.b.c=1", "\x1b[31m", "a\nb", "../..", "/", ".", "/dev/zero",
    "/dev/null", "/proc/self/mem", "~", "~nobody/x", "%s", "$(x)", "\udcff", "é", "\N{SNOWMAN}" * 300, "pipe",
    "x" * 5000, "--", "-o", "missing", "missing/folder", "cpu", "cuda:9", "meta", "l1", "nuclear", "random",
    "macs=0.5", "short", "repair", "finetune", "base", "uniform", "allocated", "digits", "train", "validation",
    "64,64", "1,2", "a,b", "1,1,8,8", "onnx",
)  # fmt: skip
_FOR = {
    "--model": _MODELS,
    "--weights": ("w.safetensors", "w.pth", "bad.safetensors", "bad.pth", "none", "start/weights.safetensors", "pipe"),
    "--data-set": (IMAGES, "digits", "cifar10", "images", "start", "imagenet", "stripe"),
    "--budget": (
        "macs=0.5",
        "params=0.3",
        "size=1000",
        "memory=0.5",
        "latency=0.5",
        "macs=50%",
        "macs=",
        "=0.5",
        "channels=3",
    ),
    "--criterion": ("l1", "l2", "nuclear", "taylor", "random", "reconstruction", "lamp", "L1", "l3"),
    "--scheme": ("uniform", "global", "knapsack", "allocated", "x"),
    "--save-path": ("out", "start", "run", "w.pth", ".", "missing/deep/out", "/proc/x", "/dev/full", "pipe/x"),
    "--config": ("c.toml", "c.json", "bad.toml", "bad.json", "start/manifest.json", "w.pth", "pipe"),
    "--scores": ("scores.safetensors", "bad.safetensors", "start"),
    "--device": ("cpu", "cuda", "cuda:99", "mps", "gpu", "meta", "xla", "cpu:-1"),
    "--calibration": (IMAGES, "images", "start", "leaves", "weights"),
    "--epochs": ("0", "1", "-1", "1.5", "x"),
    "--base-epochs": ("0", "1", "-1"),
    "--set": (
        "epochs=1",
        "learning_rate=-1",
        "learning_rate=nan",
        "batch_size=0",
        "x=1",
        "epochs",
        "flip=maybe",
        "epochs=[1",
    ),
    "--jobs": ("1", "0", "-3", "x"),
    "--image-size": ("8", "32", "0", "-1", "1", "9999999"),
    "--batch-size": ("16", "0", "-1", "1"),
}


def prepare(folder: Path) -> None:
    """The files that command lines name."""
    saved(folder / "start", 1)
    net = network(2)
    weights = (folder / "start" / "weights.safetensors").read_bytes()
    (folder / "w.safetensors").write_bytes(weights)
    import torch
    from PIL import Image

    torch.save(net.state_dict(), folder / "w.pth")
    (folder / "c.toml").write_text('criterion = "l1"\nbudget = { macs = 0.5 }\n')
    (folder / "bad.toml").write_text('criterion = [[["l1"]]]\nbudget = { macs = "a" }\nafter = 3\n')
    (folder / "c.json").write_text('{"criterion": "l2", "budget": {"params": 0.5}}')
    (folder / "bad.json").write_text('{"compression": [1, 2, {"a": null}]}')
    save_saliency(score(trace(net, torch.zeros(1, 1, 8, 8)), "l1"), folder / "scores.safetensors")
    for name in ("images/train/a", "images/train/b", "images/val/a", "images/val/b"):
        (folder / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (12, 12), (number, 0, 0)).save(folder / name / f"{number}.png")


def draw(rng: random.Random, *, whole: bool) -> list[str]:
    """A command line.

    Args:
        whole: of the small network and its images only, so that it may be carried out.
    """
    commands = _commands()
    name = rng.choice(list(commands))
    words = [name]
    for parameter in commands[name]:
        if parameter.param_type_name == "argument":
            draws = (NET, "start", rng.choice(_MODELS), rng.choice(_WORDS))
            words += rng.choices(draws, (5, 3, 2, 1)) if rng.random() < 0.85 else []
        elif rng.random() < 2 / len(commands[name]):
            words += _option(parameter, rng)
    if rng.random() < 0.05:
        words.insert(rng.randrange(len(words) + 1), rng.choice(_WORDS))
    if whole:
        words = [NET if word in _MODELS and word != "start" else word for word in words]
        known = {option for parameter in commands[name] for option in parameter.opts}
        for option, value in {"--data-set": IMAGES, "--epochs": "1", "--base-epochs": "1", "--images": "20"}.items():
            words += [option, value] if option in known else []
    return words


def _commands() -> dict[str, list[Any]]:
    return {name: command.params for name, command in typer.main.get_command(build_app()).commands.items()}  # type: ignore[attr-defined]


def _option(parameter: Any, rng: random.Random) -> list[str]:
    option = rng.choice([*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        return [option]
    usual = next((_FOR[each] for each in parameter.opts if each in _FOR), None)
    value = rng.choice(usual) if usual and rng.random() < 0.85 else rng.choice(_WORDS)
    return [f"{option}={value}"] if rng.random() < 0.2 and option.startswith("--") else [option, value]


_WORK = (
    "reconv.runs.runner.compress",
    "reconv.training.train",
    "reconv.training.evaluate",
    "reconv.runs.train.evaluate",
    "reconv.cost.measure_latency",
    "reconv.deploy.export",
    "reconv.study.executors._attempt",
    "reconv.study.executors._in_a_pool",
    "reconv.results.measure.compare",
)


@contextmanager
def without_work() -> Iterator[None]:
    """Where the work that was asked for would begin, it is `Accepted`."""

    def accept(*_: object, **__: object) -> None:
        raise Accepted

    with ExitStack() as stack:
        for name in _WORK:
            stack.enter_context(mock.patch(name, accept))
        stack.enter_context(mock.patch("torchvision.datasets.utils.download_and_extract_archive", _no_network))
        yield


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network here")


def fuzz_commands(seeds: range, folder: Path, counts: Counts, *, whole: bool, seconds: float = 60) -> None:
    """One command line for each seed; arguments as for `fuzz_files`."""
    here = Path.cwd()
    start = folder.with_name(f"{folder.name}-start")
    start.mkdir(parents=True)
    prepare(start)
    for seed in seeds:
        rng = random.Random(seed)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(start, folder)
        for name in ("safetensors", "pth"):
            (folder / f"bad.{name}").write_bytes(mutate((folder / f"w.{name}").read_bytes(), rng))
        os.mkfifo(folder / "pipe")
        words = draw(rng, whole=whole)
        os.chdir(folder)
        try:
            with contextlib.nullcontext() if whole else without_work():
                outcome, text = _call(words, seconds)
        finally:
            os.chdir(here)
        counts.add(f"{words[0] if words[0].isalpha() else 'other'}{', carried out' * whole}", seed, outcome, text)


def _call(words: list[str], seconds: float) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    shown = " ".join(map(ascii, words))[:600]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), limited(seconds):
            code = main(words)
    except Accepted:
        return DONE, ""
    except (Exception, TooLong, SystemExit):
        return FAULT, f"{shown}\n{traceback.format_exc()}"
    lines = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
    if code == 2 and len(lines) == 1 and err.getvalue().splitlines()[-1] == lines[0] and lines[0].isprintable():
        return REFUSED, lines[0]
    if code == 0 and not lines and "Traceback" not in err.getvalue():
        return DONE, ""
    return FAULT, f"{shown}\nexit code {code}: {err.getvalue()[-1500:]}"
