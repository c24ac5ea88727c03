"""`reconv benchmark`: a network in several runtimes, batch sizes and numbers of threads."""

from __future__ import annotations

from dataclasses import dataclass

from reconv.cli.options import Network

EXAMPLES = (
    "reconv benchmark P --data-set CIFAR10",
    "reconv benchmark torchvision:resnet18 --batch 1,64 --threads 1,2",
    "reconv benchmark P/model --runtime onnxruntime --runtime command:./phone.sh --json times.json",
)


@dataclass(frozen=True)
class Grid:
    """What is measured.

    Args:
        runtime: what runs the network; repeatable; None: torch, onnxruntime and openvino, where they are installed.
        batch: images per pass, as in 1,64.
        threads: that compute, as in 1,2.
        seconds: spent on each combination, about.
        json_file: write the rows to this file.
    """

    runtime: tuple[str, ...] = ()
    batch: str = "1,64"
    threads: str = "1"
    seconds: float = 3.0
    json_file: str | None = None


@dataclass(frozen=True)
class Images:
    """Images for accuracy and int8.

    Args:
        data_set: the images that accuracy is measured on, and int8 is calibrated on; None: neither.
        data_root: the folder that holds the data set.
        image_size: pixels per side, instead of the network's own.
        example: an input of the network: a shape such as 1x3x224x224, a .pt or .npz file, or my_net.py:function.
        images: number of training images that int8 is calibrated on.
    """

    data_set: str | None = None
    data_root: str | None = None
    image_size: int | None = None
    example: str | None = None
    images: int = 256


def command(network: Network, grid: Grid = Grid(), images: Images = Images()) -> None:
    """Milliseconds, size and accuracy of a network, pruned or not, by runtime, arithmetic, batch size and threads."""
    from dataclasses import asdict

    from reconv.cli import console
    from reconv.cli.network import read_images, traced
    from reconv.cli.options import InputShape
    from reconv.deploy import runtime_named
    from reconv.files import write_json
    from reconv.machine import versions
    from reconv.report import numbers
    from reconv.results.benchmark import BenchmarkGrid, benchmark

    runtimes = grid.runtime or _installed()
    for name in runtimes:
        runtime_named(name)
    batches, threads = _numbers("--batch", grid.batch), _numbers("--threads", grid.threads)
    graph = traced(network, InputShape(images.data_set, images.image_size, images.example), trained=True)
    data, pictures = read_images(graph.model, images.data_set, images.data_root, images.images)
    asked = BenchmarkGrid(runtimes, batches, threads, grid.seconds)
    rows = benchmark(graph, asked, console.Progress(), data=data, images=pictures)
    cells = [
        (
            row.runtime,
            row.precision,
            row.batch,
            row.threads,
            numbers.duration(row.latency.median),
            f"{numbers.duration(row.latency.low)} to {numbers.duration(row.latency.high)}",
            numbers.size(row.size),
            numbers.percent(row.accuracy),
        )
        for row in rows
    ]
    heads = ("runtime", "arithmetic", "batch", "threads", "latency", "quartiles", "size", "accuracy, test")
    console.stdout().print(console.table("", heads, cells, left=2))
    if grid.json_file is not None:
        write_json(grid.json_file, {"versions": versions(), "rows": [asdict(row) for row in rows]})


def _installed() -> tuple[str, ...]:
    """The runtimes that are there without asking."""
    from importlib.util import find_spec

    return ("torch", *(name for name in ("onnxruntime", "openvino") if find_spec(name) and find_spec("onnx")))


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    """Whole numbers, separated by commas.

    Raises:
        ConfigError: anything else.
    """
    from reconv.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"{flag} {text!r}; give whole numbers of at least 1, separated by commas, such as 1,64")
    return tuple(map(int, parts))
