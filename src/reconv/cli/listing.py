"""`reconv list`: the names that other commands take."""

from __future__ import annotations

from typing import Annotated

import typer

from reconv.cli import names

KINDS = ("models", "trained", "criteria", "data-sets", "protocols", "recipes")
EXAMPLES = ("reconv list criteria", "reconv list models --source timm")

Kind = Annotated[str, typer.Argument(help=", ".join(KINDS), autocompletion=names.offer(KINDS), show_default=False)]
Source = Annotated[str, typer.Option("--source", help="Of models: reconv, torchvision or timm.")]


def command(kind: Kind, source: Source = "reconv") -> None:
    """The names of models, trained networks that come with reconv, criteria, data sets, protocols or recipes."""
    from reconv.cli import console
    from reconv.errors import unknown_name

    rows = {
        "models": lambda: [(name, "") for name in _models(source)],
        "trained": _trained,
        "criteria": _criteria,
        "data-sets": _data_sets,
        "protocols": protocols,
        "recipes": _recipes,
    }
    if kind not in rows:
        raise unknown_name("list", kind, KINDS)
    console.stdout().print(console.table("", (kind, ""), rows[kind](), left=2))


def _models(source: str) -> tuple[str, ...]:
    from reconv.zoo import model_names

    return model_names(source)


def _trained() -> list[tuple[str, str]]:
    from reconv.zoo import trained_nets

    return [(net.model, str(net)) for net in trained_nets()]


def _criteria() -> list[tuple[str, str]]:
    from reconv.saliency import Criterion

    return [
        (", ".join((row.name, *row.aliases)), f"{row.meaning} (needs {', '.join(sorted(row.needs))})")
        for row in Criterion.registry
    ]


def _data_sets() -> list[tuple[str, str]]:
    from reconv.data.sources import data_sources

    return [(source.name, source.meaning) for source in data_sources()]


def protocols() -> list[tuple[str, str]]:
    """Names and descriptions of the training protocols."""
    from reconv.training import load_protocol, protocol_names

    return [(name, load_protocol(name).description) for name in protocol_names()]


def _recipes() -> list[tuple[str, str]]:
    from reconv.zoo import recipe_numbers

    return [(model, "--prune-cfg " + ", ".join(map(str, numbers))) for model, numbers in recipe_numbers().items()]
