"""What decides the result of a run; `config.json` in its folder holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from reconv.errors import ConfigError
from reconv.plan import ALLOCATED, SCHEMES, Budget, Limits
from reconv.saliency import Direction, criterion_named

ALL_SCHEMES = (*SCHEMES, ALLOCATED)  # the last: widths by predicted error, which images tell


@dataclass(frozen=True)
class Cut:
    """What to remove.

    Args:
        criterion: name or alias of a registered criterion.
        direction: "forward" scores a channel by the kernels that make it, "backward" by those that read it.
        exact: norms by the dense algorithm.
        scores: path of saved scores to use instead of computing them; a `.py` file is a published score file.
        budget: what may be left at most.
        recipe: number of the paper's configuration for this model, instead of a budget.
        scheme: how a budget is shared among layers, one of `ALL_SCHEMES`; "allocated" by error curves from images.
        coupled: cut residual streams too.
        reverse: remove the highest scores instead (a control).
        limits: minimum widths, multiples, layers that keep more.
        rescale: how scores of different layers are made comparable, a name in `reconv.plan.RESCALINGS`.
    """

    criterion: str = "nuclear"
    direction: Direction = "forward"
    exact: bool = False
    scores: str | None = None
    budget: Budget | None = None
    recipe: int | None = None
    scheme: str = "uniform"
    coupled: bool = False
    reverse: bool = False
    limits: Limits = field(default_factory=Limits)
    rescale: str = "mean"

    def __post_init__(self) -> None:
        if (self.budget is None) == (self.recipe is None):
            given = "neither" if self.budget is None else "both"
            raise ConfigError(f"what to cut: {given} given; give a budget such as macs=0.5, or a recipe's number")
        if self.recipe is not None and self.limits != Limits():
            raise ConfigError("limits: the paper's configurations say the widths; give a budget, or leave them out")
        if self.recipe is not None and self.scheme == ALLOCATED:
            raise ConfigError("scheme allocated: a recipe says the widths; give a budget, or leave the scheme out")
        if self.direction != "forward" and criterion_named(self.criterion).of_group is not None:
            raise ConfigError(f"{self.criterion}: it looks at those that read a channel; leave --direction out")

    @property
    def looks_at_images(self) -> bool:
        """Whether images are looked at before anything is cut."""
        return self.scheme == ALLOCATED or (self.scores is None and "moments" in criterion_named(self.criterion).needs)


@dataclass(frozen=True)
class Schooling:
    """One training: a protocol by name or TOML file, and what is changed in it.

    Args:
        protocol: as `reconv.training.load_protocol` takes it.
        epochs: passes over the training images; None: the protocol's; 0: none.
        batch_size: images a step; None: the protocol's.
        changes: other keys of the protocol and their values, as `{"schedule": "cosine"}`.
        teacher: path of a saved network whose scores are learned too; "base": the network before the cut.
    """

    protocol: str
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
class RunConfig:
    """Everything that decides the result of a run.

    Args:
        model: a name that `load_model` knows, or the path of a saved model.
        weights: a file of trained weights; "shipped": those that come with reconv; None: the network is trained first
            (a saved model has its own).
        arguments: the model's own, such as `{"shortcut": "stride"}`.
        data_set: a name, or the path of a folder of images.
        data_root: the folder that holds data sets.
        cut: what to remove.
        base: how a network without weights is trained first.
        finetune: how the smaller one is trained on.
        rounds: steps that a budget is approached in; 1: it is met at once.
        between: how the network is trained after each round but the last.
        verify: prove that removed equals zeroed; None: where that takes under ten seconds.
        recalibrate: refresh BatchNorm's statistics after the cut with this many training images; 0: do not.
        repair: solve the layers around the cut anew by least squares, on images without labels.
        calibration: where images for a repair, for criteria that look at images and for the scheme "allocated" come
            from: a folder, a data set by name, "leaves" for drawn ones; None: the run's training images.
        images: how many of them.
        seed: of weights, splits, order and random scores.
        device: where to compute.
    """

    model: str = "resnet20"
    weights: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    data_set: str = "digits"
    data_root: str | None = None
    cut: Cut = field(default_factory=lambda: Cut(budget=Budget(macs=0.5)))
    base: Schooling = Schooling("default")
    finetune: Schooling = Schooling("default-finetune")
    rounds: int = 1
    between: Schooling = Schooling("default-between")
    verify: bool | None = None
    recalibrate: int = 0
    repair: bool = False
    calibration: str | None = None
    images: int = 1000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.recalibrate < 0 or self.recalibrate == 1:
            raise ConfigError(f"recalibrate: {self.recalibrate}; give the number of images, at least 2, or 0 for none")
        if self.images < 2:
            raise ConfigError(f"images: {self.images}; give at least 2 to calibrate on")
        if self.calibration == "weights":
            raise ConfigError(
                "calibration: weights: there is no repair by weights alone any more; give leaves (drawn images, which "
                "repair better and need no data either), or ./weights for a folder of that name"
            )
        if self.calibration is not None and not (self.repair or self.cut.looks_at_images):
            raise ConfigError(f"calibration: {self.calibration}, but nothing looks at images; add --repair")
        if self.rounds < 1:
            raise ConfigError(f"rounds: {self.rounds}; give a whole number of at least 1")
        if self.rounds > 1 and self.cut.budget is None:
            raise ConfigError("rounds: a recipe says the widths of one cut; give a budget such as macs=0.5")
        budget = self.cut.budget if self.rounds > 1 else None
        if budget is not None:
            unknown = next((n for n in ("channels", "latency") if budget.limits.get(n, 0.0) >= 1), None)
            if unknown:
                raise ConfigError(
                    f"rounds: they cannot approach {budget} in steps, since how much {unknown} the whole network has "
                    f"is not known before; give a share, such as {unknown}=0.5, or macs="
                )
        if self.rounds > 1 and self.cut.scores is not None:
            raise ConfigError("rounds: saved scores are of the network before the first; leave --scores out")

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)
