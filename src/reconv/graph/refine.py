"""What to change after a dry run has failed: an attribute, the layout of a fold, or what may go at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, zip_longest
from typing import Any

import numpy as np
from torch import nn

from reconv.graph.channels import ChannelGraph, ChannelGroup, Counted, Mask
from reconv.graph.constraints import Constraints, Line, Tie, label_classes, varying_axes
from reconv.graph.dry_run import Failure, cut_alone, generic_cut
from reconv.graph.labels import Plane, components
from reconv.graph.observed_sizes import changes, counted_sizes, widths
from reconv.graph.record import Call
from reconv.graph.tracing import Recording

Attributes = Mapping[str, Mapping[str, Counted]]

ATTEMPTS = 48  # that a search for what makes a cut fail may take

# Operators that take numbers from the model's code: what one call gets wrong, its like get wrong elsewhere.
BY_NUMBERS = frozenset(
    {
        *("aten.clone", "aten.view", "aten.reshape", "aten._unsafe_view", "aten.expand", "aten.repeat", "aten.roll"),
        *("aten.slice", "aten.select", "aten.split", "aten.split_with_sizes", "aten.narrow"),
    }
)


@dataclass
class Refiner:
    """Changes the constraints after every dry run that fails.

    Where a number counts channels, those that it counts stay. Else, at the operator that failed, and wherever the same
    line of code runs in a module of the same class:
    first, attributes whose values are sizes seen there are made to follow the cut (all of them, then one by one);
    then folds of the channels involved take another layout; then the axis that does not fit is tied to one that its
    module saw before; then the channels involved stay.
    """

    recording: Recording
    attempt: Callable[[ChannelGraph, Mask], Failure | None]  # a dry run of a cut
    candidates: dict[Line, list[Attributes]] = field(default_factory=dict)
    chosen: dict[Line, Attributes] = field(default_factory=dict)
    changed: Call | None = None  # where attributes were set last
    ties: dict[Line, list[list[Tie]]] = field(default_factory=dict)  # not tried yet

    @cached_property
    def modules(self) -> Mapping[str, nn.Module]:
        return dict(self.recording.model.named_modules())

    def refine(self, constraints: Constraints, graph: ChannelGraph, failure: Failure) -> Constraints:
        call = self.recording.record.operations[min(failure.operation, len(self.recording.record.operations) - 1)]
        if self.changed is not None and self._reads_before(call, self.changed):
            call = self.changed  # an attribute that was set there is read here, and means something else
        self.changed = None
        if failure.shape:
            constraints, changed = self._with_sizes(constraints, graph, call)
            if changed:
                self.changed = call
                return constraints
        involved, where = self._counted(graph, failure, call) if failure.number else self._involved(graph, call)
        other = None if failure.number else self._with_layouts(constraints, graph, call, involved)
        if other is None and failure.shape:
            other = self._with_ties(constraints, graph, call)
        if other is not None:
            return other
        constraints = self._without_ties(constraints, call.line)
        reason = f"a cut copy fails: {failure.why} ({where})"
        return replace(constraints, frozen=(*constraints.frozen, (involved, reason)))

    # -------------------------------------------------------------- attributes

    def _reads_before(self, call: Call, changed: Call) -> bool:
        """Whether a call comes before the one that attributes were set for, or sees one of a module inside its own."""
        if call.index < changed.index:
            return True
        inside = call.module + "." if call.module else ""
        later = {other.module for other in self._same_line(changed) if other.index > call.index}
        sizes = {size for tensor in call.outputs for size in tensor.shape}
        return any(
            path in later and path.startswith(inside) and getattr(self.modules[path], name) in sizes
            for path, attributes in self.chosen.get(changed.line, {}).items()
            for name in attributes
        )

    def _with_sizes(self, constraints: Constraints, graph: ChannelGraph, call: Call) -> tuple[Constraints, bool]:
        """The constraints with the next candidates in place of those that failed, and whether there were any."""
        if call.line not in self.candidates:
            self.candidates[call.line] = list(self._candidates(graph, call))
        candidates = self.candidates[call.line]
        self.chosen.pop(call.line, None)
        if candidates:
            self.chosen[call.line] = candidates[0]
        sizes: dict[str, dict[str, Counted]] = {}
        for attributes in self.chosen.values():
            for path, values in attributes.items():
                sizes.setdefault(path, {}).update(values)
        return replace(constraints, sizes=sizes), bool(candidates and candidates.pop(0))

    def _candidates(self, graph: ChannelGraph, call: Call) -> Iterator[Attributes]:
        """All attributes that match a size here, then each of them by itself, then none."""
        attributes = self._matching(graph, call)
        names = sorted({name for values in attributes.values() for name in values})
        if not names:
            return
        yield attributes
        if len(names) > 1:
            for name in names:
                yield {path: {name: values[name]} for path, values in attributes.items() if name in values}

    def _matching(self, graph: ChannelGraph, call: Call) -> dict[str, dict[str, Counted]]:
        """The attributes, in every module of this class that runs this line."""
        keep = generic_cut(graph)[graph.labels]
        result: dict[str, dict[str, Counted]] = {}
        for other in self._same_line(call):
            for old, counted in counted_sizes(other, graph.labels):
                if not changes(counted, keep):
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

    def _involved(self, graph: ChannelGraph, call: Call) -> tuple[Plane, str]:
        """Labels of the channels that enter the operator and could go, and where; failing these, a later one's."""
        free = np.zeros(graph.classes, dtype=np.bool_)
        for group in graph.groups:
            free[group.units[group.free]] = True
        operations = self.recording.record.operations
        for other in [*operations[call.index :], *reversed(operations[: call.index])]:
            similar = (
                [o for o in self._same_line(other) if o.func is other.func] if other.operator in BY_NUMBERS else [other]
            )
            planes = [p.ravel() for o in similar for value in (*o.before, *o.after) for p in value.planes]
            if planes:
                labels = np.concatenate(planes)
                going = labels[free[graph.labels[labels]]]
                if going.size:
                    return going, other.where
        return np.flatnonzero(free[graph.labels]), call.where

    def _counted(self, graph: ChannelGraph, failure: Failure, call: Call) -> tuple[Plane, str]:
        """Labels of the groups of which a cut changes the number that an operator computes with, and where."""

        def changes_it(groups: Sequence[ChannelGroup]) -> bool:
            found = self.attempt(graph, cut_alone(graph, groups, failure.cut))
            return found is not None and found.number and found.operation == failure.operation

        groups = culprits([g for g in graph.groups if g.free.any()], changes_it)
        units = np.concatenate([group.units[group.free] for group in groups])
        return np.flatnonzero(np.isin(graph.labels, units)), call.where

    def _same_line(self, call: Call) -> list[Call]:
        """The calls that the same line of code makes in modules of the same class."""
        kind = type(self.modules.get(call.module))
        return [
            other
            for other in self.recording.record.operations
            if other.line == call.line and type(self.modules.get(other.module)) is kind
        ]

    def _with_layouts(
        self, constraints: Constraints, graph: ChannelGraph, call: Call, involved: Plane
    ) -> Constraints | None:
        """Another layout for the folds, up to here, of the channels involved."""
        space = self.recording.record.space
        pairs = [*space.united, *(tie.labels for tie in constraints.tied)]
        free = label_classes(pairs, space.count)  # before any layout
        classes = np.unique(graph.labels[involved])
        lines = set()
        for fold in space.folds:
            line = self.recording.record.operations[fold.operation].line
            affected = fold.operation <= call.index and np.isin(graph.labels[fold.plane], classes).any()
            if affected and len(varying_axes(free[fold.plane])) > 1:
                lines.add(line)
        layouts = dict(constraints.layouts)
        lines = {line for line in lines if layouts.get(line, 0) < 4}
        for line in lines:
            layouts[line] = layouts.get(line, 0) + 1
        return replace(constraints, layouts=layouts) if lines else None

    # -------------------------------------------------------------- ties

    def _with_ties(self, constraints: Constraints, graph: ChannelGraph, call: Call) -> Constraints | None:
        """The constraints with the next ties in place of those that failed; None where there are no more.

        A width that the code reads from one axis and uses for another (`C // num_heads`, where `C` is the width of the
        stream) is right while both lose the same positions: then they go together.
        """
        if call.line not in self.ties:
            keep = generic_cut(graph)[graph.labels]
            similar = [other for other in self._same_line(call) if other.func is call.func]
            partners = [list(islice(self._partners(graph.labels, keep, other), 2)) for other in similar]
            self.ties[call.line] = [[tie for tie in ties if tie] for ties in zip_longest(*partners)]
        if not self.ties[call.line]:
            return None
        self.candidates.pop(call.line, None)  # what failed without the ties may be right with them
        constraints = self._without_ties(constraints, call.line)
        return replace(constraints, tied=(*constraints.tied, *self.ties[call.line].pop(0)))

    @staticmethod
    def _without_ties(constraints: Constraints, line: Line) -> Constraints:
        return replace(constraints, tied=tuple(tie for tie in constraints.tied if tie.line != line))

    def _partners(self, classes: Plane, keep: Mask, call: Call) -> Iterator[Tie]:
        """Ties of what this operator sees to other axes that its module saw before, the widest first.

        The width of the one is that of the other or a multiple, such as that of queries, keys and values in one.
        """
        axes = [axis for axis in widths(call, classes) if changes(axis, keep)]
        inside = call.module + "." if call.module else ""
        operations = self.recording.record.operations[: call.index]
        earlier = [o for o in operations if o.module == call.module or o.module.startswith(inside)]
        earlier.sort(key=lambda o: o.module != call.module)  # of equal widths, its own are the likelier ones
        observed = {width.tobytes(): width for other in earlier for width in widths(other, classes)}
        for width in sorted(observed.values(), key=len, reverse=True):
            for axis in axes:
                repeated = np.tile(width, len(axis) // len(width))
                fits = len(repeated) == len(axis) and changes(width, keep)
                if fits and _leaves_a_choice(classes[axis], classes[repeated]):
                    yield Tie(call.line, (axis, repeated))


def culprits(groups: Sequence[ChannelGroup], fails: Callable[[Sequence[ChannelGroup]], bool]) -> list[ChannelGroup]:
    """Of groups that fail together, those that do so alone; what fails only together is left together.

    Args:
        groups: that fail together. fails: whether some of them do.
    """
    left = ATTEMPTS

    def search(part: Sequence[ChannelGroup]) -> list[ChannelGroup]:
        nonlocal left
        if len(part) == 1 or left < 2:
            return list(part)
        left -= 2
        halves = part[: len(part) // 2], part[len(part) // 2 :]
        return [group for half in halves if fails(half) for group in search(half)] or list(part)

    return search(groups)


def _leaves_a_choice(a: Plane, b: Plane) -> bool:
    """Whether these classes are not one yet, and more than one when they are tied."""
    names, index = np.unique([a, b], return_inverse=True)
    a, b = index.reshape(2, -1)
    return bool((a != b).any()) and len(np.unique(components(a, b, len(names)))) > 1
