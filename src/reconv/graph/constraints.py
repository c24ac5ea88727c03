"""Settle what a trace recorded: labels become classes, classes become groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.conv.geometry import ConvGeometry
from reconv.graph.channels import ChannelGraph, ChannelGroup, Counted, Layer, SignalProduct
from reconv.graph.labels import Fold, Plane, axes_of, components
from reconv.graph.record import DETACH, LayerCall, Record

SEVERAL_GROUPS = "a grouped operator reads one channel in several groups"
OTHER_CHANNELS = "a grouped operator reads it together with other channels"

Line = tuple[str, int]


@dataclass(frozen=True, eq=False)
class Tie:
    """Labels that go together because a line of the model's code takes the one's width for the other's."""

    line: Line
    labels: tuple[Plane, Plane]


@dataclass(frozen=True)
class Constraints:
    """What must hold of the labels: what dry runs of cut copies showed, on top of what the operators say.

    Args:
        layouts: line of code that folds channels -> which of its layouts to take (see `_fold_constraint`).
        frozen: labels that have to stay, and why.
        sizes: attributes that have to follow, by module.
        tied: labels that go together.
        cautious: no dry run is possible; channels in doubt stay.
    """

    layouts: Mapping[Line, int] = field(default_factory=dict)
    frozen: tuple[tuple[Plane, str], ...] = ()
    sizes: Mapping[str, Mapping[str, Counted]] = field(default_factory=dict)
    tied: tuple[Tie, ...] = ()
    cautious: bool = False


def solve_constraints(model: nn.Module, record: Record, example: Any, constraints: Constraints) -> ChannelGraph:
    """The graph that follows from a record and the constraints that dry runs have shown."""
    pairs = [*record.space.united, *(tie.labels for tie in constraints.tied)]
    before_folds = label_classes(pairs, record.space.count)
    layouts = dict(constraints.layouts)
    shapes = tuple(tuple(t.shape) for t in pytree.tree_leaves(example) if isinstance(t, Tensor))
    while True:
        extra, rows, exhausted = _laid_out(record, before_folds, layouts)
        classes = label_classes([*pairs, *extra], record.space.count) if extra else before_folds
        shared, apart = _spread(record.space.spreads, classes)
        classes = label_classes([*pairs, *extra, *shared], record.space.count) if shared else classes
        layers = _layers(record, classes, record.images)
        component = _components((layer.outputs for layer in layers), int(classes.max(initial=-1)) + 1)
        balances = [classes[r] for r in record.space.balanced] + [classes[r] for r, _ in rows]
        broken = {line for r, line in rows if _spans(classes[r], component, layers)}
        if not broken:
            break
        for line in broken:
            layouts[line] = layouts.get(line, 0) + 1
    reasons = [*record.space.frozen, *constraints.frozen, *exhausted, *apart]
    if constraints.cautious:
        reasons += record.space.doubted
    count = int(classes.max(initial=-1)) + 1
    sizes = {path: dict(values) for path, values in record.sizes.items()}
    for path, values in constraints.sizes.items():
        sizes.setdefault(path, {}).update(values)
    return ChannelGraph(
        model=model,
        example=shapes,
        inputs=example,
        images=record.images,
        layers=layers,
        groups=_groups(layers, component, classes, _first_reasons(reasons, classes), record, balances),
        parameters={name: tuple(classes[p] for p in planes) for name, planes in record.parameters.items()},
        classes=count,
        sizes={path: {a: _classes_of(p, classes) for a, p in values.items()} for path, values in sizes.items()},
        uncounted=dict(record.uncounted),
        products=_products(record, classes, record.images),
        notes=tuple(record.notes),
        labels=classes,
        forward=record.forward,
        statistics=tuple(tuple(classes[p] for p in planes) for planes in record.space.statistics),
    )


def label_classes(pairs: Iterable[tuple[Plane, Plane]], count: int) -> Plane:
    """The class of every label: labels of one class are removed together. Shape [count]."""
    both = list(pairs)
    if not both:
        return np.arange(count, dtype=np.int64)
    a, b = (np.concatenate(side) for side in zip(*both, strict=True))
    return components(a, b, count)


def _spread(
    spreads: Iterable[tuple[Plane, Plane]], classes: Plane
) -> tuple[list[tuple[Plane, Plane]], list[tuple[Plane, str]]]:
    """Labels of parts to unite with those of the wholes that they are spread over, and labels of parts that stay."""
    shared, apart = [], []
    for whole, part in spreads:
        if set(varying_axes(classes[whole])) & set(axes_of(part)):
            a, b = np.broadcast_arrays(whole, part)
            shared.append((a.ravel(), b.ravel()))
        else:
            apart.append((part.ravel(), "spread over channels that go as a whole"))
    return shared, apart


def _classes_of(counted: Counted, classes: Plane) -> Counted:
    if isinstance(counted, tuple):
        return tuple(p if isinstance(p, int) else classes[p] for p in counted)
    return classes[counted]


# ------------------------------------------------------------------ folds


def _laid_out(
    record: Record, classes: Plane, layouts: Mapping[Line, int]
) -> tuple[list[tuple[Plane, Plane]], list[tuple[Plane, Line]], list[tuple[Plane, str]]]:
    """What the folds ask for in the layouts chosen: labels to unite, rows to balance, labels to freeze."""
    joint: list[tuple[Plane, Plane]] = []
    rows: list[tuple[Plane, Line]] = []
    frozen: list[tuple[Plane, str]] = []
    for fold in record.space.folds:
        call = record.operations[fold.operation]
        constraint = _fold_constraint(fold, classes, layouts.get(call.line, 0))
        if constraint is None:
            frozen.append((fold.plane.ravel(), f"its channels are laid out in parts of fixed size ({call.where})"))
        elif isinstance(constraint, tuple):
            joint.append(constraint)
        elif constraint.size:
            rows.append((constraint, call.line))
    return joint, rows, frozen


def varying_axes(classes: Plane) -> list[int]:
    """The axes along which a plane of classes varies; labels that were united since no longer do."""
    return [a for a in axes_of(classes) if not (classes == classes.take([0], a)).all()]


def _fold_constraint(fold: Fold, classes: Plane, layout: int) -> Plane | tuple[Plane, Plane] | None:
    """What must hold so that the channels that stay fill a block again, in one of several layouts.

    0: the last axis shrinks, every row by as much (rows to balance).
    1: the last axis shrinks, and loses the same positions in every row (labels to unite).
    2 and up: the axis before it shrinks, and the others stay as they are; and so on; then None.
    """
    varying = varying_axes(classes[fold.plane])
    if len(varying) < 2:
        return np.zeros((0, 0), dtype=np.int64)
    if layout == 0:
        plane = fold.plane
        for axis in set(axes_of(plane)) - set(varying):
            plane = plane.take([0], axis)
        return plane.reshape(-1, plane.shape[varying[-1]])
    if layout > len(varying):
        return None
    first = fold.plane
    for axis in varying[: len(varying) - layout] + varying[len(varying) - layout + 1 :]:
        first = first.take([0], axis)
    a, b = np.broadcast_arrays(fold.plane, first)
    return a.ravel(), b.ravel()


def _spans(rows: Plane, component: Plane, layers: tuple[Layer, ...]) -> bool:
    """Whether rows hold channels of several groups, or one channel in several rows."""
    owned = np.zeros(len(component), dtype=np.bool_)
    for layer in layers:
        owned[layer.outputs] = True
    if not owned[rows].any():
        return False
    return not owned[rows].all() or len(np.unique(component[rows])) > 1 or _row_sets(rows) is None


def _row_sets(rows: Plane) -> list[frozenset[int]] | None:
    """The rows as sets of classes, equal ones once; None where two overlap or a row repeats some classes only."""
    sets = {}
    for row in rows:
        members, counts = np.unique(row, return_counts=True)
        if len(set(counts.tolist())) > 1:
            return None
        sets[frozenset(members.tolist())] = len(members)
    total = frozenset().union(*sets) if sets else frozenset()
    if len(total) < sum(sets.values()) or len(set(sets.values())) > 1:
        return None
    return list(sets)


# ------------------------------------------------------------------ layers


def _layers(record: Record, classes: Plane, batch: int) -> tuple[Layer, ...]:
    """One layer a weight; a weight used several times sums its positions."""
    by_name: dict[str, list[LayerCall]] = {}
    for call in record.calls:
        by_name.setdefault(call.layer, []).append(call)
    norm_of = {labels.tobytes(): scale for labels, scale in reversed(record.norms)}
    return tuple(
        Layer(
            name=name,
            weight=uses[0].parameter,
            kind=uses[0].kind,
            outputs=classes[uses[0].outputs],
            inputs=classes[uses[0].inputs],
            positions=sum(use.positions for use in uses) / batch,
            kernel=uses[0].window["kernel"] if uses[0].window else (),
            geometry=_geometry(uses[0]),
            norm=norm_of.get(uses[0].outputs.tobytes()),
            inputs_first=uses[0].inputs_first,
            rows=tuple((use.positions / batch, classes[use.rows]) for use in uses if use.rows is not None),
        )
        for name, uses in by_name.items()
    )


def _products(record: Record, classes: Plane, batch: int) -> tuple[SignalProduct, ...]:
    skipped = np.cumsum([call.operator == DETACH for call in record.operations])
    result = []
    for call in record.products:
        entry, planes = call.entry / (1 if call.static else batch), []
        for labels in call.planes:
            members, counts = np.unique(classes[labels], return_counts=True)
            if (counts == counts[0]).all():  # each as often: once, and as many times the work
                entry *= int(counts[0])
                planes.append(members)
            else:
                planes.append(classes[labels].ravel())
        index = call.index - int(skipped[call.index])
        result.append(SignalProduct(call.operator, call.module, index, entry, tuple(planes)))
    return tuple(result)


def _geometry(call: LayerCall) -> ConvGeometry | None:
    """The geometry of the convolution whose matrix, or transposed matrix, the layer applies."""
    if call.window is None:
        return ConvGeometry(input_size=(1, 1), kernel=(1, 1))
    size = call.window["output" if call.kind == "conv_transposed" else "input"]
    if len(size) > 2:
        return None
    flat = len(size) == 1  # a 1-d convolution is one on a map of height 1
    window = call.window

    def pair(name: str, neutral: int) -> tuple[int, int]:
        values = window[name]
        return (neutral, values[0]) if flat else (values[0], values[1])

    return ConvGeometry(
        input_size=(1, size[0]) if flat else (size[0], size[1]),
        kernel=pair("kernel", 1),
        stride=pair("stride", 1),
        padding=pair("padding", 0),
        dilation=pair("dilation", 1),
    )


# ------------------------------------------------------------------ groups


def _first_reasons(frozen: Iterable[tuple[Plane, str]], classes: Plane) -> dict[int, str]:
    reasons: dict[int, str] = {}
    for labels, reason in frozen:
        for c in np.unique(classes[labels]):
            reasons.setdefault(int(c), reason)
    return reasons


def _groups(
    layers: tuple[Layer, ...],
    component: Plane,
    classes: Plane,
    reasons: Mapping[int, str],
    record: Record,
    balances: list[Plane],
) -> tuple[ChannelGroup, ...]:
    """Classes that share a layer's output axis belong to one group."""
    streams = {int(component[c]) for labels in record.space.streams for c in np.unique(classes[labels])}
    members: dict[int, list[Plane]] = {}
    producers: dict[int, list[str]] = {}
    consumers: dict[int, list[str]] = {}
    for layer in layers:
        index = int(component[layer.outputs[0]])
        producers.setdefault(index, []).append(layer.name)
        members.setdefault(index, []).append(layer.outputs)
        for reader in np.unique(component[layer.inputs]):
            consumers.setdefault(int(reader), []).append(layer.name)
    balanced: dict[int, list[Plane]] = {}
    for rows in balances:
        for index in np.unique(component[rows]):
            balanced.setdefault(int(index), []).append(rows)
    result = []
    stuck = np.zeros(len(component), dtype=np.bool_)
    stuck[list(reasons)] = True
    for index, outputs in members.items():
        channels = np.concatenate(outputs)
        units = channels[np.sort(np.unique(channels, return_index=True)[1])]  # each once, in order
        cells, broken = _cells(units, balanced.get(index, []))
        why = {int(i): reasons[int(units[i])] for i in np.flatnonzero(stuck[units])}
        if broken:
            why = {**dict.fromkeys(range(len(units)), broken), **why}
        if not why and len(units) == len(np.unique(cells)):
            why = dict.fromkeys(range(len(units)), _inseparable(channels, units))
        group = ChannelGroup(
            name=producers[index][0],
            units=units,
            producers=tuple(producers[index]),
            consumers=tuple(consumers.get(index, ())),
            stream=index in streams,
            reasons=why,
            cells=cells,
        )
        result.append(group)
    return tuple(result)


def _inseparable(channels: Plane, units: Plane) -> str:
    """Why nothing goes where the last unit of every part stays."""
    if len(units) == 1:
        return f"its {len(channels)} channels go together or not at all" if len(channels) > 1 else "a single channel"
    return f"from each of its {len(units)} parts the same number goes, and each is one unit"


def _components(axes: Iterable[Plane], count: int) -> Plane:
    """Join all classes that lie on one axis."""
    pairs = [(axis[:-1], axis[1:]) for axis in axes if len(axis) > 1]
    if not pairs:
        return np.arange(count, dtype=np.int64)
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return components(a, b, count)


def _cells(units: Plane, balances: list[Plane]) -> tuple[Plane, str | None]:
    """Cut a group's units into cells such that equal removal from every cell balances every constraint.

    Each constraint cuts the units by its rows; the cells are the pieces of all cuts together. Where one class lies
    in two rows, or the rows leave the group, no equal removal is known and the group stays.

    Returns:
        The cell of every unit, and why the group must stay, or None.
    """
    none = np.zeros(len(units), dtype=np.int64)
    concerned = [(rows, inside) for rows in balances if (inside := np.isin(rows, units)).any()]
    if not concerned:
        return none, None
    keys: list[list[int]] = [[] for _ in units]
    for rows, inside in concerned:
        if not inside.all():
            return none, OTHER_CHANNELS
        sets = _row_sets(rows)
        if sets is None:
            return none, SEVERAL_GROUPS
        if len(sets) == 1:
            continue
        row_of = {c: r for r, row in enumerate(sets) for c in row}
        for c, key in zip(units.tolist(), keys, strict=True):
            key.append(row_of.get(c, -1))
    names = {key: i for i, key in enumerate(sorted({tuple(k) for k in keys}))}
    return np.array([names[tuple(k)] for k in keys], dtype=np.int64), None
