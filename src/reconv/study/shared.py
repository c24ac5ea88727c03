"""Options of a compression that all cells of a grid share; a new one is a field here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from reconv.mappings import from_mapping

_IN_EVERY_KEY = ("coupled",)  # others are part of a cell's key where they are not the default


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Options of the same names as those of `Compression`.

    Args:
        coupled: prune residual streams too.
    """

    coupled: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """By name, as `Compression` takes them."""
        return {field.name: getattr(self, field.name) for field in fields(Shared)}

    @property
    def in_key(self) -> dict[str, Any]:
        """Those that are part of a cell's key."""
        usual = Shared().options
        return {name: value for name, value in self.options.items() if name in _IN_EVERY_KEY or value != usual[name]}

    @property
    def note(self) -> str:
        """As text behind a scheme; "" for what is usual."""
        return ", residual streams too" * self.coupled

    def layers(self, within_blocks: Collection[str], of_streams: Collection[str]) -> set[str]:
        """Those whose output channels may go."""
        return {*within_blocks, *(of_streams if self.coupled else ())}


def shared_options(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The options in a cell's identity."""
    return from_mapping(Shared, identity, "cell", strict=False).options
