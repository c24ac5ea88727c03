"""Packages whose names are loaded when they are first used, so that importing the package costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Mapping[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], tuple[str, ...]]:
    """A `__getattr__` for a package, and the names that it answers to.

    Args:
        package: its `__name__`. modules: module within it -> names that the package hands on from there.
    """
    module_of = {name: f"{package}.{module}" for module, names in modules.items() for name in names}

    def getattr_of_package(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(module_of[name]), name)

    return getattr_of_package, tuple(sorted(module_of))
