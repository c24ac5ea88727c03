"""A network as ONNX: as it is written to a file, and quickly, to be timed."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.deploy.exporter import AXES, Call
from reconv.deploy.folding import Fold, fold_batch_norm
from reconv.deploy.onnx.file import opset_of
from reconv.deploy.onnx.network import OnnxNetwork
from reconv.deploy.onnx.write import edited_model
from reconv.errors import ExportError
from reconv.optional import optional


def exported_program(model: nn.Module, call: Call) -> tuple[torch.export.ExportedProgram, list[Fold]]:
    """A network in evaluation mode as torch.export has it, BatchNorm folded; and what was folded."""
    program = torch.export.export(model, call.args, call.kwargs, dynamic_shapes=_dynamic_shapes(call))
    return program, fold_batch_norm(program)


def _dynamic_shapes(call: Call) -> Any:
    """For every tensor, which axes are open; height and width of images alone."""
    if not call.dynamic:
        return None

    def of(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return None
        axes = {name: AXES[name] % max(value.dim(), 1) for name in call.dynamic if name == "batch" or value.dim() > 2}
        return dict.fromkeys(axes.values(), torch.export.Dim.DYNAMIC) if value.dim() else None

    args, kwargs = pytree.tree_map(of, (call.args, call.kwargs))
    return (*args, *kwargs.values())


def onnx_of(model: nn.Module, call: Call) -> Any:
    """A network in evaluation mode as an `onnx.ModelProto`; inputs and outputs are called as its `forward` calls them.

    One that was read from an ONNX file has that file's graph, with its own opset and open axes.

    Raises:
        ConfigError: a package is missing. ExportError: another opset than was asked for.
    """
    if isinstance(model, OnnxNetwork):
        proto = edited_model(model)
        if call.opset not in (None, opset_of(proto)):
            raise ExportError(f"export: opset {call.opset}, and the network's file has {opset_of(proto)}; leave it out")
        return proto
    return onnx_of_program(exported_program(model, call)[0], call)


def onnx_of_program(program: torch.export.ExportedProgram, call: Call) -> Any:
    """The same of a program that `exported_program` made."""
    optional("onnxscript", "ONNX", "onnx")
    optional("onnx", "ONNX", "onnx")
    exported = torch.onnx.export(
        program,
        call.args,
        kwargs=call.kwargs,
        dynamo=True,
        verbose=False,
        opset_version=call.opset,
        output_names=_output_names(program),
    )
    assert exported is not None  # without a file's name it is returned
    proto = exported.model_proto
    _name_axes(proto, call)
    made = next(opset.version for opset in proto.opset_import if opset.domain == "")
    if call.opset not in (None, made):
        raise ExportError(f"export: opset {call.opset}, and PyTorch's exporter makes {made}; give --opset {made}")
    return proto


def quick_onnx(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """The content of an ONNX file for one size of inputs, to be timed: by the tracing exporter, which takes a tenth of
    the time; where that one does not know an operator, as `onnx_of`."""
    optional("onnx", "ONNX", "onnx")
    file = io.BytesIO()
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(model, args, file, kwargs=kwargs, dynamo=False)  # type: ignore[arg-type]  # it takes one
        return file.getvalue()
    except Exception:
        return bytes(onnx_of(model, Call(args, kwargs)).SerializeToString())
    finally:
        logger.setLevel(level)


def _output_names(program: torch.export.ExportedProgram) -> list[str]:
    """Of the outputs: keys of a dict or fields where there are some, otherwise numbered."""
    spec = program.call_spec.out_spec
    assert spec is not None
    numbered = pytree.tree_unflatten(range(spec.num_leaves), spec)
    paths, _ = pytree.tree_flatten_with_path(numbered)
    if len(paths) == 1 and not paths[0][0]:
        return ["output"]
    names = [".".join(_key(part) for part in path) for path, _ in paths]
    return [f"output_{name}" if name[:1].isdigit() else name for name in names]


def _key(part: Any) -> str:
    """A step of a path through nested containers."""
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    return str(part)


def _name_axes(proto: Any, call: Call) -> None:
    """Give the open axes their names, wherever their sizes are mentioned."""
    names: dict[str, str] = {}
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        for name in call.dynamic:
            if name == "batch" or len(dims) > 2:
                names.setdefault(dims[AXES[name]].dim_param, name)
    names.pop("", None)
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]
