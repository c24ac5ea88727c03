"""Code that is not reconv's: imported only where the user names it, and never because a file says so.

A name such as `my_net.py:MyNet` or `package.module:factory` names code. A saved folder may say that its model is of
such a class; it is built only if the user has named the code too: `--code my_net.py`, or `reconv.load(path, code=...)`.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from reconv.errors import ConfigError, ReconvError, first_line, unknown_name

_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_IN_FILE = re.compile(rf"(?P<code>.+\.py):(?P<name>{_NAME})")
_IN_MODULE = re.compile(rf"(?P<code>{_NAME}):(?P<name>{_NAME})")

_named: dict[str, None] = {}  # by the user of this process, the last one last
_files: dict[Path, ModuleType] = {}


def use_code(text: str | None) -> None:
    """Remember that the user has named this code, so that saved models of it may be built in this process.

    Args:
        text: `my_net.py`, `package.module`, either with `:name` of a class or function, or a package such as
            `ultralytics`; None changes nothing.
    """
    if text is not None:
        _named.pop(text, None)
        _named[text] = None


def named_code() -> tuple[str, ...]:
    """The code that the user has named, the last first."""
    return tuple(reversed(_named))


def in_file(text: str) -> str | None:
    """The name within the source "file" that a text stands for: `my_net.py:MyNet`."""
    text = text.removeprefix("file:")
    return text if _IN_FILE.fullmatch(text) else None


def in_module(text: str) -> str | None:
    """The name within the source "module": `package.module:factory`, of a package that is there. Imports nothing."""
    prefixed = text.startswith("module:")
    match = _IN_MODULE.fullmatch(text.removeprefix("module:"))
    if match is None:
        return None
    return match[0] if prefixed or _is_there(match["code"]) else None


def _is_there(module: str) -> bool:
    """Whether there is a package of a module's name, which is not the name of a source of models."""
    from reconv.zoo.sources import ModelSource

    if module in ModelSource.registry:
        return False
    top = module.partition(".")[0]
    with _first_in_path(Path.cwd()):
        return top in sys.modules or find_spec(top) is not None


def code_of(name: str) -> str:
    """The file or module of a model's name."""
    return _code_and_name(name)[0]


def _code_and_name(name: str) -> tuple[str, str]:
    code, _, inside = name.rpartition(":")
    return code, inside


def import_code(code: str) -> ModuleType:
    """Import a file or a module by its name.

    Raises:
        ConfigError: it is not there, or fails.
    """
    try:
        if code.endswith(".py"):
            return _import_file(Path(code))
        with _first_in_path(Path.cwd()):
            return import_module(code)
    except ModuleNotFoundError as error:
        top = "" if code.endswith(".py") else f", of {code}"
        raise ConfigError(
            f"{code}: imports {error.name}, which is not there{top}; install it, or correct the name"
        ) from (error)
    except ReconvError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{code}: cannot be imported ({type(error).__name__}: {first_line(error)}); correct it"
        ) from error


def _import_file(path: Path) -> ModuleType:
    """A file as a module by the name of its stem, so that processes that read data find what it defines."""
    where = path.expanduser().resolve()
    if where in _files:
        return _files[where]
    if not where.is_file():
        raise ConfigError(f"{path}: no such file; give the Python file that defines the network")
    name = path.stem if _is_free(path.stem, where) else f"{path.stem}_{sha256(str(where).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, where)
    assert spec is not None  # it ends with .py
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _first_in_path(where.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _files[where] = module
    return module


def _is_free(name: str, file: Path) -> bool:
    """Whether a module may be called so: nothing else is."""
    if name in sys.modules or not name.isidentifier():
        return False
    found = find_spec(name)
    return found is None or (found.origin is not None and Path(found.origin).resolve() == file)


@contextmanager
def _first_in_path(folder: Path) -> Iterator[None]:
    """A folder's modules are found first, as where a script in it runs."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def attribute(code: str, name: str) -> Any:
    """What a file or module calls by a name, which may have dots.

    Raises:
        ConfigError: it has no such name.
    """
    value: Any = import_code(code)
    for part in name.split("."):
        if not hasattr(value, part):
            public = [each for each in vars(value) if not each.startswith("_")]
            raise unknown_name(f"{code}: name", part, public)
        value = getattr(value, part)
    return value


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model that `my_net.py:MyNet` stands for: a class or a function of the arguments, or a module itself.

    Raises:
        ConfigError: it is something else.
    """
    code, inside = _code_and_name(name)
    maker = attribute(code, inside)
    if isinstance(maker, nn.Module):
        if arguments:
            raise ConfigError(f"{name}: a network, which takes no arguments; leave them out, or name its class")
        return copy.deepcopy(maker)
    if not callable(maker):
        raise ConfigError(f"{name}: a {type(maker).__name__}; name a class, or a function that gives a network")
    where = Path(code).expanduser().resolve().parent if code.endswith(".py") else Path.cwd()
    with _first_in_path(where):  # for what is imported when it is called
        model = maker(**arguments)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{name}: gives a {type(model).__name__}; it has to give a torch.nn.Module")
    return model


def takes(name: str, argument: str) -> bool:
    """Whether the class or function of a model's name has a parameter of this name."""
    maker = attribute(*_code_and_name(name))
    try:
        parameters = inspect.signature(maker).parameters
    except (TypeError, ValueError):  # some that are written in C
        return False
    return not isinstance(maker, nn.Module) and argument in parameters


def find_in_code(name: str, codes: tuple[str, ...]) -> str | None:
    """The model's name in code that the user has named, for a class or function whose name a saved model says.

    A saved model chooses among the classes of networks and the functions that this code defines, and nothing else that
    it happens to have imported.

    Args:
        name: of the class or function. codes: as the user named them; `my_net.py:make` is taken as it is.
    """
    for code in codes:
        if in_file(code) or in_module(code):
            return code
    for code in codes:
        if not code.endswith(".py") and not _is_there(code):
            continue
        module = import_code(code)
        found = getattr(module, name, None)
        is_network = isinstance(found, type) and issubclass(found, nn.Module)
        top = module.__name__.partition(".")[0]
        is_theirs = inspect.isfunction(found) and found.__module__.partition(".")[0] == top
        if is_network or is_theirs:
            return f"{code}:{name}"
    return None
