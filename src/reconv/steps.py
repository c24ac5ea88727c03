"""What may follow a cut: each step's options, and what it does, in one place.

A new option of a step is a field here and its use in `apply`; files, the command line and reports take it from there.
Fields need no PyTorch, so that a command line can show them at once; `apply` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from reconv.errors import ConfigError

if TYPE_CHECKING:
    pass

BASE = "base"  # as a teacher: the network before the cut


class Step:
    """One thing that is done to a pruned network; its subclasses are frozen dataclasses.

    Attributes:
        tag: the key by which a mapping names a step, as in `{"step": "repair"}`.
        uses_images: whether it looks at calibration images.
        uses_labels: whether it trains.
    """

    tag: ClassVar[str] = "step"
    uses_images: ClassVar[bool] = False
    uses_labels: ClassVar[bool] = False

    @property
    def is_idle(self) -> bool:
        """Whether its options say that nothing is done."""
        return False


@dataclass(frozen=True)
class Repair(Step):
    """Solve the layers around what was pruned anew by least squares, on images without labels.

    Args:
        images: how many calibration images; None: as many as everything else looks at.
    """

    uses_images: ClassVar[bool] = True

    images: int | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 2:
            raise ConfigError(f"repair: images={self.images}; give at least 2")


@dataclass(frozen=True)
class Recalibrate(Step):
    """Measure the statistics of BatchNorm layers again, on images without labels.

    Args:
        images: how many calibration images; None: as many as everything else looks at.
    """

    uses_images: ClassVar[bool] = True

    images: int | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 2:
            raise ConfigError(f"recalibrate: {self.images}; give the number of images, at least 2")


@dataclass(frozen=True)
class Reinitialize(Step):
    """Give the pruned network random weights, for training it from scratch: a control."""


@dataclass(frozen=True)
class TrainConfig:
    """One training: a protocol, and what is changed in it.

    Args:
        protocol: a name of `reconv list protocols`, or the path of a TOML file.
        epochs: passes over the training images; None: the protocol's; 0: no training.
        batch_size: images per step; None: the protocol's.
        changes: other keys of the protocol and their values, such as `{"schedule": "cosine"}`.
        teacher: a saved network whose outputs are learned too; "base": the network before the cut.
    """

    protocol: str = "default"
    epochs: int | None = None
    batch_size: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("epochs", self.epochs, 0), ("batch size", self.batch_size, 1)):
            if value is not None and value < least:
                raise ConfigError(f"{name}: {value}; give a whole number of at least {least}")

    @property
    def overrides(self) -> dict[str, Any]:
        """Keys of the protocol that are changed."""
        pairs = {"epochs": self.epochs, "batch_size": self.batch_size}
        return {**self.changes, **{name: value for name, value in pairs.items() if value is not None}}


@dataclass(frozen=True)
class Finetune(TrainConfig, Step):
    """Train the pruned network.

    Args:
        protocol: a name of `reconv list protocols`, or the path of a TOML file.
        epochs: passes over the training images; None: the protocol's; 0: no training.
        batch_size: images per step; None: the protocol's.
        changes: other keys of the protocol and their values, such as `{"schedule": "cosine"}`.
        teacher: a saved network whose outputs are learned too; "base": the network before the cut.
    """

    uses_labels: ClassVar[bool] = True

    protocol: str = "default-finetune"

    @property
    def is_idle(self) -> bool:
        """Whether no epoch is trained."""
        return self.epochs == 0
