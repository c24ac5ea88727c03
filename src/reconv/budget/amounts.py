"""What may be left of a network."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from reconv.budget.kinds import Cost
from reconv.errors import ConfigError, unknown_name, wrong_kind

_NUMBER = re.compile(r"([-+]?[0-9.]+(?:e[-+]?[0-9]+)?|[-+]?inf|nan)\s*([a-zµ%]*)", re.IGNORECASE)


@dataclass(frozen=True, init=False)
class Budget:
    """What may be left, at most. A share of the original (0 < x < 1), or an absolute number (x >= 1).

    Args:
        macs: multiply-adds of layers and of products of signals for one image.
        params: parameters of the model.
        channels: channels, of those that may be removed at all.
        size: bytes of the saved weights, header included.
        memory: bytes of live activations at the widest moment of one forward pass of the example.
        latency: microseconds of a forward pass of the example, on the machine at hand.
        others: kinds of budget that were registered, by name; each is a keyword of its own too.
        max_drop: instead of amounts: find the smallest network that loses at most so many points of the metric (or
            percent of identical predictions, where there are no labels), with 95 % confidence; for `compress`.
        minimize: the cost by which that network is the smallest: macs, latency, params or size; None: macs.

    Raises:
        ConfigError: an amount that is no number, or outside its range. UnknownNameError: no such kind of budget.

    Example:
        >>> from reconv import Budget
        >>> print(Budget(macs=0.5, latency=3000))
        macs=0.5, latency=3 ms
        >>> Budget.parse(["macs=50%", "size=2MiB"]).limits
        {'macs': 0.5, 'size': 2097152.0}
    """

    macs: float | None = None
    params: float | None = None
    channels: float | None = None
    size: float | None = None
    memory: float | None = None
    latency: float | None = None
    others: Mapping[str, float] = field(default_factory=dict, hash=False)
    max_drop: float | None = None
    minimize: str | None = None

    own_options: ClassVar = ("max_drop", "minimize")  # of the command line, beside `--budget`

    def __init__(
        self,
        macs: float | None = None,
        params: float | None = None,
        channels: float | None = None,
        size: float | None = None,
        memory: float | None = None,
        latency: float | None = None,
        others: Any = None,  # a mapping; as such it would forbid Budget(**{"name": 0.5}) to type checkers
        max_drop: float | None = None,
        minimize: str | None = None,
        **more: float,
    ) -> None:
        others = dict(others or {})
        object.__setattr__(self, "max_drop", others.pop("max_drop", max_drop))
        object.__setattr__(self, "minimize", others.pop("minimize", minimize))
        values: dict[str, Any] = {"macs": macs, "params": params, "channels": channels, "size": size}
        values |= {"memory": memory, "latency": latency}
        for name, value in {**others, **more}.items():
            values[name if name in BUILT_IN else Cost.registry[name].name] = value
        for name in BUILT_IN:
            object.__setattr__(self, name, values.pop(name))
        object.__setattr__(self, "others", {name: value for name, value in values.items() if value is not None})
        self._check()

    def _check(self) -> None:
        if self.max_drop is not None:
            self._check_drop(self.max_drop)
            return
        if self.minimize is not None:
            raise ConfigError(f"budget: minimize={self.minimize}: until how much is lost? Give max_drop=1.0 with it")
        if not self.limits:
            raise ConfigError("budget: nothing is limited; give macs=, params= or channels=, such as macs=0.5")
        for name, value in self.limits.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise wrong_kind(f"budget: {name}", value, f"a number, such as {name}=0.5 to keep half")
            whole = value >= 1 and float(value).is_integer()
            if not (math.isfinite(value) and (0 < value < 1 or whole)):
                raise ConfigError(
                    f"budget: {name}={value:g}; a share lies between 0 and 1 and an absolute number is whole; "
                    f"give {name}=0.5 to keep half"
                )

    def _check_drop(self, drop: object) -> None:
        if isinstance(drop, bool) or not isinstance(drop, (int, float)):
            raise wrong_kind("budget: max_drop", drop, "a number of points, such as max_drop=1.0")
        if not 0 < drop < 100:
            raise ConfigError(f"budget: max_drop={drop:g}; give points between 0 and 100, such as max_drop=1.0")
        if self.limits:
            name = next(iter(self.limits))
            raise ConfigError(f"budget: max_drop={drop:g} finds how much may go, and {name} says it; give one of them")
        object.__setattr__(self, "minimize", Cost.registry[self.minimize or "macs"].name)

    def at(self, share: float) -> Budget:
        """Of a budget that says what may be lost: that this share of the cost is left."""
        return Budget(others={self.minimize or "macs": share})

    @property
    def limits(self) -> dict[str, float]:
        """What is limited, and to what, as it was given."""
        built_in = {name: getattr(self, name) for name in BUILT_IN}
        return {name: value for name, value in {**built_in, **self.others}.items() if value is not None}

    def allowed(self, name: str, whole: float) -> float:
        """What may be left of `whole`."""
        value = self.limits[name]
        return value * whole if value < 1 else value

    @property
    def measured(self) -> tuple[str, ...]:
        """The names of what has to be measured."""
        names = self.limits if self.minimize is None else (self.minimize,)
        return tuple(name for name in names if Cost.registry[name].source == "timer")

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Budget:
        """From `name=value` texts, as the command line takes them: `macs=50%`, `macs=60M`, `size=2MiB`, `latency=3ms`.

        Raises:
            ConfigError: a value that cannot be read. UnknownNameError: no such kind of budget.
        """
        values: dict[str, Any] = {}
        for text in (part for whole in texts for part in whole.split(",")):
            name, _, value = (piece.strip() for piece in text.partition("="))
            if name.replace("-", "_") in cls.own_options:
                values[name.replace("-", "_")] = value if name == "minimize" else _points(value, text)
                continue
            cost = Cost.registry[name]
            values[cost.name] = _number(cost, value, text)
        return cls(**values)

    @classmethod
    def from_plain(cls, value: Any, where: str) -> Budget:
        """From `"macs=0.5"`, a list of such texts, or a mapping, whose values may be texts with a unit: "3ms".

        Raises:
            ConfigError: none of these, or a budget that cannot be. UnknownNameError: a kind that there is not.
        """
        if isinstance(value, Mapping):
            given = [(name, item) for name, item in value.items() if item is not None]
            if all(isinstance(item, int | float | str) and not isinstance(item, bool) for _, item in given):
                texts = [f"{name}={item}" for name, item in given if isinstance(item, str) and name != "minimize"]
                drop: dict[str, Any] = {name: item for name, item in given if name in cls.own_options}
                given = [(name, item) for name, item in given if name not in drop]
                numbers = {name: float(item) for name, item in given if not isinstance(item, str)}
                unknown = next((name for name in numbers if name not in BUILT_IN and name not in Cost.registry), None)
                if unknown is not None:
                    raise unknown_name(f"{where}: budget", unknown, [cost.name for cost in Cost.registry])
                return cls(others=(cls.parse(texts).to_plain() if texts else {}) | numbers | drop)
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list | tuple) and all(isinstance(text, str) for text in texts):
            return cls.parse(texts)
        raise ConfigError(f'{where} = {value!r}; give a budget, such as "macs=0.5"')

    def to_plain(self) -> dict[str, Any]:
        """What is limited, and to what, as a mapping."""
        return self.limits if self.max_drop is None else {"max_drop": self.max_drop, "minimize": self.minimize}

    def __str__(self) -> str:
        if self.max_drop is not None:
            return f"max_drop={self.max_drop:g}, minimize={self.minimize}"
        return ", ".join(f"{name}={_text(name, value)}" for name, value in self.limits.items())

    def describe(self) -> str:
        """In words: "at most 50 % of the MACs"."""
        if self.max_drop is not None:
            return f"the smallest by {Cost.registry[self.minimize or '']} that loses at most {self.max_drop:g} points"
        return "at most " + " and ".join(_words(Cost.registry[name], value) for name, value in self.limits.items())


BUILT_IN = tuple(field.name for field in fields(Budget) if field.name not in ("others", *Budget.own_options))


def _text(name: str, value: float) -> str:
    in_units = value >= 1 and Cost.registry[name].unit.shown_in
    return Cost.registry[name].unit.text(value) if in_units else f"{value:g}"


def _words(cost: Cost, value: float) -> str:
    if value < 1:
        return f"{100 * value:g} % of the {cost}"
    return f"{cost.unit.text(value)} {'of ' if cost.unit.symbol else ''}{cost}"


def _points(value: str, text: str) -> float:
    """The points that a text gives: 1, 0.5, 2%."""
    try:
        return float(value.removesuffix("%"))
    except ValueError:
        raise ConfigError(f"budget: {text!r}; write a number of points, such as max_drop=1") from None


def _number(cost: Cost, value: str, text: str) -> float:
    """The amount that a text gives."""
    match, factors = _NUMBER.fullmatch(value), cost.unit.factors
    suffix = match[2].lower() if match else ""
    if not match or suffix not in ("", "%", *factors):
        raise ConfigError(f"budget: {text!r}; write name=number, such as {cost.name}={cost.unit.example}")
    number = float(match[1])
    if suffix == "%":
        if not 0 < number < 100:
            raise ConfigError(f"budget: {text!r}; a share lies between 0 % and 100 %, as in {cost.name}=50%")
        return number / 100
    if not suffix and "" not in factors and number >= 1:
        raise ConfigError(
            f"budget: {text!r}; a time has a unit, as in {cost.name}={cost.unit.example}, "
            "and a share lies between 0 and 1"
        )
    number *= factors.get(suffix, 1.0)
    return float(round(number)) if suffix else number
