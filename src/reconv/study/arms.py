"""What is done to a network after the cut: a table, each row a value.

An arm mends (nothing, BatchNorm statistics, least squares), then trains (not at all, or by a protocol); a control
starts the same small architecture from fresh weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from reconv.errors import ConfigError, unknown_name
from reconv.report.numbers import counted
from reconv.study.tabled import from_table

Mend: TypeAlias = Literal["nothing", "recalibrate", "repair"]
MENDS = ("nothing", "recalibrate", "repair")


@dataclass(frozen=True)
class Arm:
    """What is done after the cut.

    Args:
        name: as tables show it.
        mend: "nothing"; "recalibrate" refreshes BatchNorm's statistics; "repair" solves layers by least squares.
        images: training images for that, without their labels.
        protocol: of the training that follows, as `load_protocol` takes it; "" for none.
        epochs: instead of the protocol's; None: those.
        fresh: the training starts from random weights instead of those that were kept.
        distilled: the whole network teaches, by the protocol's distillation and temperature.
    """

    name: str
    mend: Mend = "nothing"
    images: int = 1000
    protocol: str = ""
    epochs: int | None = None
    fresh: bool = False
    distilled: bool = False

    def __post_init__(self) -> None:
        if self.mend not in MENDS:
            raise unknown_name("arm's mend", self.mend, MENDS)
        if self.images < 2:
            raise ConfigError(f"arm {self.name}: images={self.images}; give at least 2")
        if self.epochs is not None and (self.epochs < 1 or not self.protocol):
            raise ConfigError(f"arm {self.name}: epochs={self.epochs}; give at least 1, and a protocol to train by")
        if self.distilled and not self.protocol:
            raise ConfigError(f"arm {self.name}: distilled, and not trained; give a protocol to train by")
        if self.fresh and (not self.protocol or self.mend != "nothing"):
            raise ConfigError(f"arm {self.name}: fresh weights are trained and not mended; give a protocol and no mend")

    @property
    def is_random(self) -> bool:
        """Whether a seed decides anything in it: the images drawn, the order of a training."""
        return self.mend != "nothing" or bool(self.protocol)

    def __str__(self) -> str:
        """In words, for reports."""
        start = "fresh weights" if self.fresh else "weights as cut"
        mended = {
            "nothing": "",
            "recalibrate": f", BatchNorm statistics of {self.images:,} training images",
            "repair": f", layers solved anew by least squares on {self.images:,} training images without labels",
        }[self.mend]
        epochs = "its own number of epochs" if self.epochs is None else counted(self.epochs, "epoch")
        if not self.protocol:
            return start + mended
        taught = ", distilled from the whole network" * self.distilled
        return f"{start}{mended}, trained by the protocol {self.protocol} for {epochs}{taught}"


ARMS: dict[str, Arm] = {
    row.name: row
    for row in (
        Arm("pruned only"),
        Arm("recalibrated", mend="recalibrate"),
        Arm("repaired", mend="repair"),
        Arm("short fine-tune", protocol="short", epochs=2),
        Arm("repaired, short fine-tune", mend="repair", protocol="short", epochs=2),
        Arm("paper's protocol", protocol="paper"),
        Arm("from scratch", protocol="paper-base", fresh=True),
    )
}

ALIASES = {"as cut": "pruned only"}  # of earlier versions
UNTRAINED = tuple(name for name, arm in ARMS.items() if not arm.protocol)


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


def arm_from_table(name: str, table: Any) -> Arm:
    """An arm as a TOML table gives it: changes to the arm of this name, or a new one.

    Raises:
        ConfigError, UnknownNameError: keys or values that an arm does not have.
    """
    base = next((arm for arm in ARMS.values() if plain(arm.name) == plain(name)), Arm(name))
    return from_table(Arm, table, f"arms.{name}", defaults=asdict(base), hidden=("name",))


def plain(name: str) -> str:
    """A name without capitals, commas and apostrophes; hyphens and underscores are spaces."""
    spaced = name.lower().translate(str.maketrans("-_", "  ", ",'"))
    return " ".join(spaced.split())
