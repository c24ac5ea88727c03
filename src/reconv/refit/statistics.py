"""Second moments of what every layer reads, in the original network.

For each layer that reads channels which may go, the Gram matrix `U^T U / n` of its rows (what lies under its taps, and
a constant), one a convolution group, and the energy of the signal at the end of its chain: with them, the least
squares error of any choice of channels is known without another look at the images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reconv.graph.channels import ChannelGraph
from reconv.refit import norms
from reconv.refit.chains import Chain, Follower, LayerUse, find_chains, layer_names
from reconv.refit.modes import evaluating
from reconv.refit.rows import Sampler, input_rows, needed_rows, output_positions, signal_rows, tap_table
from reconv.refit.settings import Settings, check_images
from reconv.refit.solve import by_group

_LARGEST = 10_000  # inputs of a layer; the Gram matrix of more would take a gigabyte and an hour


@dataclass(frozen=True, eq=False)
class Moments:
    """What one layer reads, and what it makes of it.

    Args:
        gram: [groups, inputs, inputs], float64; the last input is the constant if `constant`.
        matrix: of layer and BatchNorm, [groups, inputs, outputs], float64.
        energy: mean squared length of the signal at the end of the layer's chain.
        taps: inputs that belong to one channel.
        constant: whether the last input is the constant one.
    """

    gram: Tensor
    matrix: Tensor
    energy: float
    taps: int
    constant: bool


def gather_moments(
    graph: ChannelGraph, images: Tensor, settings: Settings | None = None, layers: Iterable[str] | None = None
) -> dict[str, Moments]:
    """Look at the images once and sum up what each layer reads.

    Args:
        graph: of the network; the network is not touched.
        images: float [n, ...], normalized; no labels.
        settings: of the sampling.
        layers: which ones; all that read channels of a group by default.

    Returns:
        Moments by layer, of those layers that can be seen and have at most 10,000 inputs a group.

    Raises:
        DataError: images that cannot be used.
    """
    settings = settings or Settings()
    check_images(images)
    model = graph.model
    with evaluating(model), torch.no_grad():
        device = next(model.parameters()).device
        chains, _ = find_chains(graph, model, images[:2].to(device))
        wanted = set(chains) if layers is None else set(layers)
        inputs = {
            name: graph.layer(name).inputs.shape[1] * graph.weight(graph.layer(name))[0, 0].numel() for name in chains
        }
        chains = {name: c for name, c in chains.items() if name in wanted and inputs[name] <= _LARGEST}
        sampler = Sampler(len(images), settings.points, settings.seed)
        gatherer = _Gatherer(graph, chains, sampler)
        with gatherer:
            for part in images.split(settings.batch):
                gatherer.part = len(part)
                model(part.to(device))
        return gatherer.moments()


class _Gatherer(Follower):
    def __init__(self, graph: ChannelGraph, chains: Mapping[str, Chain], sampler: Sampler):
        super().__init__(layer_names(graph, graph.model), chains)
        self.sampler = sampler
        self.part = 0
        self._modules: dict[str, Any] = dict(graph.model.named_modules())
        self._grams: dict[str, Tensor] = {}
        self._energy: dict[str, float] = {}
        self._rows: dict[str, int] = {}
        self._uses: dict[str, tuple[LayerUse, bool]] = {}
        self._positions: dict[str, Tensor] = {}
        self._seen: dict[str, int] = dict.fromkeys(chains, 0)

    def on_layer(self, chain: Chain, use: LayerUse, run: Any) -> Tensor:
        signal: Tensor = run()
        repeats = len(signal) // self.part
        spatial = output_positions(signal, use.kind)
        positions = self.sampler.positions(
            chain.layer, repeats * self.sampler.images, spatial.numel(), needed_rows(use.weight, use.kind)
        )
        start = self._seen[chain.layer]
        positions = positions[start : start + len(signal)].to(signal.device)
        self._seen[chain.layer] = start + len(signal)
        table = None if use.kind == "linear" else tap_table(use, spatial).to(signal.device)
        constant = norms.has_constant(use.arguments.get("bias"), self._norm(chain))
        rows = input_rows(use, table, positions, constant)
        gram = by_group(rows, rows) * len(rows)
        name = chain.layer
        self._grams[name] = self._grams[name] + gram if name in self._grams else gram
        self._rows[name] = self._rows.get(name, 0) + len(rows)
        self._uses[name] = (use, constant)
        self._positions[name] = positions
        return signal

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        use, _ = self._uses[chain.layer]
        rows = signal_rows(signal, use.kind, self._positions.pop(chain.layer))
        self._energy[chain.layer] = self._energy.get(chain.layer, 0.0) + float(rows.double().square().sum())
        return signal

    def _norm(self, chain: Chain) -> nn.Module | None:
        return None if chain.norm is None else self._modules[chain.norm]

    def moments(self) -> dict[str, Moments]:
        result = {}
        for name, gram in self._grams.items():
            use, constant = self._uses[name]
            module = self._modules[name]
            matrix = norms.read(module.weight, module.bias, self._norm(self.chains[name]), use.kind, use.groups)
            n = self._rows[name]
            taps = use.weight[0, 0].numel() if use.weight.dim() > 2 else 1
            result[name] = Moments(gram / n, matrix, max(self._energy[name] / n, 1e-300), taps, constant)
        return result
