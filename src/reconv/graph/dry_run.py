"""Try a cut before trusting it: run a cut copy of the model and compare it with the first run.

The copy holds shapes only, so that a dry run costs one more trace. Its parameters have the first run's labels; every
operator's output must have the shape and the channels that were predicted, channels that meet must be the same, and
numbers that an operator computes with may not change. What the model's own code does with sizes (a view with a burnt
size, a slice at a fixed position, a division by the number of channels) thus shows at the operator where it happens.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from reconv.graph.channels import ChannelGraph, ChannelGroup, Mask
from reconv.graph.constants import FilledError
from reconv.graph.copies import parameters_and_buffers
from reconv.graph.labels import LabelSpace, Plane, Shape, axes_of
from reconv.graph.meta_cut import cut_without_data
from reconv.graph.record import Call, Record, Value
from reconv.graph.tracing import Recording, RuleOf, batch_of_two, in_one_line, in_training, run


@dataclass(frozen=True)
class Failure:
    """The first operator at which a cut copy departs from what was predicted.

    Args:
        operation: its index. why: in words. shape: it shows in a shape, so that a size may be at fault.
        number: it shows in a number that the operator computes with. cut: of the copy.
    """

    operation: int
    why: str
    shape: bool
    number: bool = False
    cut: Mask | None = field(default=None, compare=False, repr=False)


class _DepartsError(Exception):
    """The cut copy departs from the prediction."""

    def __init__(self, why: str, shape: bool, number: bool = False):
        super().__init__(why)
        self.shape = shape
        self.number = number


class _KnownLabels(LabelSpace):
    """Labels are the first run's; those that this run adds are negative and match anything."""

    def __init__(self, classes: Plane):
        super().__init__()
        self.classes = classes

    def differ(self, a: Plane, b: Plane) -> bool:
        """Whether channels at one (broadcast) position are known to differ."""
        x, y = np.broadcast_arrays(a, b)
        both = (x >= 0) & (y >= 0)
        return bool((self.classes[x[both]] != self.classes[y[both]]).any())

    def fresh(self, size: int) -> Plane:
        self.count += size
        return -np.arange(self.count - size + 1, self.count + 1, dtype=np.int64)

    def unite(self, a: Plane, b: Plane) -> None:
        try:
            differ = self.differ(a, b)
        except ValueError:
            raise _DepartsError(f"{a.size} channels meet {b.size}", True) from None
        if differ:
            raise _DepartsError("other channels meet than in the whole network", False)

    def spread(self, whole: Plane, part: Plane) -> None:
        if np.isin(self.classes[part[part >= 0]], self.classes[whole[whole >= 0]]).any():
            self.unite(whole, part)


# Whether an operator copies, or lays memory out anew, depends on the strides, and so on the sizes.
_COPIES = ("aten.clone", "aten.contiguous", "aten.alias", "aten.as_strided", "aten.as_strided_")
_VIEWS = ("aten._unsafe_view", "aten.reshape", "aten._reshape_alias", "aten._reshape_copy")


def _counts(call: Call) -> bool:
    # A constant may come from a cache the second time.
    return bool(call.outputs) and call.operator not in _COPIES and not call.constant


def _kind(call: Call) -> str:
    return "aten.view" if call.operator in _VIEWS else call.operator


def run_cut_copy(
    recording: Recording, graph: ChannelGraph, example: Any, rule_of: RuleOf, keep: Mask | None = None
) -> Failure | None:
    """Run a copy from which every group has lost some channels; where it departs from the prediction, or None.

    Args:
        recording: of the whole model. graph: what follows from it. example: the model's input.
        rule_of: gives the rule of an operator.
        keep: the cut, a mask over classes; None: the generic one.
    """
    keep = generic_cut(graph) if keep is None else keep
    if keep.all():
        return None
    space = _KnownLabels(recording.meeting)  # channels that go together may still not take each other's places
    record = Record(space=space)
    cut_copy = _cut_copy(recording, graph, keep, record)
    expected = [call for call in recording.record.operations if _counts(call)]
    predict = _Prediction(space, keep[graph.labels])
    position = 0

    def check(call: Call) -> None:
        nonlocal position
        if not _counts(call):
            return
        if position >= len(expected) or _kind(expected[position]) != _kind(call):
            raise _DepartsError("other operators run than in the whole network", False)
        predict.compare(expected[position], call)
        position += 1

    try:
        with _unlogged():
            given = run(cut_copy.eval(), example, record, rule_of, recording.fake, check, recording.filled)
            if recording.training:
                again = in_training(cut_copy)
                run(again, batch_of_two(example), record, rule_of, recording.fake, check, recording.filled)
    except _DepartsError as error:
        return Failure(expected[min(position, len(expected) - 1)].index, str(error), error.shape, error.number)
    except (Exception, FilledError) as error:  # whatever the model's code makes of other sizes
        return Failure(expected[min(position, len(expected) - 1)].index, in_one_line(error), True)
    other = _other_number(recording.given, given)
    return None if other is None else Failure(expected[-1].index, f"it gives {other}", False, True)


def _other_number(whole: Sequence[Tensor | None], cut: Sequence[Tensor | None]) -> str | None:
    """Where two runs have other constants at one place, what the cut one has in place of what; else None."""
    with unset_fake_temporarily():
        for was, now in zip(whole, cut, strict=False):
            if was is None or now is None or (was.shape == now.shape and bool(_same(was, now).all())):
                continue
            if was.numel() == now.numel() == 1:
                return f"{now.item():g} in place of {was.item():g}, a number that counts channels"
            return "other numbers than the whole network has, which count channels"
    return None


def _same(a: Tensor, b: Tensor) -> Tensor:
    return (a == b) | ((a != a) & (b != b))


@contextmanager
def _unlogged() -> Iterator[None]:
    """Operators that refuse a cut copy are part of a dry run: PyTorch need not log them."""

    def refuse(_: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger("torch._subclasses.fake_tensor")
    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


def cut_alone(graph: ChannelGraph, groups: Sequence[ChannelGroup], cut: Mask | None = None) -> Mask:
    """What `cut`, or the generic one, takes of these groups alone."""
    keep = np.ones(graph.classes, dtype=np.bool_)
    whole = generic_cut(graph) if cut is None else cut
    for group in groups:
        keep[group.units] = whole[group.units]
    return keep


def generic_cuts(graph: ChannelGraph, doubted: bool) -> list[Mask]:
    """Cuts that tell the groups apart: of any two, one loses another share than the other in some cut.

    Args:
        doubted: the code counts positions; then every channel that may go does so in some cut.
    """
    cuts = [generic_cut(graph, turn=turn) for turn in range(_turns(graph))]
    several = [(g, steps) for g, steps in zip(graph.groups, _random_steps(graph), strict=True) if len(steps) > 1]
    while doubted and any(np.all([cut[g.units[steps]] for cut in cuts], axis=0).any() for g, steps in several):
        cuts.append(generic_cut(graph, len(cuts)))
    alike: dict[tuple[float, ...], list[ChannelGroup]] = {}
    for group in graph.groups:
        alike.setdefault(tuple(float(cut[group.units].mean()) for cut in cuts), []).append(group)
    alike.pop((1.0,) * len(cuts), None)
    for bit in range(max((len(groups) - 1).bit_length() for groups in alike.values()) if alike else 0):
        cut = cuts[0].copy()
        for groups in alike.values():
            for number, group in enumerate(groups):
                cut[group.units] |= len(groups) > 1 and not number >> bit & 1
        cuts.append(cut)
    return cuts


def generic_cut(graph: ChannelGraph, seed: int = 0, turn: int = 0) -> Mask:
    """A mask over classes that takes another share of every group, as far as there are shares enough.

    The next seed takes channels that those before it left. The next turn takes other positions of cells that lose the
    same ones in the turns before it.
    """
    every = _random_steps(graph, turn)
    taken = [0] * len(every)
    for number in range(seed + 1):
        keep = np.ones(graph.classes, dtype=np.bool_)
        shares: set[Fraction] = set()
        for i, (group, steps) in enumerate(zip(graph.groups, every, strict=True)):
            # Two stay where they can: with a single one, PyTorch's operators take short cuts that others do not.
            most = len(steps) - 2 if len(steps) > 2 else len(steps) - 1
            if most < 1:
                continue
            wanted = max(1.0, (0.3, 0.55, 0.4, 0.65, 0.2)[(i + number) % 5] * len(steps))
            left = len(steps) - taken[i]
            least = min(left, most) if 0 < left < len(steps) else min(2, most) if len(steps) > 4 else 1
            amounts = sorted(range(least, most + 1), key=lambda n: abs(n - wanted))
            share_of = {n: Fraction(n * steps.shape[1], group.size) for n in amounts}
            amount = next((n for n in amounts if share_of[n] not in shares), amounts[0])
            shares.add(share_of[amount])
            gone = np.arange(taken[i], taken[i] + amount) % len(steps)
            keep[group.units[steps[gone]]] = False
            taken[i] += amount
    return keep


def _turns(graph: ChannelGraph) -> int:
    """Cuts after which any two cells of a group have lost other positions in one of them."""
    result = 1
    for group in graph.groups:
        sizes = np.unique(group.cells, return_counts=True)[1]
        for size in np.unique(sizes[sizes > 1]):
            while len(sizes) > int(size) ** result:
                result += 1
    return result


def _random_steps(graph: ChannelGraph, turn: int = 0) -> list[Plane]:
    """For every group what to remove, step by step, in a random order that is always the same.

    A step takes other positions of every cell: code that lays channels out anew may be right where all lose the same.
    The digits of a cell's number, to the base of its size, say how far it is turned, turn by turn.
    """
    generator = np.random.default_rng(0)
    result = []
    for group in graph.groups:
        cells = [np.flatnonzero(group.cells == cell) for cell in np.unique(group.cells)]
        order = generator.permutation(max(map(len, cells)))
        queues = [
            cell[np.roll(order[order < len(cell)], number // max(len(cell), 2) ** turn)]
            for number, cell in enumerate(cells)
        ]
        result.append(group.steps(np.concatenate(queues)))
    return result


def _cut_copy(recording: Recording, graph: ChannelGraph, keep: Mask, record: Record) -> nn.Module:
    """The copy, cut: its parameters are new and without data, and known to the record."""
    assert recording.fake is not None
    cut_copy = cut_without_data(graph, keep, recording.fake)
    kept = keep[graph.labels]
    parameters, buffers = parameters_and_buffers(cut_copy)
    for name, tensor in (parameters | buffers).items():
        record.set_parameter(name, tensor, _keep_labels(recording.record.parameters[name], kept))
    return cut_copy


def _keep_labels(planes: tuple[Plane, ...], keep: Mask) -> tuple[Plane, ...]:
    """A parameter's planes without the labels that go; every row of a grouped weight keeps equally many."""
    single = {axes_of(p)[0]: np.flatnonzero(keep[p]) for p in planes if len(axes_of(p)) == 1}
    result = []
    for plane in planes:
        axes = axes_of(plane)
        for axis in axes:
            plane = plane.take(single[axis], axis) if axis in single else plane
        if len(axes) > 1:
            row, column = axes
            kept = plane[keep[plane]].reshape(plane.shape[row], -1)
            plane = kept.reshape([kept.shape[(row, column).index(a)] if a in axes else 1 for a in range(plane.ndim)])
        result.append(plane)
    return tuple(result)


def _factors(call: Call) -> list[float]:
    """The numbers that an operator computes with: all of an element-wise one's, else those that are no sizes."""
    kinds = (int, float) if torch.Tag.pointwise in call.func.tags else float
    return [n for n in call.arguments.values() if isinstance(n, kinds)]


def _alike(factors: Sequence[float], others: Sequence[float]) -> bool:
    """Whether these are the same numbers; what is not a number is so in both."""
    return len(factors) == len(others) and all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(factors, others, strict=True)
    )


class _Prediction:
    """What every operator of a cut copy must give, from the first run's labels."""

    def __init__(self, space: _KnownLabels, kept: Mask):
        self.space = space
        self.kept = kept

    def compare(self, expected: Call, actual: Call) -> None:
        factors, others = _factors(expected), _factors(actual)
        if not _alike(factors, others):
            pairs = zip(factors, others, strict=False)
            was, now = next((p for p in pairs if not _alike(p[:1], p[1:])), (len(factors), len(others)))
            why = f"it computes with {now:g} in place of {was:g}, a number that counts channels"
            raise _DepartsError(why, False, True)
        other = _other_number(expected.known, actual.known)
        if other is not None:
            raise _DepartsError(f"it computes with {other}", False, True)
        for before, after, value, observed in zip(
            expected.outputs, actual.outputs, expected.after, actual.after, strict=True
        ):
            if not value.planes:
                continue
            shape = self.shape(before, value)
            if shape is None:
                raise _DepartsError("what stays does not fill a block", True)
            if tuple(after.shape) != shape:
                raise _DepartsError(f"it gives {tuple(after.shape)}, not {shape}", True)
            for plane in value.planes:
                self._compare_channels(plane, observed)

    def shape(self, tensor: Tensor, value: Value) -> Shape | None:
        """The shape without the channels that go; None where they do not leave a block."""
        shape = list(tensor.shape)
        for plane in value.planes:
            kept = self.kept[plane]
            if kept.all():
                continue
            axes = axes_of(plane)
            for axis in axes:
                shape[axis] = int(kept.sum(axis=axis).max())
            if np.prod([shape[a] for a in axes]) != kept.sum():
                return None
        return tuple(shape)

    def _compare_channels(self, plane: Plane, observed: Value) -> None:
        """Where the labels that stay are a block of indices, they must be the very ones that were predicted."""
        kept = self.kept[plane]
        axes = axes_of(plane)
        blocks = [np.flatnonzero(kept.any(axis=tuple(a for a in axes if a != axis))) for axis in axes]
        block = plane
        for axis, index in zip(axes, blocks, strict=True):
            block, kept = block.take(index, axis), kept.take(index, axis)
        if not kept.all():
            return
        for other in observed.planes:
            if set(axes_of(other)) & set(axes):
                try:
                    differ = self.space.differ(block, other)
                except ValueError:
                    differ = True
                if differ:
                    raise _DepartsError("other channels come out than were predicted", False)
