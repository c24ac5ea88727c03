"""Help in two levels: `--help` says each option in a line or two, `--help-all` says everything; examples come first."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from typer.core import TyperCommand

from reconv.cli.spelling import BASIC, FOLDED, MOST_SHOWN, usual_words

ALL = "--help-all"
_WIDTH = 26  # of flags
_COLUMNS = 80  # of the screen that a help is made for


class HelpfulCommand(TyperCommand):
    """A command whose help begins with its examples, which are its epilog."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--help-all` for `--help`, and other spellings of options."""
        ctx.meta[ALL] = ALL in args
        return super().parse_args(ctx, ["--help" if word == ALL else word for word in usual_words(args)])

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Usage, what the command does, examples, options under their headings."""
        everything = ctx.meta.get(ALL, False)
        panels: dict[str, list[tuple[str, str]]] = {}
        parameters: list[Any] = [each for each in self.get_params(ctx) if not getattr(each, "hidden", False)]
        many = len(parameters) > MOST_SHOWN
        shown = [each for each in parameters if everything or not many or _is_basic(each)]
        for parameter in shown:
            text = parameter.help if everything else _in_a_line(_flags(parameter), parameter.help, many)
            panels.setdefault(_panel(parameter), []).append((_flags(parameter), text))
        left = f"Show all {len(parameters)} options, " if len(shown) < len(parameters) else "Show every option, "
        panels.setdefault("Options", []).append((ALL, f"{left}with all that there is to say."))
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in (self.epilog or "").splitlines()))
        for panel in sorted(panels, key=lambda panel: (panel != "Arguments", panel == "Options")):
            if everything or many or panel not in FOLDED:  # of many options the basic ones are chosen already
                with formatter.section(panel):
                    formatter.write_dl(panels[panel], col_max=_WIDTH)


def _panel(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    return getattr(parameter, "rich_help_panel", None) or "Options"


def _flags(parameter: Any) -> str:
    """`-b, --budget TEXT ...`; `--[no-]exact`."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    names = [*parameter.opts]
    if parameter.secondary_opts:
        names[0] = f"--[no-]{names[0][2:]}"
    value = " " + (parameter.metavar or "TEXT") if not parameter.is_flag else ""
    return ", ".join(sorted(names, key=len)) + value + " ..." * bool(parameter.multiple)


def _is_basic(parameter: Any) -> bool:
    """Whether a command with many options shows this one at first."""
    return parameter.param_type_name == "argument" or not set(BASIC).isdisjoint(parameter.opts)


def _in_a_line(flags: str, text: str, many: bool) -> str:
    """The first part of a help and the default; of a command with many options as many words as two lines hold."""
    short = _short(text)
    room = 2 * (_COLUMNS - max(_WIDTH, len(flags)) - 6) - len("kernel_sizes=")  # of a word that a line breaks before
    if not many or len(short) <= room:
        return short
    return textwrap.shorten(short.partition(" [default: ")[0], room, placeholder=" ...")


def _short(text: str) -> str:
    """The first part, and the default."""
    default = re.search(r" \[default: .*\]$", text)
    return re.split(r"; |\. ", text.removesuffix(default[0] if default else ""))[0] + (default[0] if default else "")
