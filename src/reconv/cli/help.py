"""Help in two levels: `--help` says each option in a line or two, `--help-all` says everything; examples come first."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

from reconv.cli.spelling import FOLDED, usual_words

ALL = "--help-all"
_WIDTH = 26  # of flags


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
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            if not getattr(parameter, "hidden", False):
                row = _flags(parameter), parameter.help if everything else _short(parameter.help)
                panels.setdefault(_panel(parameter), []).append(row)
        panels["Options"].append((ALL, "Show every option, with all that there is to say."))
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}\n" for line in (self.epilog or "").splitlines()))
        for panel in sorted(panels, key=lambda panel: (panel != "Arguments", panel == "Options")):
            if everything or panel not in FOLDED:
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


def _short(text: str) -> str:
    """The first part, and the default."""
    default = re.search(r" \[default: .*\]$", text)
    return re.split(r"; |\. ", text.removesuffix(default[0] if default else ""))[0] + (default[0] if default else "")
