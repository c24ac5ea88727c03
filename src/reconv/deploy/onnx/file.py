"""An ONNX file as data: read whole, checked before anything is allocated for it, nothing in it executed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconv.errors import ArtifactError, first_line
from reconv.files import PathLike
from reconv.optional import optional

MOST_BYTES = 2**31 - 1  # of a file, and of the tensors beside it; protobuf holds no more
MOST_NODES = 50_000
OLDEST_OPSET = 11
STANDARD = ("", "ai.onnx")  # the domains whose operators are ONNX's own
_LONGEST_PATH = 200  # characters; file systems take no longer names
_EXTERNAL = 1  # TensorProto.EXTERNAL


def read_file(path: PathLike) -> Any:
    """The model in a file, with the tensors that lie beside it.

    Args:
        path: of a `.onnx` file.

    Returns:
        An `onnx.ModelProto`; every tensor in it is as large as it says and holds its data itself.

    Raises:
        ArtifactError: no ONNX file, one that refers to files outside its folder, declares tensors that it does not
            hold, has operators that are not ONNX's own, or an opset below 11.
        ConfigError: onnx is not installed.
    """
    onnx = optional("onnx", "ONNX files", extra="onnx")
    decode_error = optional("google.protobuf.message", "ONNX files", extra="onnx").DecodeError

    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: there is no such file; give the path of an ONNX file")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ArtifactError(f"{path}: {size:,} bytes; at most {MOST_BYTES:,} are read")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
        graph = model.graph
        _check_operators(model, path)
        budget = MOST_BYTES
        for tensor in tensors_of(graph):
            budget -= _checked_bytes(tensor, path, budget)
        onnx.checker.check_model(model)
    except decode_error as error:
        raise ArtifactError(f"{path}: not an ONNX file ({first_line(error)}); give one, or export it again") from None
    except (onnx.checker.ValidationError, ValueError, TypeError, UnicodeDecodeError, MemoryError) as error:
        raise ArtifactError(f"{path}: not a valid ONNX file ({in_short(error)}); export it again") from None
    return model


def tensors_of(graph: Any) -> Iterator[Any]:
    """Every tensor that a graph holds: initializers and attributes of nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def opset_of(model: Any) -> int:
    """The version of ONNX's operators that a model uses; 0 where it does not say."""
    return max((entry.version for entry in model.opset_import if entry.domain in STANDARD), default=0)


def _check_operators(model: Any, path: Path) -> None:
    graph = model.graph
    if not graph.node:
        raise ArtifactError(f"{path}: a graph without operators; give the ONNX file of a network")
    if len(graph.node) > MOST_NODES:
        raise ArtifactError(f"{path}: {len(graph.node):,} operators; at most {MOST_NODES:,} are read")
    if (opset := opset_of(model)) < OLDEST_OPSET:
        raise ArtifactError(f"{path}: opset {opset}; from {OLDEST_OPSET} on files are read: export it with a newer one")
    if model.functions:
        raise ArtifactError(f"{path}: it defines functions of its own; write them out, as onnx.inliner does")
    if graph.sparse_initializer:
        raise ArtifactError(f"{path}: sparse tensors, which are not read; export it with dense ones")
    for node in graph.node:
        if node.domain not in STANDARD:
            raise ArtifactError(
                f"{path}: operator {node.op_type} of the domain {node.domain!r:.60}, which is not ONNX's own; "
                "no custom operator is loaded: export the network without it"
            )


def _checked_bytes(tensor: Any, path: Path, budget: int) -> int:
    """Check a tensor against its data, and read data that lie in a file beside; returns how many bytes they take."""
    import onnx

    name = tensor.name[:80] or "a constant"
    dims = list(tensor.dims)
    if tensor.data_type not in (kinds := onnx.helper.get_all_tensor_dtypes()) or tensor.data_type == 0:
        raise ArtifactError(f"{path}: {name} has an unknown type, {tensor.data_type} (not in 1 to {max(kinds)})")
    if tensor.data_type == onnx.TensorProto.STRING:
        return 0
    itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    if any(size < 0 for size in dims) or len(dims) > 64:
        raise ArtifactError(f"{path}: {name} has the shape {dims!s:.80}, which cannot be; export it again")
    number = math.prod(dims)
    needed: int = number * itemsize
    if needed > budget:
        raise ArtifactError(f"{path}: {name} would take {needed:,} bytes; at most {MOST_BYTES:,} are read in all")
    if tensor.data_location == _EXTERNAL:
        tensor.raw_data = _beside(tensor, path, needed)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    elif tensor.HasField("raw_data"):
        if len(tensor.raw_data) != needed and itemsize >= 1 and not _packed(tensor):
            raise ArtifactError(
                f"{path}: {name} has the shape {dims}, {needed:,} bytes, but holds {len(tensor.raw_data):,}; "
                "the file is damaged: export it again"
            )
    elif number != (held := _number_held(tensor)) and not _packed(tensor):
        raise ArtifactError(f"{path}: {name} has the shape {dims}, {number:,} values, but holds {held:,}; damaged")
    return needed


def _packed(tensor: Any) -> bool:
    """Whether several values share a byte; such tensors are read by nothing here."""
    import onnx

    return onnx.helper.tensor_dtype_to_string(tensor.data_type).rsplit(".", 1)[-1] in ("UINT4", "INT4", "FLOAT4E2M1")


def _number_held(tensor: Any) -> int:
    import onnx

    field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    pairs = tensor.data_type in (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128)
    return len(getattr(tensor, field)) // (2 if pairs else 1)


def _beside(tensor: Any, path: Path, needed: int) -> bytes:
    """The data of a tensor, from a file in the folder of the model."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    folder = path.resolve().parent
    if len(location) > _LONGEST_PATH or "\0" in location:
        raise ArtifactError(f"{path}: {tensor.name[:80]} lies in {location!r:.60}..., no path; export it again")
    file = (folder / location).resolve()
    if not location or Path(location).is_absolute() or folder not in file.parents:
        raise ArtifactError(
            f"{path}: {tensor.name[:80]} lies in {location!r:.120}, outside of the model's folder; "
            "put both into one folder and export again"
        )
    if not file.is_file():
        raise ArtifactError(f"{path}: {tensor.name[:80]} lies in {location!r:.120}, which is missing; put it beside")
    try:
        offset, length = int(said.get("offset", 0)), int(said.get("length", needed))
    except ValueError:
        raise ArtifactError(f"{path}: {tensor.name[:80]} says no number as its place in {location!r:.120}") from None
    if length != needed or offset < 0 or offset + length > file.stat().st_size:
        raise ArtifactError(
            f"{path}: {tensor.name[:80]} needs {needed:,} bytes of {location!r:.120}, which does not hold them there"
        )
    with file.open("rb") as stream:
        stream.seek(offset)
        content: bytes = stream.read(length)
    return content


def in_short(error: Exception) -> str:
    """What an error says, as a part of one line."""
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
