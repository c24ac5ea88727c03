"""Steps that write the network to a file for where it will run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from reconv.errors import ConfigError
from reconv.optional import optional
from reconv.steps.base import Calibrated, Context, Step

if TYPE_CHECKING:
    from torch import Tensor, nn

    from reconv.plan import Plan

PARITY_IMAGES = 64  # that a file and the network are compared on


@dataclass(frozen=True)
class Export(Step):
    """Write a file that runs without reconv, and compare it on images of the run.

    Args:
        path: of the file; a relative one is in the run's folder.
        to: name of an exporter (`reconv list exporters`); None: by the suffix of the path.
        dynamic: axes of the inputs that may have another size later: batch, height, width; None: the batch, where the
            network allows it.
        opset: version of ONNX's operators; None: the exporter's own.

    Example:
        >>> from reconv import Compression, Export, Repair
        >>> Compression(after=(Repair(), Export("net.onnx"))).after[1].path
        'net.onnx'
    """

    path: str = "model.onnx"
    to: str | None = None
    dynamic: tuple[str, ...] | None = None
    opset: int | None = None

    def apply(self, model: nn.Module, plan: Plan, context: Context) -> nn.Module:
        """Export the network as it is now."""
        from reconv.deploy import export

        with context.log.stage("export") as stage:
            written = export(
                model,
                context.store.file(self.path),
                example=plan.graph.inputs,
                to=self.to,
                images=parity_images(context),
                dynamic=self.dynamic,
                opset=self.opset,
            )
            context.store.exported.append(written)
            stage.note = str(written)
        return model

    def describe(self, images: int, source: str, data_set: str) -> tuple[str, str]:
        """Its file."""
        return "export", self.path


@dataclass(frozen=True)
class Quantize(Calibrated, Step):
    """Write the network as an ONNX file that computes in int8 as well, with the means of its layers corrected.

    Args:
        to: the arithmetic: int8, static and per channel.
        path: of the int8 file; a relative one is in the run's folder.
        images: number of images that the ranges of int8 are taken on; None: as many as for criteria.
        min_agreement: share of these images, 0 to 1, whose prediction int8 has to leave as it is.

    Example:
        >>> from reconv import Compression, Quantize, Repair
        >>> Compression(after=(Repair(), Quantize(images=300))).after[1].path
        'model.int8.onnx'
    """

    to: Literal["int8"] = "int8"
    path: str = "model.int8.onnx"
    images: int | None = None
    min_agreement: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_agreement <= 1:
            raise ConfigError(f"min_agreement: {self.min_agreement:g}; give a share between 0 and 1, such as 0.99")

    def check(self, data_set: str) -> None:
        """That what quantizes is installed."""
        optional("onnxruntime.quantization", "int8", "onnx")

    def apply(self, model: nn.Module, plan: Plan, context: Context) -> nn.Module:
        """Write the int8 file; the network goes on in float32."""
        from reconv.deploy import quantize

        with context.log.stage("quantize") as stage:
            written = quantize(
                model,
                context.store.file(self.path),
                example=plan.graph.inputs,
                images=context.calibration.images(self.images),
                min_agreement=self.min_agreement,
            )
            context.store.exported.append(written)
            stage.note = str(written)
        return model

    def describe(self, images: int, source: str, data_set: str) -> tuple[str, str]:
        """Its images."""
        return "int8", f"static, per channel, on {self.images or images:,} images ({source})"


def parity_images(context: Context) -> Tensor | None:
    """Images of the run that a file and the network are compared on; None where there are none, or other inputs."""
    if context.calibration.source is None and (context.data is None or context.data.sample is not None):
        return None
    images: Tensor = context.calibration.images(PARITY_IMAGES)
    return images
