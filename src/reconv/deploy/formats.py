"""The built-in formats: torch.export, TorchScript, ONNX and OpenVINO."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from reconv.deploy.exporter import Call, Exporter
from reconv.deploy.onnx_out import exported_program, onnx_of
from reconv.optional import optional
from reconv.registry import register


def _write_program(model: nn.Module, call: Call, path: Path) -> None:
    content = BytesIO()  # PyTorch's own writer ends the process where a disk is full
    torch.export.save(exported_program(model, call)[0], content)
    path.write_bytes(content.getvalue())


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
        content = BytesIO()  # PyTorch's own writer ends the process where a disk is full
        torch.jit.save(torch.jit.freeze(traced), content)  # folds BatchNorm
    path.write_bytes(content.getvalue())


def _read_script(path: Path) -> Callable[..., Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(str(path))  # type: ignore[no-any-return]


def _write_onnx(model: nn.Module, call: Call, path: Path) -> None:
    path.write_bytes(onnx_of(model, call).SerializeToString())


def read_onnx(path: Path) -> Callable[..., Any]:
    """What an ONNX file computes in ONNX Runtime, called as the network is; outputs in a list."""
    onnxruntime = optional("onnxruntime", "an ONNX file", "onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*args: Any, **kwargs: Any) -> list[Tensor]:
        return [torch.from_numpy(output) for output in session.run(None, feeds(names, args, kwargs))]

    return run


def feeds(names: list[str], args: Any, kwargs: Any) -> dict[str, Any]:
    """Inputs by their names in a file, as arrays."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    return {name: tensor.detach().cpu().numpy() for name, tensor in zip(names, tensors, strict=True)}


def _write_openvino(model: nn.Module, call: Call, path: Path) -> None:
    openvino = optional("openvino", "OpenVINO's format", "openvino")
    read = openvino.Core().read_model(onnx_of(model, call).SerializeToString())
    openvino.save_model(read, str(path), compress_to_fp16=False)


def read_openvino(path: Path) -> Callable[..., Any]:
    """What a file of OpenVINO's, or an ONNX file, computes in OpenVINO; outputs in a list."""
    openvino = optional("openvino", "OpenVINO's format", "openvino")
    options = {"INFERENCE_PRECISION_HINT": "f32"}  # some processors would compute in bfloat16
    network = openvino.Core().compile_model(str(path), "CPU", options)

    def run(*args: Any, **kwargs: Any) -> list[Tensor]:
        inputs = dict(enumerate(feeds([str(i) for i in range(len(network.inputs))], args, kwargs).values()))
        return [torch.from_numpy(output.copy()) for output in network(inputs).values()]

    return run


register(Exporter("torch", ".pt2", "torch.export; loads without reconv", _write_program, _read_program, ("pt2",)))
register(Exporter("torchscript", ".pt", "traced by TorchScript", _write_script, _read_script, ("jit",)))
register(Exporter("onnx", ".onnx", "ONNX, for many runtimes", _write_onnx, read_onnx, extra="onnx"))
register(
    Exporter(
        "openvino",
        ".xml",
        "OpenVINO, float32; the weights lie beside it in a .bin file",
        _write_openvino,
        read_openvino,
        ("ov",),
        "openvino",
        (".bin",),
    )
)
