"""`export`: write a network in a format, and keep the file only if it computes what the network does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from reconv.cost.timing import random_like
from reconv.deploy.exporter import AXES, Call, Exporter
from reconv.deploy.onnx.network import OnnxNetwork
from reconv.errors import ConfigError, ExportError, ReconvError, check_kind, first_line, unknown_name
from reconv.files import PathLike, write_atomically
from reconv.graph.tracing import call_arguments
from reconv.modes import evaluating

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: of the file. format: name of the exporter. size: bytes, with those of files beside it.
        error: largest difference of the outputs, relative to the largest output.
        agreement: share of images with the same prediction; None where the outputs are no class scores.
        images: that both were compared on; 0: on random numbers.
        dynamic: axes of the inputs that may have another size.
        fixed_batch: why axis 0 of the inputs must keep the example's size; "" where it may change.
        precision: of its arithmetic: "float32", or "int8".
    """

    path: Path
    format: str
    size: int
    error: float
    agreement: float | None
    images: int = 0
    dynamic: tuple[str, ...] = ()
    fixed_batch: str = ""
    precision: str = "float32"

    def __str__(self) -> str:
        """One line."""
        batch = "any batch size" if not self.fixed_batch else f"the example's batch size only ({self.fixed_batch})"
        others = [axis for axis in self.dynamic if axis != "batch"]
        sizes = ", ".join([batch, *(f"any {axis}" for axis in others)])
        on = f"{self.images:,} images" if self.images else "random numbers"
        same = "" if self.agreement is None else f", {self.agreement:.1%} of predictions identical"
        kind = self.format if self.precision == "float32" else f"{self.format} {self.precision}"
        return f"{self.path}: {kind}, {self.size:,} bytes, {sizes}; error {self.error:.1e} relative on {on}{same}"


def export(
    model: nn.Module,
    path: PathLike,
    *,
    example: Any,
    to: str | None = None,
    images: Tensor | None = None,
    tolerance: float = TOLERANCE,
    dynamic: Sequence[str] | None = None,
    opset: int | None = None,
) -> Exported:
    """Write a network to a file that runs without reconv, and compare both.

    Args:
        model: pruned or not; stays as it is.
        path: of the file; it is there complete or not at all.
        example: an input, as `trace` takes it: a tensor, a tuple of positional or a mapping of keyword arguments.
        to: name of an exporter (`reconv list exporters`); None: by the suffix of the path.
        images: inputs to compare on, `[n, C, H, W]`; None: random numbers in the example's shapes.
        tolerance: of the outputs, relative to the largest one.
        dynamic: axes of the inputs that may have another size later: "batch", "height", "width"; None: the batch, where
            the network allows it.
        opset: version of ONNX's operators; None: the exporter's own.

    Returns:
        What was written, with the differences found.

    Raises:
        UnknownNameError: no such exporter or axis. ConfigError: a package is missing, or an opset for another format.
        ExportError: the network cannot be exported so, or the file computes something else; no file is left.

    Example:
        >>> import tempfile, torch
        >>> import reconv
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = reconv.export(model, f"{folder}/net.pt2", example=torch.zeros(1, 3, 8, 8))
        >>> written.error < 1e-4
        True
    """
    check_kind("export: model", model, nn.Module)
    exporter = _exporter(Path(path), to)
    for axis in dynamic or ():
        if axis not in AXES:
            raise unknown_name("export: dynamic axis", axis, AXES)
    if opset is not None and exporter.extra not in ("onnx", "openvino"):
        raise ConfigError(f"export: opset {opset}, and {exporter.name} has none; leave it out, or export to onnx")
    args, kwargs = call_arguments(example)
    result: list[Exported] = []

    def write(beside: Path) -> None:
        with TemporaryDirectory(dir=beside.parent, prefix=".reconv") as folder:
            file = Path(folder) / Path(path).name
            call = Call(args, kwargs, ("batch",) if dynamic is None else tuple(dynamic), opset)
            reason = ""
            try:
                difference, agreement = _written_and_compared(exporter, model, call, file, images)
            except ExportError as error:
                if dynamic is not None:
                    raise
                reason = _reason(error)  # the batch may be fixed in the network
                call = replace(call, dynamic=())
                difference, agreement = _written_and_compared(exporter, model, call, file, images)
            if not difference <= tolerance:
                raise ExportError(
                    f"export: {path} would differ from the network by {difference:.1e} relative (at most "
                    f"{tolerance:g}); it was not written; try another format, or a larger tolerance if you know why"
                )
            files = [file, *(file.with_suffix(suffix) for suffix in exporter.companions)]
            size = sum(one.stat().st_size for one in files)
            number = 0 if images is None or kwargs or len(args) != 1 else len(images)
            about = Exported(Path(path), exporter.name, size, difference, agreement, number, call.dynamic, reason)
            result.append(about)
            for companion in files[1:]:
                companion.replace(beside.parent / companion.name)
            file.replace(beside)

    with evaluating(model), torch.no_grad():
        write_atomically(path, write)
    return result[0]


def _written_and_compared(
    exporter: Exporter, model: nn.Module, call: Call, file: Path, images: Tensor | None
) -> tuple[float, float | None]:
    """Write a file; the largest difference of its outputs, and the share of identical predictions.

    Raises:
        ConfigError: a package is missing. ExportError: it cannot be written, or the file does not run.
    """
    args, kwargs = call.opened() if call.dynamic else (call.args, call.kwargs)
    opened = replace(call, args=args, kwargs=kwargs)
    try:
        exporter.write(model, opened, file)
        run = exporter.read(file)
        first = [_compare(model, run, opened.args, opened.kwargs, None)] if call.dynamic else []
        compared = [*first, _compare(model, run, call.args, call.kwargs, images)]
    except ModuleNotFoundError as error:
        hint = f"pip install 'reconv[{exporter.extra}]'" if exporter.extra else f"pip install {error.name}"
        raise ConfigError(f"export: {exporter.name} needs {error.name}; {hint}") from None
    except ReconvError:
        raise
    except Exception as error:
        raise ExportError(
            f"export: {type(model).__name__} cannot be written as {exporter.name} ({first_line(error)}); "
            "try another format, see `reconv list exporters`"
        ) from error
    return _largest(error for error, _ in compared), compared[-1][1]


def _reason(error: ExportError) -> str:
    cause = error.__cause__
    return first_line(cause if isinstance(cause, Exception) else error)


def _exporter(path: Path, to: str | None) -> Exporter:
    if to is not None:
        return Exporter.registry[to]
    by_suffix = {exporter.suffix: exporter for exporter in Exporter.registry}
    if path.suffix not in by_suffix:
        raise unknown_name("export: format of the suffix", path.suffix or path.name, by_suffix)
    return by_suffix[path.suffix]


def compare_outputs(model: nn.Module, run: Any, images: Tensor, batch: int = 32) -> tuple[float, float | None]:
    """How what a file computes differs from a network of one input.

    Args:
        model: in evaluation mode. run: of the file, called as the network is. images: `[n, C, H, W]`, `batch` at once.

    Returns:
        The largest difference relative to the largest output, and the share of identical predictions.
    """
    return _compare(model, run, (images[: min(batch, len(images))],), {}, images, whole=True)


def _compare(
    model: nn.Module,
    file: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    images: Tensor | None,
    whole: bool = False,
) -> tuple[float, float | None]:
    """Relative error of the file's outputs, and the share of identical predictions.

    Args:
        whole: the last images too, where they are fewer than the size that the file may need.
    """
    batches: list[tuple[Any, dict[str, Any]]] = [random_like((args, kwargs))]
    if images is not None and len(args) == 1 and not kwargs:
        parts = [(part,) for part in images.split(len(args[0])) if whole or len(part) == len(args[0])]
        batches = [(part, {}) for part in parts] or batches
    errors, same = [], []
    for inputs, keywords in batches:
        expected, outputs = (
            [leaf.cpu() for leaf in tree_leaves(run(*inputs, **keywords)) if isinstance(leaf, Tensor)]
            for run in (model, file)
        )
        if [leaf.shape for leaf in expected] != [leaf.shape for leaf in outputs]:
            return float("inf"), None
        ranges = model.ranges if isinstance(model, OnnxNetwork) else [0.0] * len(expected)
        errors += [_difference(a, b, r) for a, b, r in zip(expected, outputs, ranges, strict=True) if a.numel()]
        if expected and expected[0].dim() == 2:
            same.append(expected[0].argmax(1) == outputs[0].argmax(1))
    return _largest(errors), float(torch.cat(same).double().mean()) if same else None


def _difference(expected: Tensor, output: Tensor, least: float = 0.0) -> float:
    """The largest one, relative to the largest value, taken to be `least` at least; of numbers that are not rounded,
    whether there is one at all."""
    if not (expected.is_floating_point() or expected.is_complex()):
        return 0.0 if torch.equal(expected, output) else float("inf")
    expected, output = expected.to(torch.complex128), output.to(torch.complex128)
    return float((expected - output).abs().max()) / (max(float(expected.abs().max()), least) or 1.0)


def _largest(errors: Iterable[float]) -> float:
    """NaN if one of them is, which Python's `max` would pass over."""
    return float(torch.tensor([0.0, *errors], dtype=torch.float64).max())
