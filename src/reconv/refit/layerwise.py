"""Walk the cut network from its input to its output and solve every layer on the way.

Each layer is solved by least squares on what it now receives, with the original network's signal as the target. Where
its output is added to others, the target is the original *sum* less the terms that the cut network adds itself: what
earlier layers still do wrong is made up for by later ones. Then, where nothing but an activation lies between a layer
and the one in front, the two are refined together.

Both networks run batch by batch, in step (`lockstep`): all batches wait where a layer is solved, and go on with it. A
layer whose output is added to others answers zero until the end of its chain, where the terms that the network does not
owe to it are all there is; it is solved there, and its signal added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import methodcaller
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reconv.inputs import batch_size, first_images, part_of
from reconv.memory_pool import give_back_freed_memory, resident_memory
from reconv.plan import Plan
from reconv.refit import affine_map
from reconv.refit.chains import Chain
from reconv.refit.joint import Member, Pair, refine
from reconv.refit.layer_use import Follower, LayerUse, batches, laid_out, layer_modules, layer_names
from reconv.refit.lockstep import Pause, Walk, close_all
from reconv.refit.phases import Phase, images_at_a_time, phases
from reconv.refit.report import LayerRepair
from reconv.refit.rows import (
    Sampler,
    input_rows,
    needed_rows,
    output_positions,
    signal_rows,
    split_outputs,
    tap_table,
)
from reconv.refit.settings import Settings
from reconv.refit.solve import Problem, apply, gated_error, solve_with_factor
from reconv.refit.targets import ReferenceWalk, kept_channels, map_items
from reconv.threads import map_parts

_EXACT = 1e-10  # a layer whose error is below this share of the energy has nothing to repair


@dataclass(eq=False)
class _Visit:
    """A batch that waits at a layer.

    Args:
        use: the layer's call. lead: that of the layer in front, if the two may be refined together.
        others: what is at the end of the chain without this layer; None where nothing is added.
        is_refined: the layer in front has changed, so this one reads something else than `use` says.
    """

    chain: Chain
    use: LayerUse
    lead: LayerUse | None
    others: Tensor | None = None
    is_refined: bool = False


class _Solver(Follower):
    """Runs one batch through the cut network and waits at every layer of a phase.

    Args:
        layers: the repair that it is a part of. solving: names of the phase's layers. pause: waits.
    """

    def __init__(self, layers: LayerwiseRepair, solving: frozenset[str], leads: frozenset[str], pause: Pause):
        super().__init__(layers.names, {n: c for n, c in layers.chains.items() if n in solving or n in leads})
        self.layers, self.solving, self.leads, self.pause = layers, solving, leads, pause
        self._uses: dict[str, LayerUse] = {}  # of the layers in front
        self._visits: dict[str, _Visit] = {}

    def on_layer(self, chain: Chain, use: LayerUse, run: Callable[[], Tensor]) -> Tensor:
        if chain.mutated:
            use = use.on(use.input.clone())
        if chain.layer in self.leads:
            self._uses[chain.layer] = use
        if chain.layer not in self.solving:
            return run()
        visit = _Visit(chain, use, self._uses.pop(chain.follows or "", None))
        if chain.adds:
            self._visits[chain.layer] = visit
            return use.input.new_zeros(use.output_size())
        del use, run
        self.pause(visit)
        return self._input(visit)(**self.layers.parameters(chain))

    def on_norm(self, chain: Chain, signal: Tensor, normalized: Tensor) -> Tensor:
        return signal if chain.layer in self._visits else normalized

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        visit = self._visits.get(chain.layer)
        if visit is None:
            return signal
        visit.others = signal
        self.pause(visit)
        del self._visits[chain.layer]
        return signal.add_(self.layers.signal(chain, self._input(visit)))

    def _input(self, visit: _Visit) -> LayerUse:
        """The layer's call, on what it reads now."""
        use = visit.use
        if visit.is_refined and visit.lead is not None:
            front = self.layers.chains[str(visit.chain.follows)]
            use = use.on(visit.chain.through(self.layers.signal(front, visit.lead)))
            if visit.chain.layer in self.leads:
                self._uses[visit.chain.layer] = use
        return use


@dataclass(eq=False)
class LayerwiseRepair:
    """Solves the layers of a cut network, in place.

    Args:
        model: the network to repair, in evaluation mode. reference: the original.
        plan: what was cut. chains: of the layers to solve. settings: of the repair.
    """

    model: nn.Module
    reference: nn.Module
    plan: Plan
    chains: Mapping[str, Chain]
    settings: Settings
    done: list[LayerRepair] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = layer_names(self.plan.graph, self.model)
        self._modules = layer_modules(self.plan.graph, self.model)
        self._resident = 0  # bytes of the process before
        self._factors: dict[str, Tensor | None] = {}  # of the Gram matrices of what layers read
        self._leads = {c.follows for c in self.chains.values() if c.follows in self.chains}
        if not self.settings.joint:
            self._leads = set()

    def run(self, images: Any) -> None:
        """Solve all layers that the cut concerns."""
        graph, memory = self.plan.graph, self.settings.memory
        self._resident = resident_memory()
        number = batch_size(images)
        for phase in phases(graph, self.chains, list(self.chains), number, memory):
            points = math.ceil(self.settings.points * number / phase.images)  # as many rows from fewer images
            self._run_phase(
                phase, first_images(images, phase.images), Sampler(phase.images, points, self.settings.seed)
            )

    def _run_phase(self, phase: Phase, images: Any, sampler: Sampler) -> None:
        size = images_at_a_time(self.plan.graph, self.chains, self.settings.batch)
        parts = [part_of(images, part) for part in batches(phase.images, size)]
        sizes = [batch_size(part) for part in parts]
        solving = frozenset(phase.layers)
        wanted = {name: self.chains[name] for name in phase.layers}
        names = layer_names(self.plan.graph, self.reference)
        walks = [self._walk(part, solving) for part in parts]
        originals = [ReferenceWalk(self.reference, names, wanted, part) for part in parts]
        try:
            for _ in phase.layers:
                visits: list[_Visit] = list(map_parts(Walk.advance, walks))
                layer = visits[0].chain.layer
                signals = list(map_parts(methodcaller("signal", layer), originals))
                self._solve_visits(visits, signals, sizes, sampler)
                del visits, signals
                for walk in originals:
                    walk.done_with(layer)
                # What many threads have freed lies in pools of each, which add up.
                if resident_memory() > self._resident + self.settings.memory:
                    give_back_freed_memory()
        finally:
            close_all((*walks, *originals))

    def _walk(self, images: Any, solving: frozenset[str]) -> Walk:
        device = next(self.model.parameters()).device
        leads = frozenset(c.follows for n, c in self.chains.items() if n in solving and c.follows in self._leads)

        def run(pause: Pause) -> None:
            _Solver(self, solving, leads, pause).run_network(self.model, laid_out(images, device))  # type: ignore[arg-type]

        return Walk(run)

    # ------------------------------------------------------------------ one layer, on all batches

    def _solve_visits(
        self, visits: Sequence[_Visit], signals: Sequence[Tensor], images: Sequence[int], sampler: Sampler
    ) -> None:
        chain, use = visits[0].chain, visits[0].use
        keep = torch.from_numpy(np.flatnonzero(self.plan.keep[self.plan.graph.layer(chain.layer).outputs]))
        keep = keep.to(use.input.device)
        spatial = output_positions(signals[0], use.kind)
        bounds = needed_rows(self.plan.graph.weight(self.plan.graph.layer(chain.layer)), use.kind, use.groups)
        repeats = len(signals[0]) // images[0]
        positions = sampler.positions(chain.layer, repeats * sampler.images, spatial.numel(), bounds)
        starts = np.cumsum([0, *images])[:-1] * repeats
        table = None if use.kind == "linear" else tap_table(use, spatial).to(keep.device)
        constant = affine_map.has_constant(use.arguments.get("bias"), self._norm(chain))

        def gather(part: tuple[_Visit, Tensor, int]) -> tuple[Tensor, Tensor, Tensor | None]:
            visit, signal, start = part
            here = positions[start : start + len(signal)].to(keep.device)
            others = None if visit.others is None else signal_rows(visit.others, use.kind, here)
            wanted = signal_rows(signal, use.kind, here)[:, keep]
            return input_rows(visit.use, table, here, constant), wanted, others

        found = list(map_parts(gather, zip(visits, signals, starts.tolist(), strict=True)))
        rows, target = (torch.cat([part[i] for part in found]) for i in (0, 1))  # type: ignore[misc]
        others = None if found[0][2] is None else torch.cat([part[2] for part in found])  # type: ignore[misc]
        del found
        matrix = self._solve(chain, use, Problem(rows, target, rows[0], constant, sampler.images), others)
        if matrix is None or visits[0].lead is None:
            return
        inputs, sums, wanted = [], [], []
        missing = map_items(self.settings, spatial.numel())
        for visit, signal in zip(visits, signals, strict=True):
            if missing > 0 and visit.lead is not None:
                inputs.append(visit.lead.input[:missing])
                wanted.append(kept_channels(signal[:missing], keep, use.kind))
                sums += [] if visit.others is None else [visit.others[:missing]]
                missing -= len(signal)
        original = torch.cat(wanted)
        self._refine(chain, use, visits[0].lead.on(torch.cat(inputs)), original, torch.cat(sums) if sums else None)
        for visit in visits:
            visit.is_refined = True

    def _solve(self, chain: Chain, use: LayerUse, given: Problem, others: Tensor | None) -> Tensor | None:
        """Solve one layer and write it; None where it has nothing to repair."""
        start = self._matrix(chain, use)
        target = given.target
        wanted = split_outputs(target if others is None else target - others, len(start))
        gate = None if chain.adds or not self.settings.gate_passes else chain.gate
        energy = max(float(target.double().square().sum() / len(target)), 1e-300)
        before = gated_error(apply(given.rows, start), wanted, gate) / energy
        if before <= _EXACT:
            return None
        problem = replace(given, target=wanted, start=start)
        matrix, factor = solve_with_factor(problem, self.settings.ridge, gate, self.settings.gate_passes)
        if chain.layer in self._leads or chain.follows in self._leads:
            self._factors[chain.layer] = factor
        value = apply(given.rows, matrix)
        after = gated_error(value, wanted, gate) / energy
        self.done.append(LayerRepair(chain.layer, before, after, len(wanted)))
        self._write(chain, use, matrix, value.flatten(1))
        return matrix

    def _refine(self, chain: Chain, use: LayerUse, lead: LayerUse, original: Tensor, others: Tensor | None) -> None:
        """Refine a layer with the one in front of it, and write both."""
        front = self.chains[str(chain.follows)]
        first, second = self._member(front, lead), self._member(chain, use)
        gate = None if chain.adds or not self.settings.gate_passes else chain.gate
        target = original if others is None else original - others
        pair = Pair(first, second, chain.through, lead.input, target, gate)
        found = refine(pair, self.settings.joint, self.settings.ridge)
        signal = first(lead.input, first.weights(found[0]))
        self._write(front, lead, found[0], _flat(signal, lead.kind))
        signal = second(chain.through(signal), second.weights(found[1]))
        self._write(chain, use, found[1], _flat(signal, use.kind))
        error = gated_error(_flat(signal, use.kind), _flat(pair.target, use.kind), gate)
        energy = max(float(original.double().square().sum()) * len(_flat(signal, use.kind)) ** -1, 1e-300)
        self.done[-1] = replace(self.done[-1], after=error / energy, jointly=front.layer)

    # ------------------------------------------------------------------ the network's parameters

    def parameters(self, chain: Chain) -> dict[str, Tensor | None]:
        """Weight and bias of a layer, as its function takes them."""
        module = self._modules[chain.layer]
        return {"weight": module.weight, "bias": module.bias}

    def signal(self, chain: Chain, use: LayerUse) -> Tensor:
        """The layer's signal, behind its BatchNorm."""
        signal, norm = use(**self.parameters(chain)), self._norm(chain)
        return signal if norm is None else norm(signal)

    def _norm(self, chain: Chain) -> Any:
        return None if chain.norm is None else self._modules[chain.norm]

    def _matrix(self, chain: Chain, use: LayerUse) -> Tensor:
        module = self._modules[chain.layer]
        return affine_map.read_matrix(module.weight, module.bias, self._norm(chain), use.kind, use.groups)

    def _write(self, chain: Chain, use: LayerUse, matrix: Tensor, value: Tensor) -> None:
        """Give the layer its matrix; `value` [n, outputs] are its signals on the calibration set."""
        variance, mean = (moment.double() for moment in torch.var_mean(value, 0, correction=0))
        if affine_map.has_constant(use.arguments.get("bias"), self._norm(chain)):
            mean = mean - matrix[:, -1].flatten()
        affine_map.write_matrix(matrix, (mean, variance), self._modules[chain.layer], self._norm(chain), use.kind)

    def _member(self, chain: Chain, use: LayerUse) -> Member:
        module, constant = (
            self._modules[chain.layer],
            affine_map.has_constant(use.arguments.get("bias"), self._norm(chain)),
        )
        use = replace(use, arguments={**use.arguments, "weight": module.weight.detach()})
        return Member(use, self._matrix(chain, use), constant, self._factors.pop(chain.layer, None))


def _flat(signal: Tensor, kind: str) -> Tensor:
    """[positions, channels]."""
    return signal.flatten(0, -2) if kind == "linear" else signal.transpose(0, 1).flatten(1).T
