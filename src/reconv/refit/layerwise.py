"""Walk the cut network from its input to its output and solve every layer on the way.

Each layer is solved by least squares on what it now receives, with the original network's signal as the target. Where
its output is added to others, the target is the original *sum* less the terms that the cut network adds itself: what
earlier layers still do wrong is made up for by later ones. Then, where nothing but an activation lies between a layer
and the one in front, the two are refined together.

While a layer is being solved it answers zero. The network runs on to the end of the layer's chain, where the terms it
does not owe to this layer are all there is; the layer is solved there, and its signal added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from reconv.plan import Plan
from reconv.refit import affine_map
from reconv.refit.chains import Chain
from reconv.refit.joint import Member, Pair, refine
from reconv.refit.layer_use import Follower, LayerUse, batches, layer_names
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
from reconv.refit.targets import Targets
from reconv.threads import map_parts

_EXACT = 1e-10  # a layer whose error is below this share of the energy has nothing to repair


@dataclass(frozen=True, eq=False)
class _Pending:
    """A layer that answers zero until its chain ends."""

    use: LayerUse
    rows: Tensor
    constant: bool
    positions: Tensor


class _ReachedError(Exception):
    """The layer whose pass this is has been seen."""


class LayerwiseRepair(Follower):
    """Runs the cut network and solves its layers, in place.

    Args:
        model: the network to repair, in evaluation mode.
        plan: what was cut from it.
        chains: of the layers to solve.
        sampler: of positions, the same as for the targets.
        settings: of the repair.
    """

    def __init__(self, model: nn.Module, plan: Plan, chains: Mapping[str, Chain], sampler: Sampler, settings: Settings):
        super().__init__(layer_names(plan.graph, model), chains)
        self.model = model
        self.plan = plan
        self.sampler = sampler
        self.settings = settings
        self.done: list[LayerRepair] = []
        self._targets = Targets({}, {})
        self._modules: dict[str, Any] = dict(model.named_modules())
        self._leads = {c.follows for c in chains.values() if c.follows in chains} if settings.joint else set()
        self._uses: dict[str, LayerUse] = {}  # of the layers in front, whole inputs
        self._factors: dict[str, Tensor | None] = {}  # of the Gram matrices of what layers read
        self._pending: dict[str, _Pending] = {}
        self._only: str | None = None
        self._collected: list[tuple[_Pending, Tensor]] = []
        self._maps: list[tuple[Tensor, Tensor]] = []
        self._start = 0

    def run(self, images: Tensor, targets: Targets) -> None:
        """All layers in one pass of all images."""
        self._targets, self._start = targets, 0
        self.run_network(self.model, images.to(next(self.model.parameters()).device))

    def run_to(self, layer: str, images: Tensor, targets: Targets) -> None:
        """One layer, in a pass of batches that ends where the layer's chain does."""
        self._only, self._targets = layer, targets
        self._collected, self._maps, self._start = [], [], 0
        for part in batches(len(images), self.settings.batch):
            self._start = part.start
            with suppress(_ReachedError):
                self.run_network(self.model, images[part].to(next(self.model.parameters()).device))
            self._open.clear()
        chain, pending = self.chains[layer], [p for p, _ in self._collected]
        whole = replace(pending[0], rows=torch.cat([p.rows for p in pending]))
        matrix = self._solve(chain, whole, torch.cat([others for _, others in self._collected]))
        if matrix is not None and self._maps:
            lead = self._uses[str(chain.follows)].on(torch.cat([x for x, _ in self._maps]))
            self._refine(chain, whole.use, lead, torch.cat([others for _, others in self._maps]))

    # ------------------------------------------------------------------ on the way

    def on_layer(self, chain: Chain, use: LayerUse, run: Callable[[], Tensor]) -> Tensor:
        if chain.mutated:
            use = use.on(use.input.clone())
        if chain.layer in self._leads:
            self._uses[chain.layer] = use
        if self._only not in (None, chain.layer):
            return run()
        shape = use.output_size()
        spatial, device = output_positions(shape, use.kind), use.input.device
        repeats = shape[0] // self.images
        least = needed_rows(self.plan.graph.weight(self.plan.graph.layer(chain.layer)), use.kind)
        positions = self.sampler.positions(chain.layer, repeats * self.sampler.images, spatial.numel(), least)
        positions = positions[self._start * repeats :][: shape[0]].to(device)
        table = None if use.kind == "linear" else tap_table(use, spatial).to(device)
        constant = affine_map.has_constant(use.arguments.get("bias"), self._norm(chain))
        parts = zip(use.input.split(self.settings.batch), positions.split(self.settings.batch), strict=True)
        rows = torch.cat(list(map_parts(lambda part: input_rows(use.on(part[0]), table, part[1], constant), parts)))
        self._pending[chain.layer] = _Pending(use, rows, constant, positions)
        return use.input.new_zeros(shape)

    def on_norm(self, chain: Chain, signal: Tensor, normalized: Tensor) -> Tensor:
        return signal if chain.layer in self._pending else normalized

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        pending = self._pending.pop(chain.layer, None)
        if pending is None:
            return signal
        others = signal_rows(signal, pending.use.kind, pending.positions)
        if self._only is not None:
            self._collected.append((replace(pending, use=pending.use.on(pending.use.input[:1])), others))
            self._gather_map(chain, signal)
            raise _ReachedError
        matrix, use = self._solve(chain, pending, others), pending.use
        wanted = self._targets.maps.get(chain.layer)
        lead = self._uses.pop(chain.follows or "", None)
        if matrix is None or wanted is None:
            lead = None
        if lead is not None and wanted is not None:
            self._refine(chain, use, lead.on(lead.input[: len(wanted)]), signal[: len(wanted)])
        inputs = self._add(chain, use, lead, signal)
        if inputs is not None:
            self._uses[chain.layer] = use.on(inputs)
        return signal

    def _add(self, chain: Chain, use: LayerUse, lead: LayerUse | None, signal: Tensor) -> Tensor | None:
        """Add a layer's signal to the others; where that in front has changed, return what the layer now reads."""
        whole, batch = (use if lead is None else lead).input, self.settings.batch

        def add(part: tuple[Tensor, Tensor]) -> Tensor | None:
            sum_, x = part
            if lead is not None:
                x = chain.through(self._signal(self.chains[str(chain.follows)], lead.on(x)))
            sum_.add_(self._signal(chain, use.on(x)))
            return x if lead is not None and chain.layer in self._leads else None

        parts = list(map_parts(add, zip(signal.split(batch), whole.split(batch), strict=True)))
        changed = [part for part in parts if part is not None]
        return torch.cat(changed) if changed else None

    def _gather_map(self, chain: Chain, signal: Tensor) -> None:
        wanted = self._targets.maps.get(chain.layer)
        if wanted is None or chain.follows is None or chain.follows not in self._leads:
            return
        missing = len(wanted) - sum(len(others) for _, others in self._maps)
        if missing > 0:
            self._maps.append((self._uses[chain.follows].input[:missing].clone(), signal[:missing].clone()))

    # ------------------------------------------------------------------ one layer, two layers

    def _norm(self, chain: Chain) -> Any:
        return None if chain.norm is None else self._modules[chain.norm]

    def _matrix(self, chain: Chain, use: LayerUse) -> Tensor:
        module = self._modules[chain.layer]
        return affine_map.read_matrix(module.weight, module.bias, self._norm(chain), use.kind, use.groups)

    def _signal(self, chain: Chain, use: LayerUse) -> Tensor:
        """The layer's signal, behind its BatchNorm."""
        module = self._modules[chain.layer]
        signal = use(weight=module.weight, bias=module.bias)
        norm = self._norm(chain)
        return signal if norm is None else norm(signal)

    def _solve(self, chain: Chain, pending: _Pending, others: Tensor) -> Tensor | None:
        """Solve one layer and write it; None where it has nothing to repair."""
        start = self._matrix(chain, pending.use)
        target = self._targets.rows[chain.layer]
        wanted = split_outputs(target - others, len(start))
        gate = None if chain.adds or not self.settings.gate_passes else chain.gate
        energy = max(float(target.double().square().sum() / len(target)), 1e-300)
        before = gated_error(apply(pending.rows, start), wanted, gate) / energy
        if before <= _EXACT:
            return None
        problem = Problem(pending.rows, wanted, start, pending.constant)
        matrix, factor = solve_with_factor(problem, self.settings.ridge, gate, self.settings.gate_passes)
        if chain.layer in self._leads or chain.follows in self._leads:
            self._factors[chain.layer] = factor
        value = apply(pending.rows, matrix)
        after = gated_error(value, wanted, gate) / energy
        self.done.append(LayerRepair(chain.layer, before, after, len(wanted)))
        self._write(chain, pending.use, matrix, value.flatten(1))
        return matrix

    def _write(self, chain: Chain, use: LayerUse, matrix: Tensor, value: Tensor) -> None:
        """Give the layer its matrix; `value` [n, outputs] are its signals on the calibration set."""
        variance, mean = (moment.double() for moment in torch.var_mean(value, 0, correction=0))
        if affine_map.has_constant(use.arguments.get("bias"), self._norm(chain)):
            mean = mean - matrix[:, -1].flatten()
        affine_map.write_matrix(matrix, (mean, variance), self._modules[chain.layer], self._norm(chain), use.kind)

    def _refine(self, chain: Chain, use: LayerUse, lead: LayerUse, others: Tensor) -> None:
        """Refine a layer with the one in front of it, and write both."""
        front, original = self.chains[str(chain.follows)], self._targets.maps[chain.layer]
        first, second = self._member(front, lead), self._member(chain, use)
        gate = None if chain.adds or not self.settings.gate_passes else chain.gate
        pair = Pair(first, second, chain.through, lead.input, original - others, gate)
        found = refine(pair, self.settings.joint, self.settings.ridge)
        signal = first(lead.input, first.weights(found[0]))
        self._write(front, lead, found[0], _flat(signal, lead.kind))
        signal = second(chain.through(signal), second.weights(found[1]))
        self._write(chain, use, found[1], _flat(signal, use.kind))
        error = gated_error(_flat(signal, use.kind), _flat(pair.target, use.kind), gate)
        energy = max(float(original.double().square().sum()) * len(_flat(signal, use.kind)) ** -1, 1e-300)
        self.done[-1] = replace(self.done[-1], after=error / energy, jointly=front.layer)

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
