"""Files that reconv reads, one of each kind, and what reads them."""

from __future__ import annotations

import io
import json
import pickle
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutations import mutate
from PIL import Image
from small import network

from reconv.artifacts import load, load_saliency, save, save_saliency
from reconv.cli.common import _read_config
from reconv.compression import Compression
from reconv.data.images import UNREADABLE, decode, examine_ends, quiet_decoding
from reconv.data.pickled import read_pickled
from reconv.errors import DataError
from reconv.files import read_json, read_tensors, tensors_fingerprint, write_tensors
from reconv.graph import trace
from reconv.mappings import from_mapping
from reconv.plan import Budget, choose, plan_from_json
from reconv.published_scores import read_published_scores
from reconv.runs.folder import RunFolder
from reconv.saliency import score
from reconv.study.design import read_study
from reconv.surgery import prune
from reconv.training.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from reconv.training.protocol import load_protocol
from reconv.zoo import load_model


@dataclass(frozen=True)
class Subject:
    """A kind of file or folder.

    Args:
        name: of the kind. files: by their names, the first ones are mutated more often.
        read: reads them, in a folder.
        repair: makes, after a mutation, checksums right again, so that more code is reached; None: nothing does.
    """

    name: str
    files: Mapping[str, bytes]
    read: Callable[[Path], object]
    repair: Callable[[Path], object] | None = None
    mutated: tuple[str, ...] = field(default=())

    def write(self, folder: Path, rng: random.Random) -> None:
        """The files, one of which is mutated."""
        victim = rng.choice(self.mutated or tuple(self.files))
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(mutate(content, rng) if name == victim else content)
        if self.repair is not None and rng.random() < 0.7:
            try:
                self.repair(folder)
            except Exception:
                return  # it is damaged too much for that


def subjects(folder: Path) -> tuple[Subject, ...]:
    """All kinds, made in an empty folder."""
    rng = np.random.default_rng(0)
    net = network(1)
    example = torch.zeros(1, 1, 8, 8)
    graph = trace(net, example)
    scores = score(graph, "l1")
    plan = choose(graph, scores, Budget(channels=0.6))
    small = prune(net, plan)
    save(small, folder / "model", plan=plan)
    save_saliency(scores, folder / "scores.safetensors")
    header = {"history": [], "sums": {"loss": 0.0, "top1": 0.0, "seconds": 0.0}, "scaler": {}}
    save_checkpoint(folder, Checkpoint(3, {"seed": 0}, header, dict(net.state_dict())), 1)
    run = RunFolder(folder / "run", {"model": "small:net", "data_set": "stripes"})
    run.begin()
    weights = {
        "zip.pth": _saved(net.state_dict()),
        "old.pth": _saved(net.state_dict(), _use_new_zipfile_serialization=False),
        "checkpoint.pth": _saved({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}),
    }
    write_tensors(folder / "w.safetensors", net.state_dict(), {"reconv": json.dumps(_provenance())})

    def weights_of(name: str) -> Callable[[Path], object]:
        return lambda folder: load_model("small:net", weights=folder / name)

    def read_plan(folder: Path) -> object:
        plan = plan_from_json(graph, read_json(folder / "plan.json"))
        return prune(net, plan)

    vgg = load_model("vgg16_bn")
    kinds = [
        Subject("saved model", _files(folder / "model"), load, _refit, ("manifest.json", "weights.safetensors")),
        Subject("scores", _files(folder, "scores.safetensors"), lambda f: load_saliency(f / "scores.safetensors")),
        Subject("checkpoint", _files(folder, "step-000000003.safetensors"), _read_checkpoint),
        Subject("weights, safetensors", _files(folder, "w.safetensors"), weights_of("w.safetensors")),
        *(Subject(f"weights, {name}", {name: content}, weights_of(name)) for name, content in weights.items()),
        Subject("plan", {"plan.json": json.dumps(plan.to_json()).encode()}, read_plan),
        Subject("run's configuration", {"config.json": _full_config()}, lambda f: RunFolder(f).config()),
        Subject(
            "history of a run", {"training/t/metrics.jsonl": _HISTORY * 2}, lambda f: RunFolder(f).read_history("t")
        ),
        Subject("protocol", {"p.toml": _PROTOCOL}, lambda f: load_protocol(str(f / "p.toml"), "digits")),
        Subject("compression", {"c.toml": _COMPRESSION}, _read_compression),
        Subject("study", {"s.toml": _STUDY}, lambda f: read_study(f / "s.toml")),
        Subject("published scores", {"s.py": _SCORES}, lambda f: read_published_scores(f / "s.py", vgg)),
        Subject("pickle of CIFAR", {"p": _cifar_pickle(rng)}, lambda f: read_pickled(f / "p")),
    ]
    photo = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8))
    for name in ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP"):
        stream = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        photo.save(stream, format=name, **({"exif": exif} if name not in ("PPM", "BMP") else {}))
        kinds.append(Subject(f"image, {name}", {"image": stream.getvalue()}, _read_image))
    return tuple(kinds)


def _files(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names or sorted(p.name for p in folder.iterdir())}


def _saved(content: Any, **how: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **how)
    return stream.getvalue()


def _provenance() -> dict[str, Any]:
    return {"model": {"name": "small:net", "arguments": {}}, "edits": {}, "normalization": None, "notes": ["x"]}


def _refit(folder: Path) -> None:
    """Let the manifest have the fingerprint of the tensors as they are now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["weights"]["fingerprint"] = tensors_fingerprint(read_tensors(folder / "weights.safetensors"))
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _read_checkpoint(folder: Path) -> object:
    return read_checkpoint(folder / "step-000000003.safetensors").part("model")


def _read_image(folder: Path) -> None:
    """Both readers; what is no image is what its caller names as such."""
    with quiet_decoding():
        for read in (decode, examine_ends):
            try:
                read(folder / "image")
            except UNREADABLE as error:
                raise DataError(f"{folder / 'image'}: {error}") from None


def _read_compression(folder: Path) -> object:
    return from_mapping(Compression, _read_config(folder / "c.toml"), str(folder / "c.toml"))


def _full_config() -> bytes:
    from reconv.runs import RunConfig

    return json.dumps(RunConfig().to_mapping()).encode()


_HISTORY = (
    json.dumps(
        {
            "epoch": 1, "step": 3, "loss": 1.5, "top1": 0.5, "learning_rate": 0.1, "seconds": 1.0,
            "images_per_second": 3.0, "validation": {"top1": 0.5, "top5": 1.0, "loss": 1.0, "n": 24},
        }
    )
    + "\n"
).encode()  # fmt: skip
_PROTOCOL = b"""
description = "short"
epochs = 3
batch_size = 16
learning_rate = 0.05
optimizer = "sgd"
schedule = "cosine"
"""
_COMPRESSION = b"""
criterion = "l1"
scheme = "uniform"
seed = 3
coupled = true
budget = { macs = 0.5 }
limits = { minimum = 2, multiple = 1, most = { conv1 = 0.5 } }
after = ["repair", { step = "finetune", protocol = "short", epochs = 1 }]
"""
_STUDY = b"""
title = "small"
split = "validation"
reference = "l1"
[networks.small]
model = "resnet20"
weights = "none"
data_set = "digits"
[arms.trained]
after = [{ step = "finetune", protocol = "short", epochs = 2 }]
[[grids]]
networks = ["small"]
criteria = ["l1", "l2"]
budgets = ["macs=0.6"]
arms = ["pruned only", "trained"]
"""
_VALUES = ", ".join(["tensor(0.5, device='cuda:0')", "1.5"] * 32)
_SCORES = f"nucs0=[{_VALUES}]\nnucs1=[{_VALUES}]\n".encode()


def _cifar_pickle(rng: np.random.Generator) -> bytes:
    rows = rng.integers(0, 255, (4, 3072), dtype=np.uint8)
    return pickle.dumps({b"data": rows, b"labels": [1, 2, 3, 0], b"filenames": [b"a", b"b", b"c", b"d"]}, 2)
