"""What the original network computes at the ends of the chains, for the channels that stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reconv.plan import Plan
from reconv.refit.chains import Chain, Follower, LayerUse, layer_names
from reconv.refit.rows import Sampler, needed_rows, output_positions, signal_rows
from reconv.refit.settings import Settings


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
        cls, model: nn.Module, plan: Plan, chains: Mapping[str, Chain], images: Tensor, settings: Settings
    ) -> Targets:
        """Look at the original network once."""
        device = next(model.parameters()).device
        seen = _Looking(model, plan, chains, Sampler(len(images), settings.points, settings.seed), settings)
        with seen:
            for part in images.split(settings.batch):
                seen.part = len(part)
                model(part.to(device))
        return cls(
            {name: torch.cat(parts) for name, parts in seen.rows.items()},
            {name: torch.cat(parts) for name, parts in seen.maps.items()},
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


class _Looking(Follower):
    def __init__(self, model: nn.Module, plan: Plan, chains: Mapping[str, Chain], sampler: Sampler, settings: Settings):
        super().__init__(layer_names(plan.graph, model), chains)
        self.plan = plan
        self.sampler = sampler
        self.settings = settings
        self.part = 0
        self.rows: dict[str, list[Tensor]] = {name: [] for name in chains}
        self.maps: dict[str, list[Tensor]] = {}
        self._kinds: dict[str, tuple[str, int]] = {}
        self._seen: dict[str, int] = dict.fromkeys(chains, 0)

    def on_layer(self, chain: Chain, use: LayerUse, run: Any) -> Tensor:
        self._kinds[chain.layer] = (use.kind, needed_rows(use.weight, use.kind))
        return run()  # type: ignore[no-any-return]

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        name = chain.layer
        kind, least = self._kinds[name]
        items, count = len(signal) // self.part * self.sampler.images, output_positions(signal, kind).numel()
        positions = self.sampler.positions(name, items, count, least)
        start = self._seen[name]
        rows = signal_rows(signal, kind, positions[start : start + len(signal)].to(signal.device))
        keep = torch.from_numpy(np.flatnonzero(self.plan.keep[self.plan.graph.layer(name).outputs])).to(rows.device)
        self.rows[name].append(rows[:, keep])
        wanted = map_items(self.settings, count) - start
        if chain.follows and self.settings.joint and wanted > 0:
            channel = -1 if kind == "linear" else 1
            self.maps.setdefault(name, []).append(signal[:wanted].index_select(channel, keep))
        self._seen[name] = start + len(signal)
        return signal


def map_items(settings: Settings, positions: int) -> int:
    """For how many items whole signals are kept."""
    return math.ceil(settings.joint_rows / max(positions, 1))
