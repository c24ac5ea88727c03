"""Repair: walk the cut network from its input to its output and solve every layer on the way.

Each layer is solved by least squares on what it now receives, with the original network's signal as the target. Where
its output is added to others, the target is the original *sum* less the terms that the cut network adds itself: what
earlier layers still do wrong is made up for by later ones.

While a layer is being solved it answers zero. The network runs on to the end of the layer's chain, where the terms it
does not owe to this layer are all there is; the layer is solved there, and its signal added.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reconv.errors import GraphError
from reconv.plan import Plan
from reconv.repair import norms
from reconv.repair.chains import Chain, Follower, LayerUse, find_chains, layer_names
from reconv.repair.modes import evaluating
from reconv.repair.rows import (
    Sampler,
    input_rows,
    needed_rows,
    output_positions,
    signal_rows,
    split_outputs,
    tap_table,
)
from reconv.repair.settings import Settings, check_images
from reconv.repair.solve import Problem, apply, gated_error, solve

_EXACT = 1e-10  # a layer whose error is below this share of the energy has nothing to repair


@dataclass(frozen=True)
class LayerRepair:
    """One layer: its error before and after, as a share of the original signal's energy, on `rows` rows."""

    layer: str
    before: float
    after: float
    rows: int


@dataclass(frozen=True)
class RepairReport:
    """What was repaired.

    Args:
        layers: those that were solved, in order. left: those that could not be, and why.
    """

    layers: tuple[LayerRepair, ...]
    left: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        width = max((len(row.layer) for row in self.layers), default=0)
        lines = [f"{len(self.layers)} layers solved; error before and after, of the signal's energy"]
        lines += [f"  {row.layer:<{width}}  {row.before:9.2%} -> {row.after:8.2%}" for row in self.layers]
        lines += [f"  {name}: left as it is: {why}" for name, why in self.left.items()]
        return "\n".join(lines)


def repair(
    small: nn.Module, *, plan: Plan, reference: nn.Module, images: Tensor, settings: Settings | None = None
) -> nn.Module:
    """Solve the layers of a cut network anew, so that it computes what the original did.

    No label is read, nothing is trained, and neither network is touched.

    Args:
        small: from `prune(reference, plan)`.
        plan: what was cut.
        reference: the original network.
        images: float [n, ...], normalized as the networks expect; from the training images.
        settings: see `Settings`.

    Returns:
        The repaired copy of `small`, in its mode and on its device.

    Raises:
        ConfigError, DataError: settings or images that cannot be used. GraphError: networks that the plan does not fit.

    Cost: two forward passes and, for a layer with m inputs and n rows, n m^2 + m^3 / 3 multiply-adds.
    """
    return repair_with_report(small, plan=plan, reference=reference, images=images, settings=settings)[0]


def repair_with_report(
    small: nn.Module, *, plan: Plan, reference: nn.Module, images: Tensor, settings: Settings | None = None
) -> tuple[nn.Module, RepairReport]:
    """As `repair`; also says what became of every layer."""
    settings = settings or Settings()
    _check(small, plan, reference, images)
    repaired = copy.deepcopy(small)
    with evaluating(reference), evaluating(repaired), torch.no_grad():
        device = next(repaired.parameters()).device
        two = images[:2].to(device)
        chains, left = find_chains(plan.graph, repaired, two)
        originals, _ = find_chains(plan.graph, reference, two)
        chains = {name: _shortened(chain, originals[name]) for name, chain in chains.items() if name in originals}
        sampler = Sampler(len(images), settings.points, settings.seed)
        walk = _Walk(repaired, plan, chains, sampler, settings)
        at_once = len(images) * 16 * max((c.numel for c in chains.values()), default=0)
        whole = at_once + _target_bytes(plan, chains, len(images) * settings.points) <= settings.memory
        if whole:
            walk.targets = _Targets.of(reference, plan, chains, sampler, images, settings.batch)
            walk.run(images)
        else:
            for name, chain in chains.items():
                one = {name: chain}
                walk.targets = _Targets.of(reference, plan, one, sampler, images, settings.batch)
                walk.run_to(name, images)
    return repaired, RepairReport(tuple(walk.rows), left)


def _check(small: nn.Module, plan: Plan, reference: nn.Module, images: Tensor) -> None:
    check_images(images)
    everything = np.ones(plan.graph.classes, dtype=np.bool_)
    for model, keep, what in ((reference, everything, "reference"), (small, plan.keep, "small network")):
        here = {name: tuple(t.shape) for name, t in model.named_parameters()}
        for name, found in here.items():
            expected = plan.graph.shape(name, keep) if name in plan.graph.parameters else None
            if expected != found:
                raise GraphError(
                    f"repair: {name} of the {what} has the shape {found}, by the plan {expected or 'it is unknown'}; "
                    "give the network that was traced, the plan, and what prune made of the two"
                )


def _shortened(chain: Chain, original: Chain) -> Chain:
    """A chain that both networks share; where they differ, nothing is assumed of what follows the layer."""
    if chain.steps == original.steps and chain.norm == original.norm:
        return chain
    return replace(chain, steps=(), norm=None, gate=None)


def _target_bytes(plan: Plan, chains: Mapping[str, Chain], rows: int) -> int:
    return 4 * rows * sum(plan.graph.layer(name).out_channels for name in chains)


class _Targets(Follower):
    """The original network's signals at the ends of the chains, for the channels that stay."""

    def __init__(self, model: nn.Module, plan: Plan, chains: Mapping[str, Chain], sampler: Sampler):
        super().__init__(layer_names(plan.graph, model), chains)
        self.plan = plan
        self.sampler = sampler
        self.signals: dict[str, list[Tensor]] = {name: [] for name in chains}
        self.kinds: dict[str, tuple[str, int]] = {}
        self.seen: dict[str, int] = dict.fromkeys(chains, 0)

    @classmethod
    def of(
        cls, model: nn.Module, plan: Plan, chains: Mapping[str, Chain], sampler: Sampler, images: Tensor, batch: int
    ) -> Mapping[str, Tensor]:
        device = next(model.parameters()).device
        targets = cls(model, plan, chains, sampler)
        with targets:
            for part in images.split(batch):
                targets.part = len(part)
                model(part.to(device))
        return {name: torch.cat(parts) for name, parts in targets.signals.items()}

    part = 0

    def on_layer(self, chain: Chain, use: LayerUse, run: Any) -> Tensor:
        self.kinds[chain.layer] = (use.kind, needed_rows(use.weight, use.kind))
        return run()  # type: ignore[no-any-return]

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        layer = self.plan.graph.layer(chain.layer)
        kind, least = self.kinds[chain.layer]
        items = len(signal) // self.part * self.sampler.images
        positions = self.sampler.positions(chain.layer, items, output_positions(signal, kind).numel(), least)
        start = self.seen[chain.layer]
        rows = signal_rows(signal, kind, positions[start : start + len(signal)].to(signal.device))
        self.seen[chain.layer] = start + len(signal)
        kept = torch.from_numpy(np.flatnonzero(self.plan.keep[layer.outputs])).to(rows.device)
        self.signals[chain.layer].append(rows[:, kept])
        return signal


@dataclass
class _Pending:
    """A layer that answers zero until its chain ends."""

    use: LayerUse
    rows: Tensor
    constant: bool
    positions: Tensor


class _ReachedError(Exception):
    """The layer whose pass this is has been seen."""


class _Walk(Follower):
    """Runs the cut network and solves its layers."""

    def __init__(self, model: nn.Module, plan: Plan, chains: Mapping[str, Chain], sampler: Sampler, settings: Settings):
        super().__init__(layer_names(plan.graph, model), chains)
        self.model = model
        self.plan = plan
        self.sampler = sampler
        self.settings = settings
        self.targets: Mapping[str, Tensor] = {}
        self.rows: list[LayerRepair] = []
        self._modules = dict(model.named_modules())
        self._pending: dict[str, _Pending] = {}
        self._only: str | None = None
        self._gathered: list[tuple[_Pending, Tensor]] = []
        self._part = self._start = 0

    def run(self, images: Tensor) -> None:
        """All layers in one pass of all images."""
        device = next(self.model.parameters()).device
        self._part, self._start = len(images), 0
        with self:
            self.model(images.to(device))

    def run_to(self, layer: str, images: Tensor) -> None:
        """One layer, in a pass of batches that ends where the layer's chain does."""
        device = next(self.model.parameters()).device
        self._only, self._gathered, self._start = layer, [], 0
        for part in images.split(self.settings.batch):
            self._part = len(part)
            try:
                with self:
                    self.model(part.to(device))
            except _ReachedError:
                pass
            self._open.clear()
            self._start += len(part)
        pending = [p for p, _ in self._gathered]
        whole = replace(pending[0], rows=torch.cat([p.rows for p in pending]))
        self._solve(self.chains[layer], whole, torch.cat([others for _, others in self._gathered]))

    def on_layer(self, chain: Chain, use: LayerUse, run: Any) -> Tensor:
        if self._only not in (None, chain.layer):
            return run()  # type: ignore[no-any-return]
        shape = use.output_size()
        spatial = output_positions(shape, use.kind)
        repeats = shape[0] // self._part
        original = self.plan.graph.weight(self.plan.graph.layer(chain.layer))
        least = needed_rows(original, use.kind)
        positions = self.sampler.positions(chain.layer, repeats * self.sampler.images, spatial.numel(), least)
        start = self._start * repeats
        positions = positions[start : start + shape[0]].to(use.input.device)
        table = None if use.kind == "linear" else tap_table(use, spatial).to(use.input.device)
        constant = norms.has_constant(use.arguments.get("bias"), self._norm(chain))
        parts = range(0, shape[0], self.settings.batch)
        rows = torch.cat([self._rows(use, table, positions, constant, i) for i in parts])
        self._pending[chain.layer] = _Pending(use, rows, constant, positions)
        return use.input.new_zeros(shape)

    def _rows(self, use: LayerUse, table: Tensor | None, positions: Tensor, constant: bool, start: int) -> Tensor:
        stop = start + self.settings.batch
        part = replace(use, arguments={**use.arguments, "input": use.input[start:stop]})
        return input_rows(part, table, positions[start:stop], constant)

    def on_norm(self, chain: Chain, signal: Tensor, run: Any) -> Tensor:
        return signal if chain.layer in self._pending else run()

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        pending = self._pending.pop(chain.layer, None)
        if pending is None:
            return signal
        others = signal_rows(signal, pending.use.kind, pending.positions)
        if self._only is not None:
            self._gathered.append((pending, others))
            raise _ReachedError
        matrix = self._solve(chain, pending, others)
        return signal.add_(self._signal(chain, pending.use, matrix))

    def _signal(self, chain: Chain, use: LayerUse, matrix: Tensor) -> Tensor:
        """The layer's contribution at the end of its chain."""
        module: Any = self._modules[chain.layer]
        signal = use(weight=module.weight, bias=module.bias)
        scale, shift = norms.affine(self._norm(chain), matrix.new_zeros(matrix.shape[0] * matrix.shape[2]))
        if chain.norm is not None:
            shape = (-1,) if use.kind == "linear" else (-1,) + (1,) * (signal.dim() - 2)
            signal.mul_(scale.to(signal.dtype).view(shape)).add_(shift.to(signal.dtype).view(shape))
        return signal

    def _norm(self, chain: Chain) -> nn.Module | None:
        return None if chain.norm is None else self._modules[chain.norm]

    def _solve(self, chain: Chain, pending: _Pending, others: Tensor) -> Tensor:
        module: Any = self._modules[chain.layer]
        norm, kind = self._norm(chain), pending.use.kind
        target = self.targets[chain.layer]
        start = norms.read(module.weight, module.bias, norm, kind, pending.rows.shape[1])
        wanted = split_outputs(target - others, len(start))
        problem = Problem(pending.rows, wanted, start, pending.constant)
        gate = None if chain.adds or not self.settings.gate_passes else chain.gate
        energy = max(float(target.double().square().sum() / len(target)), 1e-300)
        before = gated_error(apply(problem.rows, start), wanted, gate) / energy
        matrix = start
        if before > _EXACT:
            matrix = solve(problem, self.settings.ridge, gate, self.settings.gate_passes)
            value = apply(problem.rows, matrix)
            if pending.constant:
                value = value - matrix[:, -1].to(value.dtype)
            value = value.flatten(1).double()
            variance, mean = torch.var_mean(value, 0, correction=0)
            norms.write(matrix, mean, variance, module, norm, kind)
            after = gated_error(apply(problem.rows, matrix), wanted, gate) / energy
            self.rows.append(LayerRepair(chain.layer, before, after, len(wanted)))
        return matrix
