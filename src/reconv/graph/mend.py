"""What to change after a trial has failed: an attribute, the layout of a fold, or what may go at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor, nn

from reconv.graph.channels import ChannelGraph, Counted
from reconv.graph.labels import Plane, axes_of
from reconv.graph.settle import Answers, Line, united, varying_axes
from reconv.graph.trace import Call, Recording, Value
from reconv.graph.trial import Failure, generic_cut

Found = Mapping[str, Mapping[str, Counted]]

# Operators that take numbers from the model's code: what one call gets wrong, its like get wrong elsewhere.
BY_NUMBERS = frozenset(
    {
        *("aten.clone", "aten.view", "aten.reshape", "aten._unsafe_view", "aten.expand", "aten.repeat", "aten.roll"),
        *("aten.slice", "aten.select", "aten.split", "aten.split_with_sizes", "aten.narrow"),
    }
)


@dataclass
class Mender:
    """Improves the answers after every failed trial.

    At the operator that failed, and wherever the same line of code runs in a module of the same class:
    first, attributes whose values are sizes seen there are taught to follow (all of them, then one by one);
    then folds of the channels involved take another layout; then those channels stay.
    """

    recording: Recording
    attempts: dict[Line, list[Found]] = field(default_factory=dict)
    taken: dict[Line, Found] = field(default_factory=dict)

    @cached_property
    def classes(self) -> Plane:
        """The classes before any layout was chosen."""
        space = self.recording.record.space
        return united(space.united, space.count)

    @cached_property
    def modules(self) -> Mapping[str, nn.Module]:
        return dict(self.recording.model.named_modules())

    def improved(self, answers: Answers, graph: ChannelGraph, failure: Failure) -> Answers:
        call = self.recording.record.operations[min(failure.operation, len(self.recording.record.operations) - 1)]
        if failure.shape:
            answers, mended = self._with_sizes(answers, graph, call)
            if mended:
                return answers
        blamed, where = self._blamed(graph, call)
        laid_out = self._with_layouts(answers, graph, call, blamed)
        if laid_out is not None:
            return laid_out
        reason = f"a cut copy fails: {failure.why} ({where})"
        return replace(answers, frozen=(*answers.frozen, (blamed, reason)))

    # -------------------------------------------------------------- attributes

    def _with_sizes(self, answers: Answers, graph: ChannelGraph, call: Call) -> tuple[Answers, bool]:
        """The answers with the next candidates in place of those that failed, and whether there were any."""
        if call.line not in self.attempts:
            self.attempts[call.line] = list(self._candidates(graph, call))
        waiting = self.attempts[call.line]
        sizes = {path: dict(values) for path, values in answers.sizes.items()}
        for path, values in self.taken.pop(call.line, {}).items():
            sizes[path] = {name: counted for name, counted in sizes[path].items() if name not in values}
        if not waiting:
            return replace(answers, sizes=sizes), False
        self.taken[call.line] = waiting.pop(0)
        for path, values in self.taken[call.line].items():
            sizes.setdefault(path, {}).update(values)
        return replace(answers, sizes=sizes), True

    def _candidates(self, graph: ChannelGraph, call: Call) -> Iterator[Found]:
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
        keep = generic_cut(graph)[graph.labels]
        result: dict[str, dict[str, Counted]] = {}
        for other in self._same_line(call):
            for old, counted in _numbers(other, graph.labels):
                if not _changes(counted, keep):
                    continue
                for path, name, value in self._attributes(other.module):
                    if type(value) is type(old) and value == old:
                        result.setdefault(path, {}).setdefault(name, counted)
        return result

    def _attributes(self, path: str) -> Iterator[tuple[str, str, Any]]:
        """The sizes that a module and its children keep; PyTorch's own modules follow by the table."""
        module = self.modules[path]
        children = ((f"{path}.{name}" if path else name, child) for name, child in module.named_children())
        for where, owner in ((path, module), *children):
            if not type(owner).__module__.startswith("torch.nn"):
                for name, value in vars(owner).items():
                    if not name.startswith("_") and type(value) in (int, tuple):
                        yield where, name, value

    # -------------------------------------------------------------- channels

    def _blamed(self, graph: ChannelGraph, call: Call) -> tuple[Plane, str]:
        """Labels of the channels that enter the operator and could go, and where; failing these, a later one's."""
        free = np.zeros(graph.classes, dtype=np.bool_)
        for group in graph.groups:
            free[group.units[group.free]] = True
        operations = self.recording.record.operations
        for other in [*operations[call.index :], *reversed(operations[: call.index])]:
            alike = (
                [o for o in self._same_line(other) if o.func is other.func] if other.operator in BY_NUMBERS else [other]
            )
            planes = [p.ravel() for o in alike for value in (*o.before, *o.after) for p in value.planes]
            if planes:
                labels = np.concatenate(planes)
                going = labels[free[graph.labels[labels]]]
                if going.size:
                    return going, other.where
        return np.flatnonzero(free[graph.labels]), call.where

    def _same_line(self, call: Call) -> list[Call]:
        """The calls that the same line of code makes in modules of the same class."""
        kind = type(self.modules.get(call.module))
        return [
            other
            for other in self.recording.record.operations
            if other.line == call.line and type(self.modules.get(other.module)) is kind
        ]

    def _with_layouts(self, answers: Answers, graph: ChannelGraph, call: Call, blamed: Plane) -> Answers | None:
        """Another layout for the folds, up to here, of the channels involved."""
        classes = np.unique(graph.labels[blamed])
        lines = set()
        for fold in self.recording.record.space.folds:
            line = self.recording.record.operations[fold.operation].line
            involved = fold.operation <= call.index and np.isin(graph.labels[fold.plane], classes).any()
            if involved and len(varying_axes(self.classes[fold.plane])) > 1:
                lines.add(line)
        layouts = dict(answers.layouts)
        lines = {line for line in lines if layouts.get(line, 0) < 4}
        for line in lines:
            layouts[line] = layouts.get(line, 0) + 1
        return replace(answers, layouts=layouts) if lines else None


def _numbers(call: Call, classes: Plane) -> Iterator[tuple[int | tuple[int, ...], Counted]]:
    """Sizes that the operator sees or was given, and the labels that each one counts."""
    for tensor, value in _seen(call):
        along = [_along(value, axis, classes) for axis in range(tensor.dim())]
        for size, labels in zip(tensor.shape, along, strict=True):
            if labels is not None:
                yield size, labels
        yield tuple(tensor.shape), tuple(n if p is None else p for n, p in zip(tensor.shape, along, strict=True))
    arguments = call.arguments
    if "dim" not in arguments or not call.tensors or not isinstance(arguments["dim"], int):
        return
    labels = _along(call.before[0], arguments["dim"] % max(call.tensors[0].dim(), 1), classes)
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


def _along(value: Value, axis: int, classes: Plane) -> Plane | None:
    """The labels that an axis counts; None where it bears none, or never shrinks."""
    for plane in value.planes:
        if axis in axes_of(plane):
            if axis not in varying_axes(classes[plane]):
                return None
            for other in axes_of(plane):
                plane = plane if other == axis else plane.take([0], other)
            return plane.ravel()
    return None


def _changes(counted: Counted, keep: np.ndarray) -> bool:
    parts = counted if isinstance(counted, tuple) else (counted,)
    return not all(isinstance(part, int) or keep[part].all() for part in parts)
