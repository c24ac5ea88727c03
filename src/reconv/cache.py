"""What several compressions of one network and data share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

_T = TypeVar("_T")
_KEPT = {"images": 2, "moments": 1, "gradients": 1}  # large ones
_OTHERS = 64


class Cache:
    """Values by kind and key; of each kind the latest few are kept."""

    def __init__(self) -> None:
        self._kinds: dict[str, OrderedDict[Hashable, Any]] = {}

    def get(self, kind: str, key: Hashable, make: Callable[[], _T]) -> _T:
        """The value of a key, made where it is not there."""
        kept = self._kinds.setdefault(kind, OrderedDict())
        value = kept[key] if key in kept else make()
        kept[key] = value
        kept.move_to_end(key)
        while len(kept) > _KEPT.get(kind, _OTHERS):
            kept.popitem(last=False)
        return cast(_T, value)
