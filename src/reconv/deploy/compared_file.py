"""`export`: write a network in a format, and keep the file only if it computes what the network does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from reconv.cost.timing import random_like
from reconv.deploy.exporter import Call, Exporter
from reconv.errors import ConfigError, ExportError, check_kind, first_line, unknown_name
from reconv.files import PathLike, write_atomically
from reconv.graph.tracing import call_arguments
from reconv.modes import evaluating

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: of the file. format: name of the exporter. size: bytes.
        error: largest difference of the outputs, relative to the largest output.
        agreement: share of images with the same prediction; None where the outputs are no class scores.
        fixed_batch: why axis 0 of the inputs must keep the example's size; "" where it may change.
    """

    path: Path
    format: str
    size: int
    error: float
    agreement: float | None
    fixed_batch: str = ""

    def __str__(self) -> str:
        """One line."""
        batch = "any batch size" if not self.fixed_batch else f"the example's batch size only ({self.fixed_batch})"
        same = "" if self.agreement is None else f", {self.agreement:.1%} of predictions identical"
        return f"{self.path}: {self.format}, {self.size:,} bytes, {batch}; error {self.error:.1e} relative{same}"


def export(
    model: nn.Module,
    path: PathLike,
    *,
    example: Any,
    to: str | None = None,
    images: Tensor | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write a network to a file that runs without reconv, and compare both.

    Args:
        model: pruned or not; stays as it is.
        path: of the file; it is there complete or not at all.
        example: an input, as `trace` takes it: a tensor, a tuple of positional or a mapping of keyword arguments.
        to: name of an exporter (`reconv list exporters`); None: by the suffix of the path.
        images: inputs to compare on, `[n, C, H, W]`; None: random numbers in the example's shapes.
        tolerance: of the outputs, relative to the largest one.

    Returns:
        What was written, with the differences found.

    Raises:
        UnknownNameError: no such exporter. ConfigError: a package is missing.
        ExportError: the network cannot be exported, or the file computes something else; no file is left.

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
    args, kwargs = call_arguments(example)
    result: list[Exported] = []

    def write(beside: Path) -> None:
        reason = ""
        call = Call(*_with_batch_of_two(args, kwargs), dynamic_batch=True)
        try:
            exporter.write(model, call, beside)
            file = exporter.read(beside)
            compared = [_compare(model, file, call.args, call.kwargs, None)]
        except ModuleNotFoundError as error:
            hint = f"pip install 'reconv[{exporter.extra}]'" if exporter.extra else f"pip install {error.name}"
            raise ConfigError(f"export: {exporter.name} needs {error.name}; {hint}") from None
        except Exception as error:  # the batch may be fixed in the network; what else is wrong shows again below
            reason = first_line(error)
            try:
                exporter.write(model, Call(args, kwargs, dynamic_batch=False), beside)
                file, compared = exporter.read(beside), []
            except Exception as error:
                raise ExportError(
                    f"export: {type(model).__name__} cannot be written as {exporter.name} ({first_line(error)}); "
                    "try another format, see `reconv list exporters`"
                ) from error
        compared.append(_compare(model, file, args, kwargs, images))
        difference, agreement = _largest(error for error, _ in compared), compared[-1][1]
        if not difference <= tolerance:
            raise ExportError(
                f"export: {path} would differ from the network by {difference:.1e} relative (at most {tolerance:g}); "
                "it was not written; try another format, or a larger tolerance if you know why"
            )
        result.append(Exported(Path(path), exporter.name, beside.stat().st_size, difference, agreement, reason))

    with evaluating(model), torch.no_grad():
        write_atomically(path, write)
    return result[0]


def _exporter(path: Path, to: str | None) -> Exporter:
    if to is not None:
        return Exporter.registry[to]
    by_suffix = {exporter.suffix: exporter for exporter in Exporter.registry}
    if path.suffix not in by_suffix:
        raise unknown_name("export: format of the suffix", path.suffix or path.name, by_suffix)
    return by_suffix[path.suffix]


def _with_batch_of_two(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The inputs with two examples along axis 0: a size of 1 would be taken for fixed."""

    def two(value: Any) -> Any:
        return torch.cat([value[:1]] * 2) if isinstance(value, Tensor) and value.dim() else value

    doubled: tuple[tuple[Any, ...], dict[str, Any]] = tree_map(two, (args, kwargs))
    return doubled


def _compare(
    model: nn.Module, file: Any, args: tuple[Any, ...], kwargs: dict[str, Any], images: Tensor | None
) -> tuple[float, float | None]:
    """Relative error of the file's outputs, and the share of identical predictions."""
    batches: list[tuple[Any, dict[str, Any]]] = [random_like((args, kwargs))]
    if images is not None and len(args) == 1 and not kwargs:
        parts = [(part,) for part in images.split(len(args[0])) if len(part) == len(args[0])]  # of the size it may need
        batches = [(part, {}) for part in parts] or batches
    errors, same = [], []
    for inputs, keywords in batches:
        expected, outputs = (
            [leaf.cpu() for leaf in tree_leaves(run(*inputs, **keywords)) if isinstance(leaf, Tensor)]
            for run in (model, file)
        )
        if [leaf.shape for leaf in expected] != [leaf.shape for leaf in outputs]:
            return float("inf"), None
        errors += [_difference(a, b) for a, b in zip(expected, outputs, strict=True) if a.numel()]
        if expected and expected[0].dim() == 2:
            same.append(expected[0].argmax(1) == outputs[0].argmax(1))
    return _largest(errors), float(torch.cat(same).double().mean()) if same else None


def _difference(expected: Tensor, output: Tensor) -> float:
    """The largest one, relative to the largest value; of numbers that are not rounded, whether there is one at all."""
    if not (expected.is_floating_point() or expected.is_complex()):
        return 0.0 if torch.equal(expected, output) else float("inf")
    expected, output = expected.to(torch.complex128), output.to(torch.complex128)
    return float((expected - output).abs().max()) / (float(expected.abs().max()) or 1.0)


def _largest(errors: Iterable[float]) -> float:
    """NaN if one of them is, which Python's `max` would pass over."""
    return float(torch.tensor([0.0, *errors], dtype=torch.float64).max())
