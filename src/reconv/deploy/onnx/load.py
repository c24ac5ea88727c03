"""`load_onnx`: the network of an ONNX file, compared with onnxruntime before it is handed out.

The file is read by a small interpreter of ours, and not by a converter such as onnx2torch: the layers become ordinary
modules of which we know the place in the file, so that what was pruned is written back into the user's own graph, and
sizes that an exporter has frozen into constants are attributes that pruning can change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from reconv.deploy.onnx.batch import free_batch
from reconv.deploy.onnx.build import Builder
from reconv.deploy.onnx.file import read_file
from reconv.deploy.onnx.modules import DTYPES
from reconv.deploy.onnx.network import Input, OnnxNetwork
from reconv.deploy.onnx.runtime import compare_with_runtime
from reconv.errors import ArtifactError, ConfigError, first_line
from reconv.files import PathLike
from reconv.provenance import IMAGENET, ModelSpec, Normalization, Provenance, attach, provenance_of
from reconv.registry import register
from reconv.zoo import ModelSource

TOLERANCE = 1e-5
SUFFIX = ".onnx"
# Height and width that are tried where the file leaves them open: photographs, small images, lines of text.
_SIZES = ((224, 224), (32, 32), (48, 320), (64, 64), (640, 640))
_OTHER_AXIS = 16
_HASH, _SHAPES = "sha256", "shapes"
_MEAN_AND_STD = ("mean", "std")


def load_onnx(
    path: PathLike,
    *,
    shapes: Sequence[Sequence[int]] | None = None,
    normalization: Normalization | None = None,
    tolerance: float = TOLERANCE,
) -> OnnxNetwork:
    """The network of an ONNX file as a PyTorch module: to be traced, pruned, repaired, proved, and written back.

    `reconv.export(pruned, "smaller.onnx", example=network.example())` writes the pruned one into the file's own graph:
    names of inputs and outputs, opset, metadata and dynamic axes stay.

    Args:
        path: of the file; opset 11 or newer, float weights, ONNX's own operators.
        shapes: of its inputs, with the batch, to try it out with; None: as the file says, and where it leaves height
            and width open, the first common size that it runs on.
        normalization: mean and std of its images.
        tolerance: of the outputs on random inputs against onnxruntime's, relative to the largest value.

    Returns:
        The network, in evaluation mode, on the CPU. Its `program` says what it runs; `example()` gives inputs.

    Raises:
        ArtifactError: a file that cannot be read; the message names the operator or the tensor. ConfigError: onnx or
            onnxruntime is not installed.

    Example:
        >>> import tempfile, torch
        >>> import reconv
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = reconv.export(model, f"{folder}/net.onnx", example=torch.zeros(1, 3, 8, 8))
        ...     network = reconv.load_onnx(f"{folder}/net.onnx")
        >>> reconv.trace(network, network.example()).groups[0].size
        8
    """
    model = read_file(path)
    network = network_of(model, str(path), shapes)
    try:
        parity = compare_with_runtime(network, model, str(path))
    except (RuntimeError, ValueError, TypeError, IndexError, MemoryError) as error:  # of a damaged file's operators
        raise ArtifactError(f"{path}: does not run ({first_line(error)[:200]}); export it again") from error
    if not parity.within(tolerance):
        raise ArtifactError(
            f"{path}: read, it differs from onnxruntime by {parity.difference:.1e} relative (at most {tolerance:g}); "
            "report the file, or give a larger tolerance if you know why"
        )
    arguments = {_HASH: _hash(path), _SHAPES: [list(shape) for shape in network.program.example]}
    spec = ModelSpec(f"onnx:{Path(path).resolve()}", arguments)
    return attach(network, Provenance(spec=spec, normalization=normalization))


def network_of(model: Any, where: str, shapes: Sequence[Sequence[int]] | None = None) -> OnnxNetwork:
    """The network of a checked model.

    Args:
        model: an `onnx.ModelProto` from `read_file`. where: the file's name, for messages.
        shapes: of the inputs; None: as the file says.

    Raises:
        ArtifactError: something in it is not read.
    """
    inputs = _inputs(model, where)
    tries = list(_example_shapes(inputs)) if shapes is None else [_given(inputs, shapes, where)]
    failure: ArtifactError | None = None
    for given in tries:
        try:
            network = Builder(model, inputs, given, where).build()
        except ArtifactError as error:
            failure = failure or error
            continue
        free_batch(network)
        return network
    assert failure is not None
    raise failure


def _inputs(model: Any, where: str) -> tuple[Input, ...]:
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for value in model.graph.input:
        if value.name in held:  # older files list their weights too
            continue
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or kind.elem_type not in DTYPES or not kind.HasField("shape"):
            raise ArtifactError(f"{where}: input {value.name!r:.80} is no tensor of numbers of a known rank")
        sizes = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)
        inputs.append(Input(value.name, sizes, DTYPES[kind.elem_type]))
    if not inputs or len(inputs) > 64:
        raise ArtifactError(f"{where}: {len(inputs)} inputs; a network with 1 to 64 is read")
    return tuple(inputs)


def _example_shapes(inputs: Sequence[Input]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Shapes to try, each once."""
    seen = set()
    for height, width in _SIZES:
        shapes = tuple(
            tuple(
                size if size is not None else 1 if axis == 0 else {2: height, 3: width}.get(axis, _OTHER_AXIS)
                for axis, size in enumerate(value.sizes)
            )
            for value in inputs
        )
        if shapes not in seen:
            seen.add(shapes)
            yield shapes


def _given(inputs: Sequence[Input], shapes: Sequence[Sequence[int]], where: str) -> tuple[tuple[int, ...], ...]:
    given = tuple(tuple(int(size) for size in shape) for shape in shapes)
    fits = len(given) == len(inputs) and all(
        len(shape) == len(value.sizes) and all(a in (None, b) for a, b in zip(value.sizes, shape, strict=True))
        for shape, value in zip(given, inputs, strict=True)
    )
    if not fits:
        said = "; ".join(f"{v.name} {['any' if n is None else n for n in v.sizes]}" for v in inputs)
        raise ConfigError(f"{where}: shapes {[list(shape) for shape in given]}; its inputs are {said}")
    return given


def _hash(path: PathLike) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


# ------------------------------------------------------------------ by name


def _find(text: str) -> str | None:
    return text.removeprefix("onnx:") if text.lower().endswith(SUFFIX) else None


def _build(path: str, arguments: Mapping[str, Any]) -> OnnxNetwork:
    """The network of a file; with the fingerprint of an earlier time, the same file has to be there."""
    with torch.device("cpu"):
        if _HASH in arguments:
            if not Path(path).is_file() or _hash(path) != arguments[_HASH]:
                raise ArtifactError(f"{path}: not there, or not the file that the network was made of; put that back")
            return network_of(read_file(path), path, arguments.get(_SHAPES))
        network = load_onnx(path, shapes=arguments.get(_SHAPES))
        channels = network.program.example[0][1] if len(network.program.example[0]) > 1 else 1
        known = [tuple(map(float, arguments[name])) for name in _MEAN_AND_STD if name in arguments]
        if len(known) == 1:
            raise ConfigError(f"{path}: {' and '.join(_MEAN_AND_STD)} of its images go together; give both")
        normalization = Normalization(*known) if known else _assumed(channels)
        notes = () if known else (_assumption(path, normalization),)
        return attach(network, replace(provenance_of(network), normalization=normalization, notes=notes))


def _assumed(channels: int) -> Normalization:
    return IMAGENET if channels == len(IMAGENET.mean) else Normalization((0.0,) * channels, (1.0,) * channels)


def _assumption(path: str, normalization: Normalization) -> str:
    return (
        f"{path}: does not say how its images are normalized; assumed mean {list(normalization.mean)} and std "
        f"{list(normalization.std)} of values in [0, 1], which --model-arg mean=[...] --model-arg std=[...] override."
    )


def _input_size(model: torch.nn.Module, name: str) -> tuple[int, int, int] | None:
    shape = model.program.example[0] if isinstance(model, OnnxNetwork) else ()
    return (shape[1], shape[2], shape[3]) if len(shape) == 4 else None


register(
    ModelSource(
        "onnx",
        "the network of an ONNX file, by its path",
        _build,
        find=_find,
        has_weights=True,
        takes=frozenset({_SHAPES, *_MEAN_AND_STD}),
        input_size=_input_size,  # type: ignore[arg-type]
    )
)
