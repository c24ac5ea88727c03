"""What people add: one registry for each kind of thing, and `register`, which puts an item into the one of its kind.

A kind is a class with a class attribute `registry`; its built-in items are registered by the same function as a user's:

    @dataclass(frozen=True)
    class Cost:
        registry: ClassVar[Registry[Cost]] = Registry("cost", built_in=("reconv.cost.built_in",))
        name: str
        aliases: tuple[str, ...] = ()

    register(Cost("multiplications"))
    Cost.registry["multiplications"]

An installed package adds its own in a function that it names in its `pyproject.toml`; it is called once, before the
first trace or the first lookup in any registry:

    [project.entry-points."reconv.extensions"]
    mine = "my_package.pruning:register"
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from reconv.errors import ConfigError, unknown_name

GROUP = "reconv.extensions"

KINDS = {
    "budgets": "reconv.budget:Cost",
    "criteria": "reconv.saliency:Criterion",
    "exporters": "reconv.deploy:Exporter",
    "runtimes": "reconv.deploy:Runtime",
    "data": "reconv.data.sources:DataSource",
    "figures": "reconv.report:Figure",
    "sources": "reconv.zoo.sources:ModelSource",
}
"""What `reconv list` shows, and the class of each: a kind is imported on first use."""


class Named(Protocol):
    """Anything with a name and other names for the same."""

    @property
    def name(self) -> str: ...
    @property
    def aliases(self) -> tuple[str, ...]: ...


T = TypeVar("T", bound=Named)


def spelling(name: str) -> str:
    """What all ways to write a name have in common: "bnscale" for "BN-scale" and "bn_scale"."""
    return name.lower().replace("-", "").replace("_", "")


class Registry(Generic[T]):
    """Items of one kind, found by name or alias, whatever the case, with or without hyphens and underscores; iterated
    in the order of their registration.

    Args:
        kind: the word for one item, in errors.
        built_in: modules that register the built-in items; imported on the first lookup, so that they may lie anywhere.
    """

    def __init__(self, kind: str, built_in: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self._built_in = built_in
        self._items: dict[str, T] = {}

    def add(self, item: T) -> None:
        """Put an item in; one of the same name is replaced.

        Raises:
            ConfigError: another item has one of its names.
        """
        for name in (item.name, *item.aliases):
            owner = self._by_key().get(spelling(name))
            if owner is not None and owner.name != item.name:
                raise ConfigError(
                    f"register: {self.kind} {item.name!r} is also called {name!r}, as {owner.name!r} is; "
                    "give it another name"
                )
        self._items[item.name] = item

    def __getitem__(self, name: str) -> T:
        """The item with this name or alias.

        Raises:
            UnknownNameError: no item has it; the nearest names are offered.
        """
        item = self.get(name)
        if item is None:
            raise unknown_name(self.kind, name, self._names())
        return item

    def get(self, name: str) -> T | None:
        """The item with this name or alias, None where there is none."""
        self._load()
        return self._by_key().get(spelling(name))

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __iter__(self) -> Iterator[T]:
        self._load()
        return iter(tuple(self._items.values()))

    def _by_key(self) -> dict[str, T]:
        return {spelling(name): item for item in self._items.values() for name in (item.name, *item.aliases)}

    def _names(self) -> list[str]:
        return [name.lower() for item in self._items.values() for name in (item.name, *item.aliases)]

    def _load(self) -> None:
        if self._built_in:
            earlier = dict(self._items)  # a user's item replaces a built-in one, whichever came first
            for module in self._built_in:
                import_module(module)
            self._items |= earlier
            self._built_in = ()
        load_extensions()


class Registered(Named, Protocol):
    """An item whose class has a registry."""

    registry: ClassVar[Registry[Any]]


R = TypeVar("R", bound=Registered)


def register(item: R) -> R:
    """Add a criterion, a cost, a data source, a model source, an exporter, a runtime or a figure, by its class.

    Returns:
        The item itself.

    Raises:
        ConfigError: an item of no such class, or with a name that another one has.

    Example:
        >>> import reconv
        >>> peak = reconv.Criterion("peak", "largest weight", of_layer=lambda layer: layer.filters.abs().amax(1))
        >>> reconv.register(peak).name
        'peak'
    """
    registry = getattr(type(item), "registry", None)
    if not isinstance(registry, Registry):
        classes = ", ".join(path.partition(":")[2] for path in KINDS.values())
        raise ConfigError(f"register: got {item!r:.80}; give an instance of {classes}")
    registry.add(item)
    return item


def registry_of(kind: str) -> Registry[Any]:
    """The registry of one kind.

    Args:
        kind: a key of `KINDS`, such as "criteria".
    """
    if kind not in KINDS:
        raise unknown_name("registry", kind, KINDS)
    module, _, name = KINDS[kind].partition(":")
    registry: Registry[Any] = getattr(import_module(module), name).registry
    return registry


def registries() -> dict[str, Registry[Any]]:
    """Every kind's registry."""
    return {kind: registry_of(kind) for kind in KINDS}


def has_extensions() -> bool:
    """Whether any installed package may add items."""
    return bool(entry_points(group=GROUP))


@cache
def load_extensions() -> None:
    """Call every installed extension once.

    Raises:
        ConfigError: one of them fails.
    """
    for point in entry_points(group=GROUP):
        try:
            point.load()()
        except Exception as error:
            package = point.dist.name if point.dist is not None else "an installed package"
            raise ConfigError(
                f"extension {point.name!r}: {point.value} of {package} fails ({type(error).__name__}: {error}); "
                "correct or uninstall the package"
            ) from error
