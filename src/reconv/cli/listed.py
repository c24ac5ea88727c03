"""What `reconv list` shows: from the registries, and, of what comes with reconv, from a table that needs no PyTorch.

`python -m reconv.cli.listed` writes the table anew, after a row was added to a registry.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from reconv.registry import KINDS, has_extensions, registry_of

Listed: TypeAlias = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Headings of columns, and rows."""

OUR_MODELS = "reconv"  # of the sources of models
_FILE = Path(str(files("reconv.cli") / "listed.json"))
_COLUMNS = ("meaning", "unit", "needs", "source")  # what an item of a registry may say of itself


def listed(kind: str, source: str = OUR_MODELS) -> Listed:
    """The names of one kind, and what is to be said of each.

    Args:
        kind: of `KINDS` or `OTHERS`. source: of models.
    """
    if source == OUR_MODELS and not has_extensions():
        from reconv.files import read_json

        table = read_json(_FILE)[kind]
        return tuple(table["columns"]), [tuple(row) for row in table["rows"]]
    return registered(kind, source)


def registered(kind: str, source: str = OUR_MODELS) -> Listed:
    """The same from the registries, with what installed packages add; loads PyTorch."""
    if kind in OTHERS:
        return (kind, ""), OTHERS[kind](source)
    items = list(registry_of(kind))
    columns = [column for column in _COLUMNS if any(getattr(item, column, "") for item in items)]
    rows = [
        (", ".join(dict.fromkeys((item.name, *item.aliases))), *(_text(getattr(item, name, "")) for name in columns))
        for item in items
    ]
    return (kind, *columns), rows


def text_of_protocol(name: str) -> str:
    """The TOML file of a protocol that comes with the package.

    Raises:
        UnknownNameError: there is none; the nearest are offered.
    """
    if (name,) in [row[:1] for row in listed("protocols")[1]]:
        from reconv.files import read_text

        return read_text(files("reconv") / "training" / "protocols" / f"{name}.toml")
    from reconv.training import protocol_text

    return protocol_text(name)


def tables() -> dict[str, Any]:
    """What the file of the table holds; of registries without items that packages add."""
    return {
        kind: {"columns": list(columns), "rows": [list(row) for row in rows]}
        for kind, (columns, rows) in ((kind, registered(kind)) for kind in (*KINDS, *OTHERS))
    }


def _text(value: object) -> str:
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else str(value or "")


def _models(source: str) -> list[tuple[str, ...]]:
    from reconv.zoo import model_names

    return [(name, "") for name in model_names(source)]


def _trained(source: str) -> list[tuple[str, ...]]:
    from reconv.zoo import trained_nets

    return [(net.model, str(net)) for net in trained_nets()]


def _protocols(source: str) -> list[tuple[str, ...]]:
    from reconv.training import load_protocol, protocol_names

    return [(name, load_protocol(name).description) for name in protocol_names()]


def _recipes(source: str) -> list[tuple[str, ...]]:
    from reconv.zoo import recipe_numbers

    return [(model, "--recipe " + ", ".join(map(str, numbers))) for model, numbers in recipe_numbers().items()]


OTHERS: dict[str, Callable[[str], list[tuple[str, ...]]]] = {
    "models": _models,
    "protocols": _protocols,
    "recipes": _recipes,
    "trained": _trained,
}

if __name__ == "__main__":
    from reconv.files import write_json

    write_json(_FILE, tables())
