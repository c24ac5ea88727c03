"""`reconv list`: the names that other commands take."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reconv.cli.listed import OTHERS, OUR_MODELS, listed, text_of_protocol
from reconv.cli.spelling import offer
from reconv.registry import KINDS

EXAMPLES = ("reconv list criteria", "reconv list models --source timm", "reconv list protocols paper-cifar")


def command(
    kind: Annotated[
        str | None, typer.Argument(help="What to list.", autocompletion=offer((*KINDS, *sorted(OTHERS))))
    ] = None,
    name: Annotated[str | None, typer.Argument(help="A protocol, whose TOML file is printed.")] = None,
    source: str = OUR_MODELS,
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
        sys.stdout.write(text_of_protocol(name))
        return
    elif kind in kinds:
        columns, rows = listed(kind, source)
    else:
        raise unknown_name("list", kind, kinds)
    console.stdout().print(console.table("", columns, rows, left=len(columns)))
