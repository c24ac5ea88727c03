"""`Compression`: everything that decides what becomes of a network, as one value.

It is read from and written to TOML, JSON and the command line; its docstring is the help that they show.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from reconv.budget import ALLOCATED as ALLOCATED
from reconv.budget import Budget, LatencyConfig, Limits
from reconv.budget import Rescale as Rescale
from reconv.errors import ConfigError
from reconv.mappings import from_mapping, to_mapping
from reconv.steps import DEFAULT, DEFAULT_AFTER_REPAIR, Finetune, Recalibrate, Repair, Step

if TYPE_CHECKING:
    from reconv.saliency import Criterion
else:
    Criterion = Any  # its home loads PyTorch

Direction: TypeAlias = Literal["forward", "backward"]
Scheme: TypeAlias = Literal["uniform", "global", "knapsack", "allocated"]

AFTER: tuple[Step, ...] = (Repair(), Finetune(DEFAULT_AFTER_REPAIR))
BETWEEN = Finetune("default-between")

CHOICE = ("budget", "scheme", "rescale", "coupled", "reverse", "limits", "depth")  # the fields that `choose` takes
EARLIER_NAMES = {"normalization": "rescale", "keep_lowest": "reverse"}  # of fields, in version 0.1


@dataclass(frozen=True)
class Compression:
    """What is removed from a network, and what is done after.

    Args:
        criterion: the rule that scores channels; a name of `reconv list criteria`, or a `Criterion`.
        direction: "forward" scores a channel by the kernels that make it, "backward" by those that read it.
        exact: compute norms by the dense reference algorithm.
        scores: path of saved scores to use instead of computing them; a `.py` file is a published score file.
        budget: what may remain, such as macs=0.5, latency=3ms or size=2MiB; a share or an absolute number, of several
            kinds at once too; macs=0.5 where neither a budget nor a recipe is given.
        recipe: number of the paper's configuration for this network, instead of a budget.
        scheme: how a budget is shared among layers: uniform, global, knapsack or allocated; uniform: the same fraction
            of every layer; global: one threshold for all; knapsack: the most score within the budget; allocated: by
            predicted error, from images.
        rescale: how scores of different layers are made comparable; for "global" and "knapsack": divided by their
            mean, max, l2 norm or sum, replaced by their rank, or none.
        coupled: prune residual streams too, all their layers together.
        reverse: keep the lowest scores instead of the highest (a control).
        limits: minimum widths, multiples, and layers that keep more.
        timing: where latency is measured: the runtime, its threads, images per pass.
        depth: remove whole residual branches too, where the schemes allocated and knapsack find that cheaper; None: for
            budgets of time.
        rounds: steps in which the budget is approached, with a short training after each; 1: at once.
        between: how the network is trained after each round but the last.
        images: number of calibration images; criteria, the scheme "allocated" and repair look at them.
        calibration: where those images come from: a folder, a data set by name, or "leaves" for generated ones; None:
            the training images.
        verify: prove that removed equals zeroed; None: where that takes under ten seconds.
        after: what is done after pruning, in this order: repair, recalibrate, finetune.
        seed: seed of everything random.

    Example:
        >>> from reconv import Budget, Compression, Repair
        >>> Compression(criterion="l1", budget=Budget(macs=0.3), after=(Repair(images=300),)).scheme
        'uniform'
    """

    criterion: str | Criterion = "nuclear"
    direction: Direction = "forward"
    exact: bool = False
    scores: str | None = None
    budget: Budget | None = None
    recipe: int | None = None
    scheme: Scheme = "uniform"
    rescale: Rescale = "mean"
    coupled: bool = False
    reverse: bool = False
    limits: Limits = field(default_factory=Limits)
    timing: LatencyConfig = field(default_factory=LatencyConfig)
    depth: bool | None = None
    rounds: int = 1
    between: Finetune = BETWEEN
    images: int = 1000
    calibration: str | None = None
    verify: bool | None = None
    after: tuple[Step, ...] = AFTER
    seed: int = 0

    def __post_init__(self) -> None:
        if self.budget is None and self.recipe is None:
            object.__setattr__(self, "budget", Budget(macs=0.5))
        object.__setattr__(self, "after", _with_default_protocol(self.after))
        _check_choice(self)
        _check_rounds(self)
        _check_images(self)

    @property
    def needs(self) -> frozenset[str]:
        """What the choice of channels looks at: "weights", "moments", "gradients", and "seed" where one draws."""
        of_scheme = {"moments"} if self.scheme == ALLOCATED else set[str]()
        return frozenset(of_scheme | (set[str]() if self.scores is not None else self._row.needs))

    @property
    def looks_at_images(self) -> bool:
        """Whether images decide which channels go."""
        return not self.needs.isdisjoint(("moments", "gradients"))

    @property
    def uses_images(self) -> bool:
        """Whether anything looks at calibration images."""
        return any(step.uses_images for step in self.after) or self.looks_at_images

    @property
    def _row(self) -> Criterion:
        from reconv.saliency import criterion_named  # loads PyTorch

        return criterion_named(self.criterion) if isinstance(self.criterion, str) else self.criterion

    @property
    def held_share(self) -> float | None:
        """Which share of images without labels is kept to measure on; None: as usual."""
        return 0.5 if self.limits_drop else None

    @property
    def limits_drop(self) -> bool:
        """Whether the budget says what may be lost, and not how much may be left."""
        return self.budget is not None and self.budget.max_drop is not None

    @property
    def has_latency_budget(self) -> bool:
        """Whether the budget limits what is measured."""
        return self.budget is not None and bool(self.budget.measured)

    def options_of(self, function: Callable[..., Any]) -> dict[str, Any]:
        """The fields that a function takes by keyword, so that a new option is a field here and a parameter there."""
        parameters = inspect.signature(function).parameters.values()
        names = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def to_mapping(self) -> dict[str, Any]:
        """As a mapping that TOML and JSON can hold."""
        return to_mapping(self)  # type: ignore[no-any-return]

    @classmethod
    def from_mapping(cls, mapping: Any, where: str = "compression") -> Compression:
        """From a mapping; keys that are left out have their defaults.

        Args:
            mapping: as a TOML or JSON file holds it. where: it stands, for messages.

        Raises:
            ConfigError: a value of the wrong kind, or a combination that cannot be. UnknownNameError: an unknown key.
        """
        return from_mapping(cls, mapping, where)


def _with_default_protocol(after: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps, a training without a protocol of its own with that for a repaired network, or for any other."""
    steps: list[Step] = []
    for step in after:
        if isinstance(step, Finetune) and step.protocol in (DEFAULT, DEFAULT_AFTER_REPAIR):
            repaired = any(isinstance(earlier, Repair) for earlier in steps)
            step = replace(step, protocol=DEFAULT_AFTER_REPAIR if repaired else DEFAULT)
        steps.append(step)
    return tuple(steps)


def _check_choice(compression: Compression) -> None:
    """What says which channels go."""
    if not isinstance(compression.criterion, str) and not hasattr(compression.criterion, "needs"):
        raise ConfigError(f"criterion: {compression.criterion!r:.80}; give a name, such as nuclear, or a Criterion")
    if compression.recipe is not None:
        for name, clashes, why in (
            ("budget", compression.budget is not None, "says the widths; give one of them"),
            ("limits", compression.limits != Limits(), "says the widths; give a budget, or leave them out"),
            (
                f"scheme {compression.scheme}",
                compression.scheme != "uniform",
                "says the widths; give a budget, or leave the scheme out",
            ),
            ("coupled", compression.coupled, "leaves residual streams unpruned; give a budget, or leave it out"),
            ("depth", bool(compression.depth), "removes channels alone; give a budget, or leave depth out"),
            ("rounds", compression.rounds > 1, "says the widths of one cut; give a budget such as macs=0.5"),
        ):
            if clashes:
                raise ConfigError(f"{name}: the paper's recipe {compression.recipe} {why}")
    if compression.rescale != "mean" and compression.scheme not in ("global", "knapsack"):
        raise ConfigError(
            f"rescale: {compression.rescale}, but {compression.scheme} compares no scores of different layers; "
            "give the scheme global or knapsack, or leave it out"
        )
    if compression.depth and compression.recipe is None and compression.scheme not in ("knapsack", ALLOCATED):
        raise ConfigError(
            f"depth: the scheme {compression.scheme} removes no branches; give allocated or knapsack, or leave it out"
        )
    if compression.direction != "forward" and compression.scores is None and compression._row.of_group is not None:
        raise ConfigError(f"{compression.criterion}: it looks at those that read a channel; leave direction out")


def _check_rounds(compression: Compression) -> None:
    """Whether the budget can be approached in steps."""
    if compression.rounds < 1:
        raise ConfigError(f"rounds: {compression.rounds}; give a whole number of at least 1")
    if compression.rounds == 1 or compression.budget is None:
        return
    if compression.limits_drop:
        raise ConfigError(f"rounds: {compression.budget} tries networks of one round each; leave rounds out")
    unknown = next((name for name in ("channels", "latency") if compression.budget.limits.get(name, 0.0) >= 1), None)
    if unknown:
        raise ConfigError(
            f"rounds: they cannot approach {compression.budget} in steps, since how much {unknown} the unpruned "
            f"network has is not known before; give a share, such as {unknown}=0.5, or macs="
        )
    if compression.scores is not None:
        raise ConfigError("rounds: saved scores are of the network before the first; leave scores out")


def _check_images(compression: Compression) -> None:
    """What looks at images, and what becomes of it."""
    if compression.images < 2:
        raise ConfigError(f"images: {compression.images}; give at least 2 to calibrate on")
    if compression.calibration == "weights":
        raise ConfigError(
            "calibration: weights: there is no repair by weights alone any more; give leaves (generated images, which "
            "repair better and need no data either), or ./weights for a folder of that name"
        )
    if compression.calibration is not None and not compression.uses_images:
        raise ConfigError(f"calibration: {compression.calibration}, but nothing looks at images; add a repair")
    if sum(isinstance(step, Finetune) for step in compression.after) > 1:
        raise ConfigError(
            "after: finetune twice; the second training would take the checkpoints of the first for its own; give one "
            "with more epochs"
        )
    for step, following in zip(compression.after, compression.after[1:], strict=False):
        if {type(step), type(following)} == {Repair, Recalibrate}:
            raise ConfigError(
                "after: a repair sets the statistics of BatchNorm, and recalibrating undoes it; leave one of them out"
            )
