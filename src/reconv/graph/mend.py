"""What to change after a trial has failed: an attribute, the layout of a fold, or what may go at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from reconv.graph.channels import ChannelGraph
from reconv.graph.labels import Plane, axes_of
from reconv.graph.settle import Answers, Line
from reconv.graph.sizes import SIZES
from reconv.graph.trace import Call, Recording, Value
from reconv.graph.trial import Failure, generic_cut

Counted = Plane | tuple[Plane, ...]


@dataclass
class Mender:
    """Improves the answers after every failed trial.

    At the operator that failed, and wherever the same line of code runs in a module of the same class:
    first, attributes whose values are sizes seen there are taught to follow (all of them, then one by one);
    then folds of the channels involved take another layout; then those channels stay.
    """

    recording: Recording
    attempts: dict[Line, list[Mapping[str, Mapping[str, Counted]]]] = field(default_factory=dict)

    def improved(self, answers: Answers, graph: ChannelGraph, failure: Failure) -> Answers:
        call = self.recording.record.operations[min(failure.operation, len(self.recording.record.operations) - 1)]
        if failure.shape:
            mended = self._with_sizes(answers, graph, call)
            if mended is not None:
                return mended
        blamed = self._blamed(answers, graph, call)
        laid_out = self._with_layouts(answers, graph, call, blamed)
        if laid_out is not None:
            return laid_out
        reason = f"the model's code does not follow when channels go: {failure.why} ({call.where})"
        return replace(answers, frozen=(*answers.frozen, (blamed, reason)))

    # -------------------------------------------------------------- attributes

    def _with_sizes(self, answers: Answers, graph: ChannelGraph, call: Call) -> Answers | None:
        if call.line not in self.attempts:
            self.attempts[call.line] = list(self._candidates(graph, call))
        waiting = self.attempts[call.line]
        if not waiting:
            return None
        chosen = waiting.pop(0)
        sizes = {path: dict(values) for path, values in answers.sizes.items()}
        for path, values in chosen.items():
            sizes.setdefault(path, {}).update(values)
        return replace(answers, sizes=sizes)

    def _candidates(self, graph: ChannelGraph, call: Call) -> Iterator[Mapping[str, Mapping[str, Counted]]]:
        """All attributes that match a size here, then each of them by itself, then none."""
        found = self._matching(graph, call)
        names = sorted({name for values in found.values() for name in values})
        if not names:
            return
        yield found
        if len(names) > 1:
            for name in names:
                yield {path: {name: values[name]} for path, values in found.items() if name in values}

    def _matching(self, graph: ChannelGraph, call: Call) -> dict[str, dict[str, Counted]]:
        """The attributes, in every module of this class that runs this line."""
        modules = dict(self.recording.twin.named_modules())
        kind = type(modules.get(call.module))
        if any(issubclass(kind, known) for known, _ in SIZES):
            return {}
        keep = generic_cut(graph)[graph.labels]
        result: dict[str, dict[str, Counted]] = {}
        for other in self.recording.record.operations:
            if other.line != call.line or type(modules.get(other.module)) is not kind:
                continue
            for old, counted in _numbers(other):
                if not _changes(counted, keep):
                    continue
                for name, value in vars(modules[other.module]).items():
                    if not name.startswith("_") and type(value) is type(old) and value == old:
                        result.setdefault(other.module, {}).setdefault(name, counted)
        return result

    # -------------------------------------------------------------- channels

    def _blamed(self, answers: Answers, graph: ChannelGraph, call: Call) -> Plane:
        """Labels of the channels that enter the operator and could go; where there are none, of a later one."""
        free = np.zeros(graph.classes, dtype=np.bool_)
        for group in graph.groups:
            free[group.units[group.free]] = True
        operations = self.recording.record.operations
        for other in [*operations[call.index :], *reversed(operations[: call.index])]:
            planes = [p.ravel() for value in (*other.before, *other.after) for p in value.planes]
            if planes:
                labels = np.concatenate(planes)
                going = labels[free[graph.labels[labels]]]
                if going.size:
                    return going
        return np.flatnonzero(free[graph.labels])

    def _with_layouts(self, answers: Answers, graph: ChannelGraph, call: Call, blamed: Plane) -> Answers | None:
        """Another layout for the folds, up to here, of the channels involved."""
        classes = np.unique(graph.labels[blamed])
        lines = set()
        for fold in self.recording.record.space.folds:
            line = self.recording.record.operations[fold.operation].line
            if fold.operation <= call.index and np.isin(graph.labels[fold.plane], classes).any():
                lines.add(line)
        layouts = dict(answers.layouts)
        lines = {line for line in lines if layouts.get(line, 0) < 4}
        for line in lines:
            layouts[line] = layouts.get(line, 0) + 1
        return replace(answers, layouts=layouts) if lines else None


def _numbers(call: Call) -> Iterator[tuple[int | tuple[int, ...], Counted]]:
    """Sizes that the operator sees or was given, and the labels that each one counts."""
    for tensor, value in _seen(call):
        for axis in range(tensor.dim()):
            labels = _along(value, axis)
            if labels is not None:
                yield tensor.shape[axis], labels
    arguments = call.arguments
    if "dim" not in arguments or not call.tensors or not isinstance(arguments["dim"], int):
        return
    labels = _along(call.before[0], arguments["dim"] % max(call.tensors[0].dim(), 1))
    if labels is None:
        return
    if "split_sizes" in arguments:
        ends = np.cumsum(arguments["split_sizes"])
        yield tuple(arguments["split_sizes"]), tuple(np.split(labels, ends[:-1]))
    for name in ("start", "end"):
        if isinstance(arguments.get(name), int):
            yield arguments[name], labels[: arguments[name]]


def _seen(call: Call) -> Iterator[tuple[Tensor, Value]]:
    yield from zip(call.outputs, call.after, strict=False)
    yield from zip(call.tensors, call.before, strict=True)


def _along(value: Value, axis: int) -> Plane | None:
    for plane in value.planes:
        if axis in axes_of(plane):
            for other in axes_of(plane):
                plane = plane if other == axis else plane.take([0], other)
            return plane.ravel()
    return None


def _changes(counted: Counted, keep: np.ndarray) -> bool:
    parts = counted if isinstance(counted, tuple) else (counted,)
    return not all(keep[part].all() for part in parts)
