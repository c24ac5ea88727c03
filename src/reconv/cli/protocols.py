"""`reconv protocols`: the training protocols that come with reconv, and what is in them."""

from __future__ import annotations

from typing import Annotated

import typer

from reconv.cli import names

EXAMPLES = ("reconv protocols", "reconv protocols paper-cifar")

Name = Annotated[
    str | None,
    typer.Argument(help="Print this one's TOML file.", autocompletion=names.offer(names.PROTOCOLS), show_default=False),
]


def command(name: Name = None) -> None:
    """The training protocols, or the TOML file of one.

    A file of one's own has the same keys: `--protocol mine.toml`; `--set key=value` changes single ones.
    """
    import sys

    from reconv.cli import console
    from reconv.cli.listing import protocols
    from reconv.training import protocol_text

    if name is None:
        console.stdout().print(console.table("", ("protocols", ""), protocols(), left=2))
    else:
        sys.stdout.write(protocol_text(name))
