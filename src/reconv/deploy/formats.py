"""The built-in formats: torch.export, TorchScript and ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from reconv.deploy.exporter import Call, Exporter
from reconv.registry import register


def _dynamic_shapes(call: Call, batch: Any) -> Any:
    """For every tensor, that axis 0 is the batch."""
    shapes = tree_map(lambda value: {0: batch} if isinstance(value, Tensor) else None, (call.args, call.kwargs))
    return (*shapes[0], *shapes[1].values()) if call.dynamic_batch else None


def _program(model: nn.Module, call: Call) -> torch.export.ExportedProgram:
    shapes = _dynamic_shapes(call, torch.export.Dim.DYNAMIC)
    return torch.export.export(model, call.args, call.kwargs, dynamic_shapes=shapes)


def _write_program(model: nn.Module, call: Call, path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(_program(model, call), file)


def _read_program(path: Path) -> Callable[..., Any]:
    with path.open("rb") as file:
        return torch.export.load(file).module()


def _write_script(model: nn.Module, call: Call, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is no longer developed; the user asked for it
        if call.kwargs:
            traced = torch.jit.trace(model, example_kwarg_inputs=call.kwargs, check_trace=False)
        else:
            traced = torch.jit.trace(model, call.args, check_trace=False)
        torch.jit.save(traced, str(path))


def _read_script(path: Path) -> Callable[..., Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(str(path))  # type: ignore[no-any-return]


def _write_onnx(model: nn.Module, call: Call, path: Path) -> None:
    import onnxscript  # noqa: F401  # what torch.onnx needs; asked for here, so that the message says what to install

    program = torch.onnx.export(
        model,
        call.args,
        kwargs=call.kwargs,
        dynamo=True,
        dynamic_shapes=_dynamic_shapes(call, torch.export.Dim("batch")),
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)  # one file


def _read_onnx(path: Path) -> Callable[..., Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*args: Any, **kwargs: Any) -> list[Tensor]:
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        outputs = session.run(None, {name: t.cpu().numpy() for name, t in zip(names, tensors, strict=True)})
        return [torch.from_numpy(output) for output in outputs]

    return run


register(Exporter("torch", ".pt2", "torch.export; loads without reconv", _write_program, _read_program, ("pt2",)))
register(Exporter("torchscript", ".pt", "traced by TorchScript", _write_script, _read_script, ("jit",)))
register(Exporter("onnx", ".onnx", "ONNX, for many runtimes", _write_onnx, _read_onnx, extra="onnx"))
