"""Packages that only some of reconv needs, imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from reconv.errors import ConfigError


def optional(module: str, purpose: str, extra: str = "all", *, package: str | None = None) -> Any:
    """An optional package's module.

    Args:
        module: its dotted name. purpose: what needs it, for the message. extra: of reconv, which installs it.
        package: what to install, where no extra of reconv has it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        install = package or f"'reconv[{extra}]'"
        raise ConfigError(f"{purpose}: needs {top}, which is not installed; pip install {install}") from None
