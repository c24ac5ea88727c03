"""Networks that exist as ONNX files: how exactly they are read, and what is left of them after pruning and repair.

    python benchmarks/deploy/onnx_import.py parity *.onnx
    python benchmarks/deploy/onnx_import.py recognizer ch_PP-OCRv4_rec_infer.onnx --macs 0.7
    python benchmarks/deploy/onnx_import.py detector ch_PP-OCRv4_det_infer.onnx --macs 0.7
    python benchmarks/deploy/onnx_import.py classifier ch_ppocr_mobile_v2.0_cls_infer.onnx --macs 0.7
    python benchmarks/deploy/onnx_import.py fastestdet fastestdet-coco.onnx --images photographs/ --macs 0.8 --epochs 8

The first reads each file, prunes half of its parameters by the L2 norm, and writes it back. The others prune, repair on
one set of images, and compare the written file with the original one in onnxruntime on images that nothing has seen:
rendered text for the three networks of PP-OCRv4, whose words are not those of the repair, and photographs.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from rendered_text import fonts, line_tensor, page, page_tensor, text_line, words
from torch import Tensor
from torch.utils.data import TensorDataset
from torchvision.ops import batched_nms, box_iou

import reconv
from reconv.deploy.onnx import OnnxNetwork
from reconv.deploy.onnx.file import read_file
from reconv.deploy.onnx.runtime import compare_with_runtime
from reconv.machine import versions
from reconv.training import Protocol, Session, train

FONTS = Path("/usr/share/fonts/truetype")


def session(path: Path) -> Callable[[Tensor], Tensor]:
    """The first output of a file for a batch, image by image where its batch is fixed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    runtime = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name, fixed = runtime.get_inputs()[0].name, runtime.get_inputs()[0].shape[0] == 1

    def run(images: Tensor) -> Tensor:
        parts = images.split(1 if fixed else 16)
        return torch.cat([torch.from_numpy(runtime.run(None, {name: part.numpy()})[0]) for part in parts])

    return run


# ------------------------------------------------------------------ parity


def parity(options: argparse.Namespace) -> None:
    """How far each file is from onnxruntime as it is read, and after half of its parameters have gone."""
    print("| network | opset | nodes | read, error | may go | removed = zeroed | written, error |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for path in options.files:
        model = read_file(path)
        network = reconv.load_onnx(path)
        read = compare_with_runtime(network, model, str(path)).difference
        graph = reconv.trace(network, network.example())
        free = sum(int(group.free.sum()) for group in graph.groups) / sum(group.size for group in graph.groups)
        plan = reconv.choose(graph, reconv.score(graph, "l2"), reconv.Budget(params=options.params), scheme="global")
        small: Any = reconv.prune(network, plan)
        proof = reconv.verify(network, small, plan)
        with tempfile.TemporaryDirectory() as folder:
            written = reconv.export(small, f"{folder}/small.onnx", example=network.example())
        opset = model.opset_import[0].version
        print(
            f"| {path.stem} | {opset} | {len(model.graph.node)} | {read:.1e} | {free:.0%} | {proof:.0e} "
            f"| {written.error:.1e} |",
            flush=True,
        )


# ------------------------------------------------------------------ prune and repair


def shrink(options: argparse.Namespace, images: Tensor, judge: Callable[[Path], str]) -> None:
    """Prune a file, repair it on images, and judge what is written; once more after epochs of learning, if any."""
    start = time.perf_counter()
    output = options.output or Path(tempfile.mkdtemp()) / "smaller.onnx"
    network = reconv.load_onnx(options.file, shapes=[[1, *images.shape[1:]]])
    compression = reconv.Compression(
        criterion=options.criterion,
        scheme=options.scheme,
        coupled=options.coupled,
        budget=reconv.Budget(macs=options.macs),
        images=len(images),
        after=(reconv.Repair(images=len(images)),),
    )
    result = reconv.compress(network, images, compression, example=network.example())
    small: OnnxNetwork = result.model  # type: ignore[assignment]
    if options.report:
        print(result.plan)
    whole, left = reconv.profile(network, network.example()), reconv.profile(small, network.example())
    print(f"{left.macs / whole.macs:.1%} of MACs, {left.parameters / whole.parameters:.1%} of parameters left")
    print(reconv.export(small, output, example=network.example()))
    print(f"repaired on {len(images)} images: {judge(output)}; {time.perf_counter() - start:.0f} s", flush=True)
    if options.epochs:
        small = taught(small, network, images, options)
        print(reconv.export(small, output, example=network.example()))
        print(f"after {options.epochs} epochs on them: {judge(output)}; {time.perf_counter() - start:.0f} s")


def taught(small: OnnxNetwork, network: OnnxNetwork, images: Tensor, options: argparse.Namespace) -> OnnxNetwork:
    """The pruned network after some epochs in which it learns the original's outputs on the images of its repair."""
    with torch.no_grad():
        targets = torch.cat([network(part) for part in images.split(16)])
    protocol = Protocol(
        options.epochs,
        options.learning_rate,
        batch_size=8,
        optimizer="adamw",
        weight_decay=0.0,
        schedule="cosine",
        warmup_epochs=0.5,
    )
    session = Session(progress=False, device="cpu")
    data = TensorDataset(images, targets)
    trained = train(small, data, protocol, loss=options.loss, seed=options.seed, session=session)
    print(", ".join(f"epoch {row.epoch}: loss {row.loss:.4f}" for row in trained.history))
    return trained.model  # type: ignore[return-value]


def relative_error(outputs: Tensor, targets: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Squared error as a share of the targets' variation about their mean, at positions of these weights."""
    dims = [0, *range(2, targets.dim())]
    variation = (targets - targets.mean(dims, keepdim=True)).square() * weight
    return ((outputs - targets).square() * weight).sum() / variation.sum().clamp(min=1e-12)


def lines(options: argparse.Namespace, size: tuple[int, int], held_out: bool, turn: bool) -> Tensor:
    """Rendered lines `[n, 3, *size]`; every second one is turned around where asked."""
    rng = random.Random(f"{options.seed} {held_out}")
    chosen, paths = words(held_out), fonts(options.fonts)
    number = options.test if held_out else options.number
    return torch.stack([line_tensor(text_line(rng, chosen, paths, turn and i % 2 == 1), *size) for i in range(number)])


def recognizer(options: argparse.Namespace) -> None:
    """The share of held-out lines that both files read alike."""
    images = lines(options, (48, 320), True, False)
    first = readings(session(options.file)(images))

    def judge(path: Path) -> str:
        second = readings(session(path)(images))
        same = np.mean([a == b for a, b in zip(first, second, strict=True)])
        wrong = sum(distance(a, b) for a, b in zip(first, second, strict=True)) / sum(map(len, first))
        return f"{same:.1%} of {len(images)} held-out lines read as by the original, {wrong:.2%} of letters differ"

    shrink(options, lines(options, (48, options.width), False, False), judge)


def readings(scores: Tensor) -> list[tuple[int, ...]]:
    """The letters, by their numbers, of each image's positions [n, positions, letters]: repetitions and blanks go."""
    result = []
    for best in scores.argmax(2).tolist():
        result.append(tuple(n for n, before in zip(best, [0, *best], strict=False) if n not in (0, before)))
    return result


def distance(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many letters have to be changed, removed or added."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def classifier(options: argparse.Namespace) -> None:
    """The share of held-out lines, half of them upside down, to which both files give the same class."""
    images = lines(options, (48, 192), True, True)
    first, truth = session(options.file)(images).argmax(1), torch.arange(len(images)) % 2

    def judge(path: Path) -> str:
        second = session(path)(images).argmax(1)
        same, before, after = (
            float((a == b).double().mean()) for a, b in ((first, second), (first, truth), (second, truth))
        )
        return (
            f"{same:.1%} of {len(images)} held-out lines in the same class; right: {before:.1%} before, "
            f"{after:.1%} after"
        )

    shrink(options, lines(options, (48, 192), False, True), judge)


def detector(options: argparse.Namespace) -> None:
    """The overlap of the maps of text of both files, above 0.3, over held-out pages."""
    paths, sets = fonts(options.fonts), []
    for held_out in (False, True):
        rng, chosen = random.Random(f"{options.seed} {held_out}"), words(held_out)
        number = options.test if held_out else options.number
        sets.append(torch.stack([page_tensor(page(rng, chosen, paths, options.side)) for _ in range(number)]))
    first = session(options.file)(sets[1]) > 0.3

    def judge(path: Path) -> str:
        second = session(path)(sets[1]) > 0.3
        over = float((first & second).sum() / (first | second).sum())
        each = (first & second).flatten(1).sum(1) / (first | second).flatten(1).sum(1).clamp(min=1)
        return f"IoU {over:.3f} over {len(first)} held-out pages (mean of pages {float(each.mean()):.3f})"

    shrink(options, sets[0], judge)


# ------------------------------------------------------------------ FastestDet


def fastestdet(options: argparse.Namespace) -> None:
    """F1 of the pruned network's detections, with the original's as the truth."""
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms.functional import resize

    files = sorted(options.images.rglob("*.jpg"))

    def read(chosen: list[Path]) -> Tensor:
        pictures = (decode_image(str(path), ImageReadMode.RGB) for path in chosen)
        return torch.stack([resize(x, [352, 352], antialias=True).flip(0).float() / 255 for x in pictures])

    images = read(files[1::2][: options.test])
    wanted = [detections(output) for output in session(options.file)(images)]

    def judge(path: Path) -> str:
        found = [detections(output) for output in session(path)(images)]
        hits = sum(matches(a, b) for a, b in zip(wanted, found, strict=True))
        before, after = (sum(map(len, each)) for each in (wanted, found))
        f1 = 2 * hits / max(before + after, 1)
        return f"F1 {f1:.3f} on {len(images)} photographs ({before} detections before, {after} after)"

    shrink(options, read(files[::2][: options.number]), judge)


def detector_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of the objectness, and of boxes and classes where there is an object; outputs are `[n, 85, 22, 22]`."""
    objectness, boxes, classes = slice(0, 1), slice(1, 5), slice(5, None)
    weight = targets[:, objectness]
    return (
        relative_error(outputs[:, objectness], targets[:, objectness])
        + relative_error(outputs[:, boxes], targets[:, boxes], weight)
        + relative_error(outputs[:, classes], targets[:, classes], weight)
    )


def detections(output: Tensor, least: float = 0.65) -> Tensor:
    """`[n, 6]`: box, score, class; of an output `[85, 22, 22]`."""
    objectness, boxes, classes = output[0], output[1:5], output[5:]
    best, kinds = classes.max(0)
    score = objectness**0.6 * best**0.4
    rows, columns = torch.meshgrid(torch.arange(22.0), torch.arange(22.0), indexing="ij")
    x, y = (columns + boxes[0].tanh()) / 22, (rows + boxes[1].tanh()) / 22
    w, h = boxes[2].sigmoid(), boxes[3].sigmoid()
    corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
    chosen = score > least
    corners, score, kinds = corners[chosen], score[chosen], kinds[chosen]
    kept = batched_nms(corners, score, kinds, 0.45)
    return torch.cat([corners, score[:, None], kinds[:, None].float()], 1)[kept]


def matches(a: Tensor, b: Tensor) -> int:
    """How many detections of `b` are ones of `a`: the same class, IoU at least 0.5, each of them once."""
    if not len(a) or not len(b):
        return 0
    overlap = box_iou(a[:, :4], b[:, :4]) * (a[:, None, 5] == b[None, :, 5])
    hits = 0
    for _ in range(min(len(a), len(b))):
        best = int(overlap.argmax())
        i, j = divmod(best, len(b))
        if overlap[i, j] < 0.5:
            break
        hits += 1
        overlap[i], overlap[:, j] = 0, 0
    return hits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("parity")
    command.add_argument("files", nargs="+", type=Path)
    command.add_argument("--params", type=float, default=0.5)
    command.set_defaults(run=parity)
    for function in (recognizer, detector, classifier, fastestdet):
        command = commands.add_parser(function.__name__)
        command.add_argument("file", type=Path)
        command.add_argument("--macs", type=float, default=0.7)
        command.add_argument("--criterion", default="reconstruction")
        command.add_argument("--scheme", default="allocated")
        command.add_argument("--coupled", action="store_true")
        command.add_argument("--number", type=int, default=256, help="images to repair on")
        command.add_argument("--test", type=int, default=500, help="images to test on")
        command.add_argument(
            "--epochs", type=int, default=0, help="of learning the original's outputs, after the repair"
        )
        command.add_argument("--learning-rate", type=float, default=1e-3)
        command.add_argument("--fonts", type=Path, nargs="+", default=[FONTS])
        command.add_argument("--width", type=int, default=320, help="of the lines that the recognizer is repaired on")
        command.add_argument("--side", type=int, default=320, help="of the pages")
        command.add_argument("--images", type=Path, help="folder of photographs")
        command.add_argument("--output", type=Path)
        command.add_argument("--report", action="store_true", help="print the plan")
        command.add_argument("--seed", type=int, default=0)
        loss = detector_loss if function is fastestdet else relative_error
        command.set_defaults(run=function, loss=loss)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(", ".join(f"{name} {value}" for name, value in versions().items()))
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    options.run(options)


if __name__ == "__main__":
    main()
