"""`reconv list`: the names that other commands take."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reconv.cli.spelling import offer
from reconv.registry import KINDS, registry_of

EXAMPLES = ("reconv list criteria", "reconv list models --source timm", "reconv list protocols paper-cifar")

_COLUMNS = ("meaning", "unit", "needs", "source")  # what an item of a registry may say of itself


def _registered(kind: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The items of a registry: their names, and what they say of themselves."""
    items = list(registry_of(kind))
    columns = [column for column in _COLUMNS if any(getattr(item, column, "") for item in items)]
    rows = [
        (", ".join(dict.fromkeys((item.name, *item.aliases))), *(_text(getattr(item, name, "")) for name in columns))
        for item in items
    ]
    return (kind, *columns), rows


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


OTHERS = {
    "models": _models,
    "protocols": _protocols,
    "recipes": _recipes,
    "trained": _trained,
}


def command(
    kind: Annotated[
        str | None, typer.Argument(help="What to list.", autocompletion=offer((*KINDS, *sorted(OTHERS))))
    ] = None,
    name: Annotated[str | None, typer.Argument(help="A protocol, whose TOML file is printed.")] = None,
    source: str = "reconv",
) -> None:
    """The names that other commands take, those of installed extensions too; without KIND, what can be listed.

    A file of your own has a protocol's keys: `--protocol mine.toml`; `--set key=value` changes single ones.

    Args:
        source: of models: reconv, torchvision or timm.
    """
    from reconv.cli import console
    from reconv.errors import ConfigError, unknown_name

    kind = {"data-sets": "data", "data_sets": "data"}.get(kind or "", kind)
    kinds = sorted({*KINDS, *OTHERS})
    if kind is None:
        columns: tuple[str, ...] = ("reconv list ...",)
        rows: list[tuple[str, ...]] = [(each,) for each in kinds]
    elif name is not None:
        if kind != "protocols":
            raise ConfigError(f"reconv list {kind} {name}: only protocols are shown one by one; leave {name} out")
        from reconv.training import protocol_text

        sys.stdout.write(protocol_text(name))
        return
    elif kind in KINDS:
        columns, rows = _registered(kind)
    elif kind in OTHERS:
        columns, rows = (kind, ""), OTHERS[kind](source)
    else:
        raise unknown_name("list", kind, kinds)
    console.stdout().print(console.table("", columns, rows, left=len(columns)))
