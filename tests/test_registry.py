"""Things that people add: one function, one entry-point group, and a registry for each kind."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import ClassVar

import pytest

import reconv
from reconv import registry
from reconv.errors import ConfigError, UnknownNameError
from reconv.registry import Registry


@dataclass(frozen=True)
class Fruit:
    registry: ClassVar[Registry[Fruit]] = Registry("fruit")
    name: str
    aliases: tuple[str, ...] = ()
    colour: str = ""


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fruit, "registry", Registry("fruit"))


def test_an_item_is_found_by_each_of_its_names_whatever_the_case() -> None:
    apple = reconv.register(Fruit("apple", ("Malus",)))
    assert [Fruit.registry[name] for name in ("apple", "APPLE", "malus")] == [apple] * 3
    assert "Apple" in Fruit.registry
    assert Fruit.registry["AP-p_le"] is apple
    assert "pear" not in Fruit.registry


def test_the_nearest_names_are_offered_for_an_unknown_one() -> None:
    reconv.register(Fruit("apple"))
    with pytest.raises(UnknownNameError, match="fruit: 'aple' is not known; did you mean apple"):
        Fruit.registry["aple"]


def test_an_item_of_the_same_name_replaces_and_another_of_that_name_is_refused() -> None:
    reconv.register(Fruit("apple", ("malus",), "green"))
    reconv.register(Fruit("apple", ("malus",), "red"))
    assert [fruit.colour for fruit in Fruit.registry] == ["red"]
    with pytest.raises(ConfigError, match="fruit 'pear' is also called 'Malus', as 'apple' is; give it another name"):
        reconv.register(Fruit("pear", ("Malus",)))
    assert "pear" not in Fruit.registry


def test_what_is_of_no_kind_is_refused_with_the_kinds() -> None:
    with pytest.raises(ConfigError, match="register: got 3; give an instance of Cost, Criterion"):
        reconv.register(3)  # type: ignore[type-var]


def test_built_in_items_are_loaded_on_first_lookup_and_give_way_to_a_users(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> ModuleType:
        loaded.append(name)
        reconv.register(Fruit("apple", colour="green"))
        reconv.register(Fruit("plum"))
        return sys.modules[__name__]

    loaded: list[str] = []
    monkeypatch.setattr(registry, "import_module", load)
    monkeypatch.setattr(Fruit, "registry", Registry("fruit", built_in=("fruits.of.ours",)))
    reconv.register(Fruit("apple", colour="red"))
    assert not loaded
    assert {fruit.name: fruit.colour for fruit in Fruit.registry} == {"apple": "red", "plum": ""}
    assert Fruit.registry["plum"].name == "plum"
    assert loaded == ["fruits.of.ours"]


def add_a_fruit() -> None:
    reconv.register(Fruit("quince"))


def test_the_first_lookup_calls_what_installed_packages_name(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", f"{__name__}:add_a_fruit", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.GROUP else [])
    registry.load_extensions.cache_clear()
    try:
        assert "quince" in Fruit.registry
    finally:
        registry.load_extensions.cache_clear()
