"""What the original network computes at the ends of the chains, for the channels that stay."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from reconv.plan import Plan
from reconv.refit.chains import Chain
from reconv.refit.layer_use import Follower, LayerUse, batches, layer_names
from reconv.refit.rows import Sampler, needed_rows, output_positions, signal_rows
from reconv.refit.settings import Settings
from reconv.threads import map_parts


@dataclass(frozen=True, eq=False)
class Targets:
    """By layer, for the channels that stay.

    Args:
        rows: signals at the sampled positions, [n, channels].
        maps: whole signals of the first few images, for layers that are refined jointly.
    """

    rows: Mapping[str, Tensor]
    maps: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        plan: Plan,
        chains: Mapping[str, Chain],
        images: Tensor,
        sampler: Sampler,
        settings: Settings,
    ) -> Targets:
        """Look at the original network once."""
        device, names = next(model.parameters()).device, layer_names(plan.graph, model)

        def collect(part: slice) -> _Collector:
            collector = _Collector(names, plan, chains, sampler, settings, part.start)
            collector.run_network(model, images[part].to(device))
            return collector

        parts = list(map_parts(collect, batches(len(images), settings.batch)))
        return cls(
            {name: torch.cat([part.rows[name] for part in parts]) for name in parts[0].rows},
            {name: torch.cat([part.maps[name] for part in parts if name in part.maps]) for name in parts[0].maps},
        )

    @staticmethod
    def bytes(plan: Plan, chains: Mapping[str, Chain], images: int, settings: Settings) -> int:
        """About how much memory they take, float32."""
        total = 0
        for name, chain in chains.items():
            channels = plan.graph.layer(name).out_channels
            total += images * settings.points * channels
            if chain.follows and settings.joint:
                total += min(settings.joint_rows * channels, images * chain.numel)
        return 4 * total


class _Collector(Follower):
    """Collects the signals of some of the images, from the image `start` on."""

    def __init__(
        self,
        names: Mapping[int, str],
        plan: Plan,
        chains: Mapping[str, Chain],
        sampler: Sampler,
        settings: Settings,
        start: int,
    ):
        super().__init__(names, chains)
        self.plan = plan
        self.sampler = sampler
        self.settings = settings
        self.start = start
        self.rows: dict[str, Tensor] = {}
        self.maps: dict[str, Tensor] = {}
        self._kinds: dict[str, tuple[str, int]] = {}

    def on_layer(self, chain: Chain, use: LayerUse, run: Callable[[], Tensor]) -> Tensor:
        self._kinds[chain.layer] = (use.kind, needed_rows(use.weight, use.kind))
        return run()

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        name = chain.layer
        kind, least = self._kinds[name]
        repeats, count = len(signal) // self.images, output_positions(signal, kind).numel()
        positions = self.sampler.positions(name, repeats * self.sampler.images, count, least)
        start = repeats * self.start
        rows = signal_rows(signal, kind, positions[start : start + len(signal)].to(signal.device))
        keep = torch.from_numpy(np.flatnonzero(self.plan.keep[self.plan.graph.layer(name).outputs])).to(rows.device)
        self.rows[name] = rows[:, keep]
        wanted = map_items(self.settings, count) - start
        if chain.follows and self.settings.joint and wanted > 0:
            channel = -1 if kind == "linear" else 1
            self.maps[name] = signal[:wanted].index_select(channel, keep)
        return signal


def map_items(settings: Settings, positions: int) -> int:
    """For how many items whole signals are kept."""
    return math.ceil(settings.joint_rows / max(positions, 1))
