"""Arms: what is done to a network after its pruning, steps under a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from reconv.compression import Compression
from reconv.errors import ConfigError, unknown_name
from reconv.mappings import from_mapping
from reconv.report.numbers import counted
from reconv.results.describe import other_options
from reconv.steps import BASE, Finetune, Recalibrate, Reinitialize, Repair, Step


@dataclass(frozen=True)
class Arm:
    """What is done after pruning.

    Args:
        name: as tables show it. after: the steps, in order.
        images: how many calibration images these steps, criteria and schemes look at.
    """

    name: str
    after: tuple[Step, ...] = ()
    images: int = 1000

    def __post_init__(self) -> None:
        try:
            Compression(after=self.after, images=self.images)
        except ConfigError as error:
            raise ConfigError(f"arm {self.name}: {error}") from None
        if self.is_control and not self.training:
            raise ConfigError(f"arm {self.name}: random weights that are not trained; add the step finetune")

    @property
    def is_control(self) -> bool:
        """Whether it trains the small network from random weights."""
        return any(isinstance(step, Reinitialize) for step in self.after)

    @property
    def calibrates(self) -> bool:
        """Whether a step looks at calibration images."""
        return any(step.uses_images for step in self.after)

    @property
    def training(self) -> Finetune | None:
        """Its training, if there is one."""
        return next((step for step in self.after if isinstance(step, Finetune)), None)

    def changed(self, images: int, epochs: int | None) -> Arm:
        """The same on so many images, for so many epochs."""
        steps = (replace(step, epochs=epochs) if isinstance(step, Finetune) else step for step in self.after)
        return replace(self, after=tuple(steps), images=images)

    def __str__(self) -> str:
        """As text, for reports."""
        start = () if self.is_control else ("pruned weights",)
        return ", ".join((*start, *(_text(step, self.images) + other_options(step) for step in self.after)))


def _text(step: Step, images: int) -> str:
    if isinstance(step, Finetune):
        epochs = "its own number of epochs" if step.epochs is None else counted(step.epochs, "epoch")
        teacher = ", distilled from the unpruned network" * (step.teacher == BASE)
        return f"trained by the protocol {step.protocol} for {epochs}{teacher}"
    words: dict[type[Step], str] = {
        Repair: f"layers solved anew by least squares on {images:,} training images without labels",
        Recalibrate: f"BatchNorm statistics of {images:,} training images",
        Reinitialize: "random weights",
    }
    return words.get(type(step), " ".join(step.describe(images, "training", "")))


_SHORT = Finetune("short", epochs=2)
ARMS: dict[str, Arm] = {
    row.name: row
    for row in (
        Arm("pruned only"),
        Arm("recalibrated", (Recalibrate(),)),
        Arm("repaired", (Repair(),)),
        Arm("short fine-tune", (_SHORT,)),
        Arm("repaired, short fine-tune", (Repair(), _SHORT)),
        Arm("paper's protocol", (Finetune("paper"),)),
        Arm("from scratch", (Reinitialize(), Finetune("paper-base"))),
    )
}

ALIASES = {"as cut": "pruned only"}  # of earlier versions


def arm_named(name: str, own: Mapping[str, Arm] | None = None) -> Arm:
    """The arm of this name, exactly or as a command line spells it: see `plain`.

    Raises:
        UnknownNameError: there is none.
    """
    table = ARMS | dict(own or {})
    if name in table:
        return table[name]
    by_plain = {plain(other): arm for other, arm in table.items()}
    plain_name = plain(name)
    arm = by_plain.get(ALIASES.get(plain_name, plain_name))
    if arm is None:
        raise unknown_name("arm", name, table)
    return arm


def plain(name: str) -> str:
    """A name without capitals, commas and apostrophes; hyphens and underscores are spaces."""
    spaced = name.lower().translate(str.maketrans("-_", "  ", ",'"))
    return " ".join(spaced.split())


def arm_from_mapping(name: str, mapping: Any) -> Arm:
    """An arm as a file gives it: steps (`after`), or in the form of the first studies, changes to the arm of this name.

    Raises:
        ConfigError, UnknownNameError: keys or values that an arm does not have.
    """
    where = f"arms.{name}"
    if not isinstance(mapping, Mapping) or not mapping.keys() & _FirstForm.__dataclass_fields__.keys() - {"images"}:
        return from_mapping(Arm, mapping, where, defaults={"name": name}, hidden=("name",))
    base = next((arm for arm in ARMS.values() if plain(arm.name) == plain(name)), Arm(name))
    return from_mapping(_FirstForm, mapping, where, defaults=first_form(base)).arm(name)


@dataclass(frozen=True)
class _FirstForm:
    """An arm as the first studies wrote it."""

    mend: Literal["nothing", "recalibrate", "repair"] = "nothing"
    images: int = 1000
    protocol: str = ""
    epochs: int | None = None
    fresh: bool = False
    distilled: bool = False

    def arm(self, name: str) -> Arm:
        if not self.protocol and (self.epochs is not None or self.distilled):
            raise ConfigError(f"arm {name}: epochs or a teacher, but no training; give a protocol")
        repairs: dict[str, tuple[Step, ...]] = {"nothing": (), "recalibrate": (Recalibrate(),), "repair": (Repair(),)}
        repair = repairs[self.mend]
        training = (Finetune(self.protocol, self.epochs, teacher=BASE if self.distilled else None),)
        return Arm(name, (Reinitialize(),) * self.fresh + repair + training * bool(self.protocol), self.images)


def first_form(arm: Arm) -> dict[str, Any]:
    """An arm in the form of the first studies, by which their cells are known."""
    kinds, training = {type(step) for step in arm.after}, arm.training
    return {
        "mend": "repair" if Repair in kinds else "recalibrate" if Recalibrate in kinds else "nothing",
        "images": arm.images,
        "protocol": training.protocol if training else "",
        "epochs": training.epochs if training else None,
        "fresh": arm.is_control,
        "distilled": training is not None and training.teacher == BASE,
    }
