"""From mappings, as TOML and JSON files hold them, to dataclasses, and back: the one reader and the one writer.

A field's annotation says what it takes. A class that is written as something other than its fields, such as a budget,
has `from_plain(value, where)` and `to_plain()`. Of several dataclasses, a mapping names the one that it means: they
share the class attribute `tag`, and `{"step": "repair", "images": 300}` is a `Repair` where that is "step".
"""

from __future__ import annotations

import json
import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from reconv.errors import ConfigError, unknown_name

_T = TypeVar("_T")
_EXAMPLES = {
    bool: "true or false",
    int: "a whole number, such as 3",
    float: "a number, such as 0.5",
    str: 'text in quotes, such as "l1"',
}


def from_mapping(
    kind: type[_T],
    mapping: Any,
    where: str,
    *,
    defaults: Mapping[str, Any] | None = None,
    hidden: Collection[str] = (),
    strict: bool = True,
) -> _T:
    """A dataclass from a mapping, each value as its field's annotation has it.

    Args:
        kind: the dataclass, or a base class with a `tag`. mapping: as it was read. where: it stands, for messages.
        defaults: values of fields that the mapping may leave out, beside those that have defaults of their own.
        hidden: fields that a mapping does not say.
        strict: refuse keys that are no fields; otherwise they are left out.

    Returns:
        The dataclass.

    Raises:
        UnknownNameError: a key that is no field; the nearest ones are offered.
        ConfigError: no mapping, a value of another kind, or a missing key.

    Example:
        >>> from reconv import Limits
        >>> from_mapping(Limits, {"minimum": 4}, "limits").minimum
        4
    """
    if hasattr(kind, "tag"):
        kind, mapping = _tagged((kind,), mapping, where)
    return _from_fields(kind, mapping, where, defaults or {}, hidden, strict)  # type: ignore[no-any-return]


def to_mapping(value: Any) -> Any:
    """A dataclass as a mapping that JSON and TOML can hold; tuples become lists, registered objects their names."""
    if hasattr(value, "to_plain"):
        return value.to_plain()
    if hasattr(value, "registry"):
        return value.name
    if is_dataclass(value) and not isinstance(value, type):
        tag = {value.tag: tag_of(type(value))} if hasattr(value, "tag") else {}
        return tag | {field.name: to_mapping(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_mapping(item) for key, item in value.items()}
    return [to_mapping(item) for item in value] if isinstance(value, list | tuple) else value


def to_toml(mapping: Mapping[str, Any]) -> str:
    """A mapping as the text of a TOML file; what is None is left out, since TOML has no word for it."""
    return "".join(f"{_key(key)} = {_toml(value)}\n" for key, value in mapping.items() if value is not None)


def tag_of(kind: type) -> str:
    """What a mapping calls a class that has a tag."""
    return kind.__name__.lower()


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {_toml(item)}" for key, item in value.items() if item is not None)
        return f"{{ {', '.join(pairs)} }}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list | tuple) else json.dumps(value)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _from_fields(
    kind: Any, mapping: Any, where: str, defaults: Mapping[str, Any], hidden: Collection[str], strict: bool
) -> Any:
    if not isinstance(mapping, Mapping):
        _refuse(kind, mapping, where)
    hints, names = _hints(kind), {field.name: field for field in fields(kind) if field.name not in hidden}
    values = dict(defaults)
    for key, value in mapping.items():
        if key in names:
            values[key] = read_value(hints[key], value, _join(where, key), strict)
        elif strict:
            raise unknown_name(f"{where}: key", key, names)
    for name, field in names.items():
        if name not in values and _is_required(field):
            raise ConfigError(f"{where}: no {name}; give {_expected(hints[name])}")
    return kind(**values)


def read_value(hint: Any, value: Any, where: str, strict: bool = True) -> Any:
    """A value as an annotation has it, such as 1 as 1.0; arguments and errors as for `from_mapping`."""
    origin, inside = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _read_union(inside, value, where, strict)
    if origin is Literal:
        if isinstance(value, str) and value not in inside:
            raise unknown_name(where, value, map(str, inside))
        return value if value in inside else _refuse(hint, value, where)
    if origin is tuple:
        return _read_tuple(hint, value, where, strict)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            _refuse(hint, value, where)
        return {str(key): read_value(inside[1], item, _join(where, str(key)), strict) for key, item in value.items()}
    if not is_dataclass(value) and hasattr(hint, "from_plain"):
        return hint.from_plain(value, where)
    if not is_dataclass(value) and hasattr(hint, "tag"):
        hint, value = _tagged((hint,), value, where)
    if not is_dataclass(value) and is_dataclass(hint):
        return _from_fields(hint, value, where, {}, (), strict)
    # To Python, true is an integer; to people, an integer is a number.
    allowed = (int, float) if hint is float else hint
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        _refuse(hint, value, where)
    return float(value) if hint is float else value


def _read_union(kinds: tuple[Any, ...], value: Any, where: str, strict: bool) -> Any:
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if value is None:
        return None
    if all(hasattr(kind, "tag") for kind in kinds) and not is_dataclass(value):
        kind, value = _tagged(kinds, value, where)
        return _from_fields(kind, value, where, {}, (), strict)
    for kind in kinds[:-1]:
        if isinstance(value, get_origin(kind) or kind) if kind is not Any else True:
            return read_value(kind, value, where, strict)
    return read_value(kinds[-1], value, where, strict)


def _read_tuple(hint: Any, value: Any, where: str, strict: bool) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        _refuse(hint, value, where)
    inside = get_args(hint)
    hints = [inside[0]] * len(value) if inside[-1] is Ellipsis else inside
    if len(hints) != len(value):
        raise ConfigError(f"{where} = {value!r}; give {len(hints)} values")
    return tuple(
        read_value(hint, item, f"{where}[{number}]", strict)
        for number, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _tagged(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, Mapping[str, Any]]:
    """The class that a mapping, or its name alone, means, and the rest of the mapping."""
    tag: str = kinds[0].tag
    names = {tag_of(leaf): leaf for kind in kinds for leaf in tagged_classes(kind)}
    value = {tag: value} if isinstance(value, str) else value
    if not isinstance(value, Mapping) or (tag not in value and len(names) > 1):
        raise ConfigError(f"{where} = {value!r}; give a table with {tag} = one of {', '.join(map(json.dumps, names))}")
    name = value.get(tag, next(iter(names)))
    if name not in names:
        raise unknown_name(f"{where}: {tag}", str(name), names)
    return names[name], {key: item for key, item in value.items() if key != tag}


def tagged_classes(kind: Any) -> list[Any]:
    """The dataclasses among a class with a tag and its subclasses, in the order of their definition."""
    own = [kind] if "__dataclass_fields__" in vars(kind) else []
    return [*own, *(leaf for child in kind.__subclasses__() for leaf in tagged_classes(child))]


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _is_required(field: Field[Any]) -> bool:
    return field.init and field.default is MISSING and field.default_factory is MISSING


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if ": " in where else f"{where}: {key}"


def _refuse(hint: Any, value: Any, where: str) -> NoReturn:
    raise ConfigError(f"{where} = {value!r}; give {_expected(hint)}")


def _expected(hint: Any) -> str:
    """What an annotation takes, in words."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_expected(kind) for kind in inside if kind is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(json.dumps(item) for item in inside)
    if origin is tuple:
        return 'a list of texts, such as ["l1"]' if inside[0] is str else "a list"
    return _EXAMPLES.get(hint, "a table")
