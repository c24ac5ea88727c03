"""From the JSON that facts were written as back to the facts."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from reconv.errors import ArtifactError

_T = TypeVar("_T")


def built(kind: type[_T], value: Any, where: str) -> _T:
    """A dataclass from a JSON object, its fields by their annotations; unknown keys are left out.

    Raises:
        ArtifactError: something is missing or of another kind.
    """
    try:
        return _of(kind, value)  # type: ignore[no-any-return]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{where}: not what a run writes ({error!r}); run again with --overwrite.") from None


def _of(kind: Any, value: Any) -> Any:
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _of(next(k for k in inside if k is not type(None)), value)
    if origin is Literal:
        if value not in inside:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, inside))}")
        return value
    if origin is tuple:
        kinds = [inside[0]] * len(value) if inside[-1] is Ellipsis else inside
        return tuple(_of(k, v) for k, v in zip(kinds, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {str(key): _of(inside[1], v) for key, v in value.items()}
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        given = {field.name: _of(hints[field.name], value[field.name]) for field in fields(kind) if field.name in value}
        missing = [
            f.name
            for f in fields(kind)
            if f.name not in given and f.default is MISSING and f.default_factory is MISSING
        ]
        if missing:
            raise KeyError(", ".join(missing))
        return kind(**given)  # type: ignore[operator]
    if kind in (int, float, str, bool):
        if not isinstance(value, (int, float) if kind in (int, float) else kind):
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return kind(value)
    return value
