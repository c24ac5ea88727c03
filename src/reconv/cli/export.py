"""`reconv export`: a file that runs without reconv, compared with the network before it is written."""

from __future__ import annotations

from dataclasses import dataclass

from reconv.cli.options import Network

EXAMPLES = (
    "reconv export P --to onnx --save-path small.onnx",
    "reconv export P/model --to openvino --dynamic batch,height,width",
    "reconv export P --data-set CIFAR10 --quantize int8 --min-agreement 0.98",
)
_WITHOUT_IMAGES = "random numbers; give --data-set to compare on its images"


@dataclass(frozen=True)
class Images:
    """Images that file and network are compared on.

    Args:
        data_set: the images that file and network are compared on, and int8 is calibrated on: a data set by name or a
            folder; None: random numbers.
        data_root: the folder that holds the data set.
        image_size: pixels per side of the file's input, instead of the network's own.
        example: an input of the network: a shape such as 1x3x224x224, a .pt or .npz file, or my_net.py:function.
        images: how many images.
    """

    data_set: str | None = None
    data_root: str | None = None
    image_size: int | None = None
    example: str | None = None
    images: int = 256


@dataclass(frozen=True)
class File:
    """The file.

    Args:
        to: format: onnx, openvino, torch or torchscript, or another of `reconv list exporters`.
        save_path: the file; None: named like the network, in the current folder.
        dynamic: axes of the inputs that may have another size later, as in batch,height,width; None: the batch, where
            the network allows it.
        opset: version of ONNX's operators; None: the exporter's own.
        quantize: int8 writes an ONNX file that computes in int8.
        min_agreement: share of the images, 0 to 1, whose prediction int8 has to leave as it is.
    """

    to: str = "onnx"
    save_path: str | None = None
    dynamic: str | None = None
    opset: int | None = None
    quantize: str | None = None
    min_agreement: float = 0.0


def command(network: Network, file: File = File(), images: Images = Images()) -> None:
    """Write a network, pruned or not, to a file that runs without reconv; what computes something else is refused."""
    from pathlib import Path

    from reconv.cli import console
    from reconv.cli.network import read_images, traced
    from reconv.cli.options import InputShape
    from reconv.deploy import Exporter, export, quantize
    from reconv.errors import ConfigError

    if file.quantize not in (None, "int8"):
        raise ConfigError(f"--quantize {file.quantize}: only int8 is known")
    if file.quantize is not None and images.data_set is None:
        raise ConfigError("--quantize int8: no images to calibrate on; give --data-set with a name or a folder")
    exporter = Exporter.registry[file.to]
    graph = traced(network, InputShape(images.data_set, images.image_size, images.example), trained=True)
    _, pictures = read_images(graph.model, images.data_set, images.data_root, images.images)
    name = Path(network.model).resolve().name if Path(network.model).exists() else network.model.rpartition(":")[2]
    ending = ".int8.onnx" if file.quantize else exporter.suffix
    path = Path(file.save_path or f"{name}{ending}")
    if file.quantize is not None:
        assert pictures is not None  # it was asked for above
        written = quantize(graph.model, path, example=graph.inputs, images=pictures, min_agreement=file.min_agreement)
    else:
        dynamic = None if file.dynamic is None else [axis.strip() for axis in file.dynamic.split(",")]
        written = export(
            graph.model, path, example=graph.inputs, to=file.to, images=pictures, dynamic=dynamic, opset=file.opset
        )
    console.stdout().print(str(written), markup=False, soft_wrap=True)
    if pictures is None:
        console.Progress().note(f"compared on {_WITHOUT_IMAGES}.")
