"""Where a compression puts its results as they appear, and what of them need not be made again."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from reconv.deploy import Exported
from reconv.plan import Plan
from reconv.saliency import Saliency
from reconv.training import EpochRecord, Session


class Store:
    """Keeps the histories of trainings, in memory; a run's folder keeps everything, on disk.

    Args:
        device: for trainings, as `reconv.training.device_named` takes it.

    Attributes:
        history: title of a training -> its epochs.
        exported: files that were written, compared with the network.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self.history: dict[str, tuple[EpochRecord, ...]] = {}
        self.exported: list[Exported] = []

    def load(self, name: str, like: nn.Module) -> nn.Module | None:
        """The network of this name, if it has been made before.

        Args:
            like: an unpruned instance, for a class that cannot be built by name.
        """
        return None

    def save(self, name: str, value: nn.Module | Saliency | Plan, plan: Plan | None = None) -> None:
        """Keep a result; with a network the plan that it was pruned by."""

    def file(self, path: str) -> Path:
        """Where a file of the user's lies."""
        return Path(path)

    def session(self, title: str, progress: bool) -> Session:
        """What surrounds a training."""
        return Session(device=self.device, progress=progress, title=title)

    def finish(self, title: str) -> None:
        """The result of this training is kept, so that its checkpoints can go."""
