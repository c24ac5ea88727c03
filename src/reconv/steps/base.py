"""What a step after pruning is, and what it may use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from reconv.errors import ConfigError
from reconv.mappings import tag_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from reconv.calibration import Calibration
    from reconv.data import DataSet
    from reconv.plan import Plan
    from reconv.quality import Quality
    from reconv.runlog import RunLog
    from reconv.store import Store


@dataclass(frozen=True, eq=False)
class Context:
    """What a step may use beside its own options.

    Args:
        base: the network before any pruning.
        data: images with labels, if there are any. calibration: images without labels. quality: measures networks.
        loss: in place of cross-entropy. seed: of everything random.
        log: is told. store: keeps what is made.
    """

    base: nn.Module
    data: DataSet | None
    calibration: Calibration
    quality: Quality
    loss: Callable[[Any, Any], Tensor] | None
    seed: int
    log: RunLog
    store: Store


class Step:
    """One thing that is done to a pruned network; its subclasses are frozen dataclasses.

    Attributes:
        tag: the key by which a mapping names a step, as in `{"step": "repair"}`.
        needs: "images" for calibration, "labels", "training images" without them, or nothing.
        described: options that `describe` puts into words; others are named by their field.
        in_each_round: whether it follows each round of several, and not the last one alone.
    """

    tag: ClassVar[str] = "step"
    in_each_round: ClassVar[bool] = False
    described: ClassVar[tuple[str, ...]] = ("images", "protocol", "epochs", "batch_size", "changes", "teacher", "path")

    @property
    def needs(self) -> frozenset[str]:
        """What has to be there."""
        return frozenset()

    @property
    def uses_images(self) -> bool:
        """Whether calibration images may serve it."""
        return not self.needs.isdisjoint(("images", "training images"))

    @property
    def is_idle(self) -> bool:
        """Whether its options say that nothing is done."""
        return False

    def check(self, data_set: str) -> None:
        """Look up what its options name, for a data set of this name.

        Raises:
            ReconvError: something is not there.
        """

    def apply(self, model: nn.Module, plan: Plan, context: Context) -> nn.Module:
        """The network after this step; the one given stays as it is.

        Args:
            model: pruned from `plan.graph.model` by `plan`, and what other steps made of it.
            context: what else there is.
        """
        raise NotImplementedError

    def describe(self, images: int, source: str, data_set: str) -> tuple[str, str]:
        """What a report calls the step, and its options as text.

        Args:
            images: how many calibration images there are, and their source. data_set: by which a protocol is chosen.
        """
        raise NotImplementedError


class Calibrated:
    """What steps share that look at calibration images; `images` says how many, None as many as criteria do."""

    images: int | None

    @property
    def needs(self) -> frozenset[str]:
        """Calibration images."""
        return frozenset({"images"})

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 2:
            raise ConfigError(f"{tag_of(type(self))}: images={self.images}; give at least 2")
