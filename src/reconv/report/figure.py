"""A figure of a run's report: one file says its data, its drawing and its caption."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup

from reconv.registry import Registry
from reconv.report.facts import RunFacts


@dataclass(frozen=True)
class Picture:
    """One drawing.

    Args:
        drawing: SVG (or HTML) as text; it is put into the page as it is, so escape what comes from outside.
        caption: a sentence or two below it; text is escaped, `Markup` is not.
        wide: whether it is drawn larger than usual.
    """

    drawing: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Figure:
    """A registered figure.

    Args:
        name: by which a template, or `reconv list figures`, knows it.
        title: the heading of its section.
        pictures: from the facts of a run to the drawings; none where there is nothing to show.

    Example:
        >>> from reconv.report import Figure, Picture
        >>> def layers(facts):
        ...     yield Picture(f"<svg><title>{len(facts.layers)} layers</title></svg>", "The number of layers.")
        >>> Figure("layer-count", "Layers", layers).name
        'layer-count'
    """

    registry: ClassVar[Registry[Figure]] = Registry("figure", built_in=("reconv.report.figures",))

    name: str
    title: str
    pictures: Callable[[RunFacts], Iterable[Picture]]
    aliases: tuple[str, ...] = ()


def drawn(name: str, facts: RunFacts) -> list[Picture]:
    """The pictures of the figure of this name, as the template puts them into the page."""
    return [_as_markup(picture) for picture in Figure.registry[name].pictures(facts)]


def additional(facts: RunFacts, shown: tuple[str, ...]) -> list[tuple[str, list[Picture]]]:
    """Title and pictures of every figure that the template does not place itself."""
    others = (figure for figure in Figure.registry if figure.name not in shown)
    sections = ((figure.title, drawn(figure.name, facts)) for figure in others)
    return [(title, pictures) for title, pictures in sections if pictures]


def _as_markup(picture: Picture) -> Picture:
    return Picture(Markup(picture.drawing), picture.caption, picture.wide)  # trusted: it comes from registered code
