"""What may follow pruning: each step's options, and what it does, in one place.

A new option of a step is a field here and its use in `apply`; files, the command line and reports take it from there.
Fields need no PyTorch, so that a command line can show them at once; `apply` loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from reconv.errors import ConfigError
from reconv.mappings import tag_of
from reconv.optional import optional

if TYPE_CHECKING:
    from torch import Tensor, nn

    from reconv.calibration import Calibration
    from reconv.data import DataSet
    from reconv.plan import Plan
    from reconv.quality import Quality
    from reconv.runlog import RunLog
    from reconv.store import Store

FINETUNING = "fine-tuning"  # the training after the last pruning, in logs and folders
BASE = "base"  # as a teacher: the network before pruning
PARITY_IMAGES = 64  # that a file and the network are compared on


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
        needs: "images" for calibration, "labels", or nothing.
        described: options that `describe` puts into words; others are named by their field.
        in_each_round: whether it follows each round of several, and not the last one alone.
    """

    tag: ClassVar[str] = "step"
    needs: ClassVar[frozenset[str]] = frozenset()
    in_each_round: ClassVar[bool] = False
    described: ClassVar[tuple[str, ...]] = ("images", "protocol", "epochs", "batch_size", "changes", "teacher", "path")

    @property
    def uses_images(self) -> bool:
        """Whether it looks at calibration images."""
        return "images" in self.needs

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


class CalibratedStep(Step):
    """A step that looks at calibration images; `images` of its dataclass says how many, None as many as criteria do."""

    needs: ClassVar[frozenset[str]] = frozenset({"images"})
    in_each_round: ClassVar[bool] = True

    images: int | None

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 2:
            raise ConfigError(f"{tag_of(type(self))}: images={self.images}; give at least 2")


@dataclass(frozen=True)
class Repair(CalibratedStep):
    """Solve the layers around what was pruned anew by least squares, on images without labels.

    Args:
        images: number of calibration images of its own; None: as many as for criteria.
        ridge: of the least squares, relative to the mean squared input of a layer.

    Example:
        >>> import reconv
        >>> reconv.Compression(after=(reconv.Repair(images=500),)).after
        (Repair(images=500, ridge=0.0001),)
    """

    images: int | None = None
    ridge: float = 1e-4

    def apply(self, model: nn.Module, plan: Plan, context: Context) -> nn.Module:
        """Repair the layers that the plan touched."""
        from reconv.refit import Settings, repair_with_report
        from reconv.report.numbers import counted

        with context.log.stage("repair") as stage:
            images = context.calibration.images(self.images)
            settings = Settings(seed=context.seed, ridge=self.ridge)
            reference = plan.graph.model
            model, report = repair_with_report(model, plan=plan, reference=reference, images=images, settings=settings)
            source = f"{len(images):,} {context.calibration}, labels unread"
            stage.note = f"{counted(len(report.layers), 'layer')} solved anew on {source}"
            context.quality.put_on(stage, model)
        for layer, why in report.unrepaired.items():
            context.log.note(f"repair: {layer} is left as it is: {why}.")
        return model

    def describe(self, images: int, source: str, data_set: str) -> tuple[str, str]:
        """Its images."""
        return "repair", f"on {self.images or images:,} images ({source})"


@dataclass(frozen=True)
class Recalibrate(CalibratedStep):
    """Measure the statistics of BatchNorm layers again, on images without labels.

    Args:
        images: number of images that BatchNorm's statistics are measured on; None: as many as for criteria.

    Example:
        >>> import reconv
        >>> reconv.Compression(after=(reconv.Recalibrate(images=500),)).after
        (Recalibrate(images=500),)
    """

    images: int | None = None

    def apply(self, model: nn.Module, plan: Plan, context: Context) -> nn.Module:
        """Measure the statistics anew."""
        from reconv.training import recalibrate

        with context.log.stage("recalibrate BatchNorm") as stage:
            images = context.calibration.images(self.images)
            model = recalibrate(model, images)
            stage.note = f"{len(images):,} {context.calibration}"
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


@dataclass(frozen=True)
class TrainConfig:
    """One training: a protocol, and what is changed in it.

    Args:
        protocol: how to train; a name of `reconv list protocols`, or the path of a TOML file.
        epochs: passes over the training images; 0: no training; None: the protocol's.
        batch_size: images per step; None: the protocol's.
        changes: other keys of the protocol, such as schedule=cosine.
        teacher: a saved network whose outputs are learned too, or "base" for the network before pruning.
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
        for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if value is not None and self.changes.get(name, value) != value:
                raise ConfigError(f"{name}: {value}, and by --set {self.changes[name]}; give one of them")

    @property
    def overrides(self) -> dict[str, Any]:
        """Keys of the protocol that are changed."""
        pairs = {"epochs": self.epochs, "batch_size": self.batch_size}
        return {**self.changes, **{name: value for name, value in pairs.items() if value is not None}}

    def check(self, data_set: str) -> None:
        """Look up protocol and teacher."""
        from reconv.networks import teacher_network
        from reconv.training import load_protocol

        load_protocol(self.protocol, data_set, self.overrides)
        if self.teacher is not None and self.teacher != BASE:
            teacher_network(self.teacher)

    def train(self, model: nn.Module, context: Context, title: str) -> nn.Module:
        """Train a network as this says, under a title; no epochs leave it as it is."""
        from reconv.report.numbers import counted
        from reconv.training import load_protocol, train

        if context.data is None or not context.data.labelled:
            raise ConfigError(f"{title}: it needs images with labels; give such data, or leave the training out")
        protocol = load_protocol(self.protocol, context.data.name, self.overrides)
        if protocol.epochs == 0:
            return model
        teacher = self._teacher(context.base, protocol.base_teaches)
        with context.log.stage(title, has_own_bar=True) as stage:
            trained = train(
                model,
                context.data,
                protocol,
                loss=context.loss,
                metric=context.quality.metric,
                seed=context.seed,
                teacher=teacher,
                session=context.store.session(title, context.log.progress),
            )
            context.store.history[title] = trained.history
            last = trained.history[-1].validation
            stage.accuracy = last.top1 if last and context.quality.is_share else None
            taught = ", with a teacher" if teacher else ""
            kept = "first weights kept, since validation says that it lost" if trained.kept_start else "last one kept"
            stage.note = f"{protocol.name}, {counted(protocol.epochs, 'epoch')}, {kept}{taught}"
        return trained.model

    def _teacher(self, base: nn.Module, base_teaches: bool) -> nn.Module | None:
        from reconv.networks import teacher_network

        if self.teacher is None:
            return base if base_teaches else None
        return base if self.teacher == BASE else teacher_network(self.teacher)

    def text(self, data_set: str) -> str:
        """The training by the name that its protocol has in the end, with all that is changed in it."""
        from reconv.report.numbers import counted
        from reconv.training import load_protocol

        if self.epochs == 0:
            return "none"
        protocol = load_protocol(self.protocol, data_set, self.overrides)
        parts = [f"protocol {protocol.name}", counted(protocol.epochs, "epoch")]
        parts += [f"batches of {self.batch_size}"] if self.batch_size else []
        parts += [f"{key}={value}" for key, value in self.changes.items()]
        base_teaches = self.teacher == BASE or (self.teacher is None and protocol.base_teaches)
        teacher = "the network before pruning" if base_teaches else self.teacher
        return ", ".join([*parts, *([f"taught by {teacher}"] if teacher else [])])


@dataclass(frozen=True)
class Finetune(TrainConfig, Step):
    """Train the pruned network.

    Args:
        protocol: how to train; a name of `reconv list protocols`, or the path of a TOML file.
        epochs: passes over the training images; 0: no training; None: the protocol's.
        batch_size: images per step; None: the protocol's.
        changes: other keys of the protocol, such as schedule=cosine.
        teacher: a saved network whose outputs are learned too, or "base" for the network before pruning.

    Example:
        >>> import reconv
        >>> reconv.Finetune("short", epochs=2).epochs
        2
    """

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    protocol: str = "default-finetune"

    @property
    def is_idle(self) -> bool:
        """Whether no epoch is trained."""
        return self.epochs == 0

    def apply(self, model: nn.Module, plan: Plan, context: Context) -> nn.Module:
        """Train the network, on the data's training images."""
        return self.train(model, context, FINETUNING)

    def describe(self, images: int, source: str, data_set: str) -> tuple[str, str]:
        """Its protocol."""
        return FINETUNING, self.text(data_set)


@dataclass(frozen=True)
class Export(Step):
    """Write the network to a file that runs without reconv, and compare both on images of the run.

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
class Quantize(Step):
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

    needs: ClassVar[frozenset[str]] = frozenset({"images"})

    to: Literal["int8"] = "int8"
    path: str = "model.int8.onnx"
    images: int | None = None
    min_agreement: float = 0.0

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 2:
            raise ConfigError(f"quantize: images={self.images}; give at least 2")
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
    """Images of the run that a file and the network are compared on; None where there are none."""
    if context.data is None and context.calibration.source is None:
        return None
    return context.calibration.images(PARITY_IMAGES)
