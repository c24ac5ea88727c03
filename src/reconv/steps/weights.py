"""Steps that solve, measure or draw the weights again, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from reconv.steps.base import Calibrated, Context, Step

if TYPE_CHECKING:
    from torch import nn

    from reconv.plan import Plan


@dataclass(frozen=True)
class Repair(Calibrated, Step):
    """Solve the remaining layers by least squares, on images without labels.

    Args:
        images: number of calibration images of its own; None: as many as for criteria.
        ridge: of the least squares, relative to the mean squared input of a layer.

    Example:
        >>> import reconv
        >>> reconv.Compression(after=(reconv.Repair(images=500),)).after
        (Repair(images=500, ridge=0.0001),)
    """

    in_each_round: ClassVar[bool] = True

    images: int | None = None
    ridge: float = 1e-4

    def apply(self, model: nn.Module, plan: Plan, context: Context) -> nn.Module:
        """Repair the layers that the plan touched."""
        from reconv.inputs import batch_size
        from reconv.refit import Settings, repair_with_report
        from reconv.report.numbers import counted

        with context.log.stage("repair") as stage:
            images = context.calibration.images(self.images)
            settings = Settings(seed=context.seed, ridge=self.ridge)
            reference = plan.graph.model
            model, report = repair_with_report(model, plan=plan, reference=reference, images=images, settings=settings)
            source = f"{batch_size(images):,} {context.calibration}, labels unread"
            stage.note = f"{counted(len(report.layers), 'layer')} solved anew on {source}"
            context.quality.put_on(stage, model)
        for layer, why in report.unrepaired.items():
            context.log.note(f"repair: {layer} is left as it is: {why}.")
        return model

    def describe(self, images: int, source: str, data_set: str) -> tuple[str, str]:
        """Its images."""
        return "repair", f"on {self.images or images:,} images ({source})"


@dataclass(frozen=True)
class Recalibrate(Calibrated, Step):
    """Measure the statistics of BatchNorm layers again, on images without labels.

    Args:
        images: number of images that BatchNorm's statistics are measured on; None: as many as for criteria.

    Example:
        >>> import reconv
        >>> reconv.Compression(after=(reconv.Recalibrate(images=500),)).after
        (Recalibrate(images=500),)
    """

    in_each_round: ClassVar[bool] = True

    images: int | None = None

    def apply(self, model: nn.Module, plan: Plan, context: Context) -> nn.Module:
        """Measure the statistics anew."""
        from reconv.inputs import batch_size
        from reconv.training import recalibrate

        with context.log.stage("recalibrate BatchNorm") as stage:
            images = context.calibration.images(self.images)
            model = recalibrate(model, images)
            stage.note = f"{batch_size(images):,} {context.calibration}"
            context.quality.put_on(stage, model)
        return model

    def describe(self, images: int, source: str, data_set: str) -> tuple[str, str]:
        """Its images."""
        return "BatchNorm", f"statistics of {self.images or images:,} images ({source})"


@dataclass(frozen=True)
class Reinitialize(Step):
    """Give the pruned network random weights, for training it from scratch: a control."""

    def apply(self, model: nn.Module, plan: Plan, context: Context) -> nn.Module:
        """Prune a network of random weights by the same plan."""
        from reconv.networks import with_random_weights
        from reconv.surgery import prune

        return prune(with_random_weights(plan.graph.model, context.seed), plan)

    def describe(self, images: int, source: str, data_set: str) -> tuple[str, str]:
        """The seed is the compression's."""
        return "weights", "random"
