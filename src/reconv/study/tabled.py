"""From a table of a TOML or JSON file to the value that it says, each key of the type that its field has."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from reconv.errors import ConfigError, unknown_name

_T = TypeVar("_T")
_WORDS = {
    str: 'text in quotes, such as "l1"',
    int: "an integer, such as 3",
    bool: "true or false",
    tuple: 'a list of texts, such as ["l1"]',
    Mapping: "a table",
}


def from_table(
    kind: type[_T],
    table: Any,
    where: str,
    *,
    defaults: Mapping[str, Any] | None = None,
    hidden: Collection[str] = (),
) -> _T:
    """A dataclass from a table.

    Args:
        kind: of the value. table: as it was read. where: it stands, for messages.
        defaults: fields that the table may leave out, beside those that have defaults of their own.
        hidden: fields that a table does not say.

    Raises:
        UnknownNameError: a key that is no field. ConfigError: no table, a value of another type, or a missing key.
    """
    hints = get_type_hints(kind)
    known = [field for field in fields(kind) if field.name not in hidden]  # type: ignore[arg-type]
    values = dict(defaults or {})
    for key, value in as_table(table, where).items():
        if key not in {field.name for field in known}:
            raise unknown_name(f"{where}: key", key, [field.name for field in known])
        values[key] = _checked(value, hints[key], f"{where}: {key}")
    for field in known:
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{where}: no {field.name}; give {_WORDS[_plain(hints[field.name])[0]]}")
    return kind(**values)


def as_table(value: Any, where: str) -> Mapping[str, Any]:
    """A value that is a table.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {value!r}; write a table, [{where}]")
    return value


def _checked(value: Any, hint: Any, where: str) -> Any:
    allowed = _plain(hint)
    if tuple in allowed and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    # To Python, true is an integer.
    if not isinstance(value, allowed) or isinstance(value, tuple) or (isinstance(value, bool) and bool not in allowed):
        raise ConfigError(f"{where} = {value!r}; give {_WORDS[allowed[0]]}")
    return value


def _plain(hint: Any) -> tuple[type, ...]:
    """The classes that a field's values are of; a list of texts is a tuple."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return tuple(kind for part in get_args(hint) for kind in _plain(part))
    return (str,) if origin is Literal else (origin or hint,)
