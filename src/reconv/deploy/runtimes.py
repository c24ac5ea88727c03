"""The built-in runtimes: PyTorch, compiled PyTorch, ONNX Runtime, OpenVINO, and a program of the user's."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reconv.cost.timing import time_modules
from reconv.deploy.onnx_layers import layer_seconds
from reconv.deploy.runtime import Pass, Runtime, TimedNetwork
from reconv.errors import ConfigError, ExportError, first_line
from reconv.graph.tracing import call_arguments
from reconv.optional import optional
from reconv.registry import register

PROGRAM_SECONDS = 600.0  # that a user's program may take
_PROFILED_PASSES = 5


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """So many threads of PyTorch within the block."""
    before = torch.get_num_threads()
    if before != number:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if before != number:
            torch.set_num_threads(before)


def _in_torch(model: Any, network: TimedNetwork) -> Pass:
    args, kwargs = call_arguments(network.example)
    timed = network.clocked(lambda: model(*args, **kwargs))

    def run() -> float:
        with _threads(network.threads), torch.inference_mode():
            return timed()

    return run


def _load_torch(network: TimedNetwork) -> Pass:
    return _in_torch(_module(network, "torch"), network)


def _layers_torch(network: TimedNetwork) -> Mapping[str, Sequence[float]]:
    with _threads(network.threads):
        return time_modules(_module(network, "torch"), network.example)


def _load_compiled(network: TimedNetwork) -> Pass:
    model = torch.compile(_module(network, "torch-compile"), dynamic=False)
    run = _in_torch(model, network)
    run()  # compiles
    return run


def _module(network: TimedNetwork, runtime: str) -> nn.Module:
    if network.file is not None:
        raise ConfigError(f"runtime: {runtime} runs no ONNX file; give onnxruntime, openvino or command:PROGRAM")
    return network.model


def _session(network: TimedNetwork, **options: Any) -> Any:
    onnxruntime = optional("onnxruntime", "runtime: onnxruntime", "onnx")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = network.threads, 1
    settings.log_severity_level = 3
    for name, value in options.items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(network.onnx, settings, providers=["CPUExecutionProvider"])


def _load_onnxruntime(network: TimedNetwork) -> Pass:
    session = _session(network)
    inputs = dict(zip((value.name for value in session.get_inputs()), network.arrays, strict=True))
    return network.clocked(lambda: session.run(None, inputs))


def _layers_onnxruntime(network: TimedNetwork) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        session = _session(network, enable_profiling=True, profile_file_prefix=str(Path(folder) / "profile"))
        inputs = dict(zip((value.name for value in session.get_inputs()), network.arrays, strict=True))
        for _ in range(1 + _PROFILED_PASSES):
            session.run(None, inputs)
        profile = Path(session.end_profiling()).read_text(encoding="utf-8")
    return layer_seconds(network.onnx, profile, [name for name, _ in network.model.named_modules()])


def _load_openvino(network: TimedNetwork) -> Pass:
    openvino = optional("openvino", "runtime: openvino", "openvino")
    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": network.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # some processors would compute in bfloat16
    }
    request = core.compile_model(core.read_model(network.onnx), "CPU", options).create_infer_request()
    inputs = dict(enumerate(network.arrays))
    return network.clocked(lambda: request.infer(inputs))


def _load_command(network: TimedNetwork) -> Pass:
    """A program that is called as `PROGRAM FILE.onnx BATCH` and prints the milliseconds of a pass."""
    words = shlex.split(network.argument)
    if not words:
        raise ConfigError("runtime: command: no program; give command:PROGRAM")
    content = network.onnx

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            file.write_bytes(content)
            try:
                done = subprocess.run(
                    [*words, str(file), str(network.batch)],
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=PROGRAM_SECONDS,
                    check=False,
                    env={**os.environ, "OMP_NUM_THREADS": str(network.threads)},
                )
            except subprocess.TimeoutExpired:
                raise ExportError(
                    f"runtime: {words[0]} took more than {PROGRAM_SECONDS:.0f} s; time fewer passes in it"
                ) from None
            except OSError as error:
                raise ConfigError(
                    f"runtime: {words[0]} cannot be started ({error.strerror}); give the path of a program"
                ) from None
        return _milliseconds(done, words[0])

    return run


def _milliseconds(done: subprocess.CompletedProcess[str], program: str) -> float:
    """What a program printed, in its last line."""
    if done.returncode != 0:
        why = first_line(RuntimeError(done.stderr.strip()[-300:] or "it said nothing"))
        raise ExportError(f"runtime: {program} failed with exit code {done.returncode} ({why}); see what it needs")
    lines = done.stdout.split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    try:
        value = float(last)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise ExportError(
            f"runtime: {program} printed {last[:60]!r}; its last line has to be the milliseconds of a pass, as in 12.5"
        )
    return value


register(Runtime("torch", "PyTorch, operator by operator", _load_torch, _layers_torch, ("pytorch", "eager")))
# Compiling 26 networks for a table would take an hour: PyTorch's own times serve, corrected by whole networks.
register(Runtime("torch-compile", "torch.compile", _load_compiled, _layers_torch, ("compile",)))
register(
    Runtime(
        "onnxruntime",
        "ONNX Runtime on the CPU",
        _load_onnxruntime,
        _layers_onnxruntime,
        ("ort",),
        ("onnx", "onnxruntime"),
        "onnx",
        runs_onnx=True,
    )
)
register(
    Runtime(
        "openvino",
        "OpenVINO on the CPU, float32",
        _load_openvino,
        aliases=("ov",),
        packages=("onnx", "openvino"),
        extra="openvino",
        runs_onnx=True,
    )
)
register(
    Runtime(
        "command",
        "command:PROGRAM, called as PROGRAM FILE.onnx BATCH, which prints the milliseconds of a pass",
        _load_command,
        packages=("onnx",),
        extra="onnx",
        runs_onnx=True,
        takes_argument=True,
    )
)
