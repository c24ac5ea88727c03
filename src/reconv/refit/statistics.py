"""Second moments of what every layer reads, in the original network.

For each layer that reads channels which may go, the Gram matrix `U^T U / n` of its rows (what lies under its taps, and
a constant), one a convolution group, and the energy of the signal at the end of its chain: with them, the least
squares error of any choice of channels is known without another look at the images.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from reconv.errors import check_kind
from reconv.graph.channels import ChannelGraph
from reconv.inputs import batch_size, part_of
from reconv.modes import evaluating
from reconv.refit import affine_map
from reconv.refit.chains import Chain, find_chains
from reconv.refit.layer_use import Follower, LayerUse, batches, laid_out, layer_modules, layer_names
from reconv.refit.left_out import judged_images
from reconv.refit.passes import passable
from reconv.refit.phases import images_at_a_time
from reconv.refit.rows import Sampler, input_rows, needed_rows, output_positions, signal_rows, tap_table
from reconv.refit.settings import Settings, check_images
from reconv.refit.solve import by_group
from reconv.saliency import Moments
from reconv.threads import map_parts, thread_pool

_LARGEST = 10_000  # inputs of a layer; the Gram matrix of more would take a gigabyte and an hour


def gather_moments(
    graph: ChannelGraph, images: Any, settings: Settings | None = None, layers: Iterable[str] | None = None
) -> dict[str, Moments]:
    """Look at the images once and sum up what each layer reads.

    Args:
        graph: of the network; the network is not touched.
        images: float [n, ...], normalized; no labels. Of a network of several inputs, as for `repair`.
        settings: of the sampling.
        layers: which ones; all that read channels of a group by default.

    Returns:
        Moments by layer, of those layers that can be seen and have at most 10,000 inputs a group.

    Raises:
        WrongKindError, DataError: images that cannot be used.

    Example:
        >>> import reconv, torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> moments = reconv.gather_moments(reconv.trace(model, torch.zeros(1, 3, 8, 8)), torch.randn(16, 3, 8, 8))
        >>> moments["2"].gram.shape  # 8 channels under 9 taps, and the constant
        torch.Size([1, 73, 73])
    """
    settings = settings or Settings()
    check_kind("gather_moments: graph", graph, ChannelGraph)
    check_images(images)
    model = graph.model
    with evaluating(model), torch.no_grad():
        device = next(model.parameters()).device
        chains, _ = find_chains(graph, model)
        wanted = set(chains) if layers is None else set(layers)
        inputs = {
            name: graph.layer(name).inputs.shape[1] * graph.weight(graph.layer(name))[0, 0].numel() for name in chains
        }
        chains = {name: c for name, c in chains.items() if name in wanted and inputs[name] <= _LARGEST}
        chains, _ = passable(graph, chains, (model,), images)
        number = batch_size(images)
        sums, sampler = _Sums(graph, chains, number), Sampler(number, settings.points, settings.seed)
        size = images_at_a_time(graph, chains, settings.batch)

        def gather(part: slice) -> None:
            with sums.part():
                here = laid_out(part_of(images, part), device)
                _Gatherer(sums, sampler, part.start, part.start // size).run_network(model, here)

        with thread_pool(device):
            for _ in map_parts(gather, batches(number, size)):
                pass
        return sums.moments()


class _Sums:
    """What all parts of the images add up to: each adds in its turn, so that rounding is the same for all threads."""

    def __init__(self, graph: ChannelGraph, chains: Mapping[str, Chain], images: int):
        self.graph, self.chains, self.images = graph, chains, images
        self.judged: dict[str, dict[int, Tensor]] = {}  # rows by which errors are told, by layer and number of the part
        self.names = layer_names(graph, graph.model)
        self.modules = layer_modules(graph, graph.model)
        self.uses: dict[str, tuple[LayerUse, bool]] = {}
        self._rows: dict[str, int] = {}
        self._totals: dict[tuple[str, str], Tensor | float] = {}
        self._turn: dict[tuple[str, str], int] = {}
        self._changed = threading.Condition()
        self._failed = False

    @contextmanager
    def part(self) -> Iterator[None]:
        """Work on a part; if it fails, no other waits for it."""
        try:
            yield
        except BaseException:
            with self._changed:
                self._failed = True
                self._changed.notify_all()
            raise

    def add(self, key: tuple[str, str], number: int, value: Tensor | float, rows: int = 0) -> None:
        """Add a part's share once those before it have added theirs."""
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._turn.get(key, 0) == number)
            self._totals[key] = value if number == 0 else self._totals[key] + value
            self._rows[key[0]] = self._rows.get(key[0], 0) + rows
            self._turn[key] = number + 1
            self._changed.notify_all()

    def norm(self, chain: Chain) -> nn.Module | None:
        return None if chain.norm is None else self.modules[chain.norm]

    @staticmethod
    def taps(use: LayerUse) -> int:
        """Inputs that belong to one channel."""
        return use.weight[0, 0].numel() if use.weight.dim() > 2 else 1

    def moments(self) -> dict[str, Moments]:
        result = {}
        for name, (use, constant) in self.uses.items():
            module = self.modules[name]
            matrix = affine_map.read_matrix(
                module.weight, module.bias, self.norm(self.chains[name]), use.kind, use.groups
            )
            n = self._rows[name]
            taps = self.taps(use)
            energy = max(float(self._totals[name, "energy"]) / n, 1e-300)
            parts = self.judged.get(name)
            rows = None if parts is None else torch.cat([parts[number] for number in sorted(parts)])
            gram = torch.as_tensor(self._totals[name, "gram"]) / n
            result[name] = Moments(gram, matrix, energy, taps, constant, rows, n)
        return result


class _Gatherer(Follower):
    """Gathers what some of the images give, from the image `start` on; they are the part of this number."""

    def __init__(self, sums: _Sums, sampler: Sampler, start: int, number: int):
        super().__init__(sums.names, sums.chains)
        self.sums = sums
        self.sampler = sampler
        self.start = start
        self.number = number
        self._kinds: dict[str, str] = {}
        self._positions: dict[str, Tensor] = {}

    def on_layer(self, chain: Chain, use: LayerUse, run: Callable[[], Tensor]) -> Tensor:
        signal = run()
        repeats, spatial = len(signal) // self.images, output_positions(signal, use.kind)
        positions = self.sampler.positions(
            chain.layer, repeats * self.sampler.images, spatial.numel(), needed_rows(use.weight, use.kind, use.groups)
        )[repeats * self.start :][: len(signal)].to(signal.device)
        table = None if use.kind == "linear" else tap_table(use, spatial).to(signal.device)
        constant = affine_map.has_constant(use.arguments.get("bias"), self.sums.norm(chain))
        rows = input_rows(use, table, positions, constant)
        if self.number == 0:
            self.sums.uses[chain.layer] = (use.on(use.input[:1]), constant)
        self.sums.add((chain.layer, "gram"), self.number, by_group(rows, rows) * len(rows), len(rows))
        if use.groups == 1 or rows.shape[2] > self.sums.taps(use) + 1:  # of depthwise layers nobody asks
            each = len(rows) // self.images
            chosen = judged_images(self.sampler.images, each, use.groups) - self.start
            chosen = chosen[(chosen >= 0) & (chosen < self.images)].to(rows.device)
            part = rows.reshape(self.images, each, *rows.shape[1:])[chosen]
            self.sums.judged.setdefault(chain.layer, {})[self.number] = part
        self._kinds[chain.layer] = use.kind
        self._positions[chain.layer] = positions
        return signal

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        rows = signal_rows(signal, self._kinds[chain.layer], self._positions.pop(chain.layer))
        self.sums.add((chain.layer, "energy"), self.number, float(rows.double().square().sum()))
        return signal
