"""Options of the command line, from the fields of dataclasses.

A field `save_path` is the option `--save-path`: its annotation says what it takes, its default is shown, and its line
in the docstring is its help, so that a new field is a new option. A dataclass in a field has its own options beside
it; a tuple of steps has an option for each step, and those of its fields. What a command line gives becomes a mapping,
as TOML and JSON files hold it, and `reconv.mappings` reads it.
"""

from __future__ import annotations

import inspect
import re
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, make_dataclass, replace
from functools import wraps
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import typer

from reconv.cli.spelling import ENVIRONMENT, FLAGS, NAMES, PANELS, POSITIONAL, PREFIXES, SHORT, offer
from reconv.errors import ConfigError
from reconv.mappings import from_mapping, tag_of, tagged_classes, to_mapping
from reconv.steps import Step

T = TypeVar("T")
_METAVARS = {int: "N", float: "X"}
_ARGUMENT = "_argument"  # ends the name of the parameter that takes the same value without a flag


@dataclass(frozen=True)
class Option:
    """One option.

    Args:
        path: the function's parameter, and where the value stands in its mapping: names of fields and of steps.
        kind: bool, int, float, str, or list[str] for an option that may be repeated.
        help: what it means. default: what holds without it, for people.
        pairs: its texts are `key=value`.
        names: what completion offers.
        panel: the heading above it. prefix: of its flag.
    """

    path: tuple[str, ...]
    kind: Any
    help: str = ""
    default: str = ""
    pairs: bool = False
    names: tuple[str, ...] = ()
    panel: str = ""
    prefix: str = ""

    @property
    def name(self) -> str:
        """An identifier."""
        return "__".join(self.path)

    @property
    def flag(self) -> str:
        """Its spelling."""
        name = FLAGS.get(self.path[-2:]) or FLAGS.get(self.path[-1:]) or self.path[-1]
        return f"--{self.prefix}{name}".replace("_", "-")

    def parameters(self) -> Iterator[inspect.Parameter]:
        """What typer takes: an option, and for a model the first argument too."""
        text = self.help[:1].upper() + self.help[1:] + f" [default: {self.default}]" * bool(self.default)
        shown: dict[str, Any] = {"help": text, "show_default": False}
        shown |= {"autocompletion": offer(self.names)} if self.names else {}
        positional = self.path[-1] in POSITIONAL
        if positional:
            metavar = self.path[-1].upper()
            yield _parameter(self.name + _ARGUMENT, self.kind, typer.Argument(metavar=metavar, **shown))
        flag = f"{self.flag}/--no-{self.flag[2:]}" if self.kind is bool else self.flag
        option = typer.Option(
            *filter(None, [flag, SHORT.get(self.flag)]),
            hidden=positional,  # the argument is shown
            metavar=_METAVARS.get(self.kind, "NAME=VALUE" if self.pairs else "TEXT"),
            envvar=ENVIRONMENT.get(self.flag),
            rich_help_panel=self.panel,
            **shown,
        )
        yield _parameter(self.name, self.kind, option)

    def read(self, value: Any) -> Any:
        """What the mapping holds."""
        return dict(self._pair(text) for text in value) if self.pairs else value

    def _pair(self, text: str) -> tuple[str, Any]:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key or not value:
            raise ConfigError(f"{self.flag} {text!r}: no value; write name=value")
        try:
            return key, tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            return key, value


def _parameter(name: str, kind: Any, info: Any) -> inspect.Parameter:
    """A parameter of a function that typer reads; None: it is not given."""
    annotation = Annotated[kind | None, info]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def options_of(
    kind: Any, path: tuple[str, ...], default: Any = None, panel: str = "", prefix: str = ""
) -> list[Option]:
    """The options of a dataclass's fields, in their order.

    Args:
        kind: the dataclass. path: where it stands. default: an instance with the values that hold without options.
        panel, prefix: of the options, unless `reconv.cli.spelling` says others.
    """
    options: list[Option] = []
    helps, hints = helps_of(kind), get_type_hints(kind)
    for each in fields(kind):
        name, where, hint = each.name, (*path, each.name), _without_none(hints[each.name])
        value = getattr(default, name, None if each.default is MISSING else each.default)
        about = PANELS.get(name, panel)
        if get_origin(hint) is tuple and hasattr(get_args(hint)[0], "tag"):
            for step in tagged_classes(get_args(hint)[0]):
                options += _step_options(step, (*where, tag_of(step)), about)
        elif is_dataclass(hint) and not hasattr(hint, "from_plain"):
            options += options_of(hint, where, value, about, PREFIXES.get(name, prefix))
        else:
            text, _, without = helps.get(name, "").rstrip(".").partition("; None: ")
            names = get_args(hint) if get_origin(hint) is Literal else NAMES.get(name, ())
            shown = without or _shown(value)
            options.append(Option(where, _kind(hint), text, shown, _is_mapping(hint), names, about, prefix))
            options += _own_options(hint, where, about)
    return options


def _own_options(kind: Any, path: tuple[str, ...], panel: str) -> list[Option]:
    """Of what is written as text: fields that it says are options beside that text."""
    helps, own = helps_of(kind), getattr(kind, "own_options", ())
    hints = get_type_hints(kind) if own else {}
    made = []
    for name in own:
        text, _, without = helps[name].rstrip(".").partition("; None: ")
        names = NAMES.get(name, ())
        made.append(Option((*path, name), _kind(_without_none(hints[name])), text, without, names=names, panel=panel))
    return made


def _step_options(step: Any, path: tuple[str, ...], panel: str) -> list[Option]:
    """An option that adds or leaves out a step, unless one of its fields is spelled so, and those of its fields."""
    own = options_of(step, path, None, panel, PREFIXES.get(path[-1], f"{path[-1]}-"))
    switch = Option(path, bool, inspect.cleandoc(step.__doc__ or "").partition("\n")[0].rstrip("."), panel=panel)
    same = [option for option in own if option.flag == switch.flag]
    return [replace(option, default="") if option in same else option for option in ([] if same else [switch]) + own]


def _without_none(hint: Any) -> Any:
    """An annotation without None; of several kinds the first, which is text where a name may stand for an object."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    return next(kind for kind in get_args(hint) if kind is not type(None))


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _kind(hint: Any) -> Any:
    """What the command line reads for an annotation."""
    if get_origin(hint) is tuple or _is_mapping(hint) or hasattr(hint, "from_plain"):
        return list[str]
    return hint if hint in (bool, int, float) else str


def _shown(value: Any) -> str:
    if value is None or value is False or value in ((), {}, ""):
        return ""
    return ", ".join(value) if isinstance(value, tuple) else "yes" if value is True else str(value)


def helps_of(kind: Any) -> dict[str, str]:
    """What a dataclass's docstring says of each field, under `Args:`."""
    section = re.search(
        r"^(?:Args|Attributes):\n((?: .*\n?|\n(?= ))*)", inspect.cleandoc(kind.__doc__ or ""), re.MULTILINE
    )
    entries = re.split(r"^    (?=\w)", section[1] if section else "", flags=re.MULTILINE)
    pairs = (" ".join(entry.split()).partition(": ") for entry in entries)
    return {name: text for names, _, text in pairs for name in names.split(", ")}


@dataclass(frozen=True)
class Given(Generic[T]):
    """What the command line gives for a dataclass, for commands whose defaults depend on it.

    Args:
        default: what holds without options. values: of the options that were given.
    """

    default: T
    values: Mapping[Option, Any] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        """Of the options that were given."""
        return [option.flag for option in self.values]

    def __contains__(self, flag: str) -> bool:
        return flag in self.flags

    def build(self, start: Mapping[str, Any] | None = None) -> T:
        """The dataclass.

        Args:
            start: what holds without options, as a file has it; None: the default.
        """
        mapping = dict(to_mapping(self.default) if start is None else start)
        return _built(type(self.default), self.values, mapping, "command line")


def _built(kind: type[T], values: Mapping[Option, Any], mapping: dict[str, Any], where: str) -> T:
    """A dataclass from the values of options, and a mapping that has the others."""
    without = [option for option, value in values.items() if value is False]
    for option, value in values.items():
        no = next((other for other in without if other != option and other.path == option.path[:-1]), None)
        if no is not None:
            raise ConfigError(f"{where}: --no-{no.flag[2:]} and {option.flag}; give one of them")
        _put(mapping, option.path[1:], option, option.read(value))
    for each in fields(kind):  # type: ignore[arg-type]  # T is a dataclass
        if each.name not in mapping and each.default is each.default_factory is MISSING:
            raise ConfigError(f"{where}: no {each.name}; see `{where} --help`")
    return from_mapping(kind, mapping, where)


def _put(mapping: dict[str, Any], path: tuple[str, ...], option: Option, value: Any) -> None:
    """Put an option's value where it belongs."""
    name, *rest = path
    if not rest:
        mapping[name] = value
    elif isinstance(mapping.get(name), list) and name != "after":
        raise ConfigError(f"--{name} and {option.flag}: each says how much goes; give one of them")
    elif isinstance(mapping.get(name), list):
        mapping[name] = _steps(mapping[name], tuple(rest), option, value)
    else:
        mapping[name] = dict(mapping.get(name) or {})
        _put(mapping[name], tuple(rest), option, value)


def _steps(steps: list[Any], path: tuple[str, ...], option: Option, value: Any) -> list[dict[str, Any]]:
    """Steps with one added where it belongs, left out, or changed."""
    tag, *name = path
    steps = [{"step": step} if isinstance(step, str) else step for step in steps]
    if option.flag == f"--{tag}" and not value:
        return [step for step in steps if step["step"] != tag]
    order = [tag_of(kind) for kind in tagged_classes(Step)]
    later = (at for at, step in enumerate(steps) if order.index(step["step"]) > order.index(tag))
    if tag not in [step["step"] for step in steps]:
        steps.insert(next(later, len(steps)), {"step": tag})
    last = max(at for at, step in enumerate(steps) if step["step"] == tag)
    steps[last] = steps[last] | dict.fromkeys(name, value)
    return steps


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A function as typer takes it: each field of a parameter that is a dataclass is an option.

    Other parameters are options too, whose help is the function's docstring. Of `Given[Kind]` the function gets what
    was given, of `Annotated[Given[Kind], *names]` for these fields alone. What typer itself describes stays as it is.
    """
    parts, own, parameters = {}, [], []
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        part = _Part.of(name, parameter)
        if part is not None:
            parts[name] = part
        elif get_origin(parameter.annotation) is Annotated:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        else:
            default = {} if parameter.default is parameter.empty else {"default": parameter.default}
            own.append((name, parameter.annotation, field(**default, kw_only=True)))
    mine = make_dataclass("Options", own, frozen=True, namespace={"__doc__": function.__doc__})
    parts[""] = _Part(mine, options_of(mine, ("",), panel="Options"))
    made = [made for part in parts.values() for option in part.options for made in option.parameters()]

    @wraps(function)
    def run(**values: Any) -> None:
        taken = {name: part.take(values, where) for name, part in parts.items()}
        function(**values, **vars(taken.pop("")), **taken)

    where = f"reconv {function.__module__.rpartition('.')[2]}"
    run.__signature__ = inspect.Signature([*parameters, *made])  # type: ignore[attr-defined]  # typer asks for it
    run.__annotations__ = {}
    run.__doc__ = inspect.cleandoc(function.__doc__ or "").partition("\n\nArgs:")[0]
    return run


@dataclass(frozen=True)
class _Part:
    """One dataclass of a command's parameters; `default` is an instance, or a `Given`, or None."""

    kind: Any
    options: list[Option]
    default: Any = None

    @classmethod
    def of(cls, name: str, parameter: inspect.Parameter) -> _Part | None:
        hint, *only = get_args(parameter.annotation) if _is_part(parameter.annotation) else (parameter.annotation,)
        kind = get_args(hint)[0] if get_origin(hint) is Given else hint
        if not is_dataclass(kind):
            return None
        default = None if parameter.default is parameter.empty else parameter.default
        panel = PANELS.get(name, name.replace("_", " ").capitalize())
        shown = default.default if isinstance(default, Given) else default
        options = options_of(kind, (name,), shown, panel, PREFIXES.get(name, ""))
        return cls(kind, [option for option in options if not only or option.path[1] in only], default)

    def take(self, values: dict[str, Any], where: str) -> Any:
        """The dataclass, or what was given for it; its values leave the others."""
        taken = {option: value for option in self.options if (value := _value(option, values)) is not None}
        if isinstance(self.default, Given):
            return Given(self.default.default, taken)
        return _built(self.kind, taken, {} if self.default is None else to_mapping(self.default), where)


def _is_part(annotation: Any) -> bool:
    return get_origin(annotation) is Annotated and get_origin(get_args(annotation)[0]) is Given


def _value(option: Option, values: dict[str, Any]) -> Any:
    """What was given for an option, taken out of all values; an empty list is what typer has for nothing."""
    value, argument = values.pop(option.name), values.pop(option.name + _ARGUMENT, None)
    if value is not None and argument is not None:
        raise ConfigError(f"{option.path[-1]}: {argument} and, by {option.flag}, {value}; give one of them")
    value = argument if value is None else value
    return None if value == [] else value
