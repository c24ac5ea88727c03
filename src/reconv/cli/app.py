"""The `reconv` command: its subcommands, and how it fails.

Nothing here imports torch: help, version and completion answer at once, and each subcommand imports what it needs
when it runs. What a user can cause (`ReconvError`, a usage error, a file that cannot be read or written) is one line
on stderr and exit code 2; anything else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import textwrap
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from reconv import __version__
from reconv.cli import (
    benchmark,
    compare,
    evaluate,
    explore,
    export,
    fields,
    finetune,
    inspect,
    listing,
    profile,
    prune,
    report,
    run,
    saliency,
    study,
    train,
)
from reconv.cli.help import HelpfulCommand
from reconv.cli.spelling import usual_words
from reconv.cli.stopped import Stopped
from reconv.errors import ReconvError
from reconv.memory_pool import keep_freed_memory

SUBCOMMANDS = {  # in the order of work
    "run": run,
    "explore": explore,
    "inspect": inspect,
    "profile": profile,
    "saliency": saliency,
    "train": train,
    "prune": prune,
    "finetune": finetune,
    "evaluate": evaluate,
    "compare": compare,
    "export": export,
    "benchmark": benchmark,
    "report": report,
    "study": study,
    "list": listing,
}

# The base of every usage error, whether typer stands on click or brings its own copy of it.
CommandLineError: Any = typer.BadParameter.__mro__[2]

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Stopped from stop


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reconv {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Make trained convolutional networks smaller and faster by removing channels, and prove what was done."""


def build_app() -> typer.Typer:
    """The application with every subcommand registered."""
    app = typer.Typer(
        name="reconv",
        cls=_Commands,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, module in SUBCOMMANDS.items():
        command = fields.command(module.command)
        brief = (command.__doc__ or "").partition(".\n")[0].partition("; ")[0].rstrip(".") + "."
        app.command(name, cls=HelpfulCommand, short_help=brief, epilog="\n".join(module.EXAMPLES))(command)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: the words after `reconv`; those of the process if None.

    Returns:
        The exit code: 0, 2 for bad input, 130 after Ctrl-C.
    """
    if arguments is None:  # a process of its own
        keep_freed_memory()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"] or ["--help"]
    words = ["list", *words] if words[0] == "protocols" else words
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return int(build_app()(words, prog_name="reconv", standalone_mode=False) or 0)
    except Stopped as stop:
        return _say(_how_to_go_on(words, stop.folder, stop.flag), EXIT_INTERRUPTED)
    except (ReconvError, OSError, CommandLineError) as error:
        if debug:
            raise
        return _say(f"error: {_message(error, words)}", EXIT_BAD_INPUT)
    except (MemoryError, RuntimeError) as error:
        if debug or not _is_out_of_memory(error):
            raise
        return _say("error: not enough memory for this; give smaller images, batches or networks", EXIT_BAD_INPUT)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or PyTorch, on the CPU or elsewhere, found no memory."""
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "allocate memory" in str(error)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """A warning of ours is a note; others as Python shows them."""
    if category.__module__.startswith("reconv."):
        print(f"note: {message}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, *where[:2]), end="", file=sys.stderr)


def _message(error: BaseException, words: Sequence[str]) -> str:
    if isinstance(error, ReconvError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}; check the path, its rights and the space left."
    return _usage_message(error, words)


def _usage_message(error: Any, words: Sequence[str]) -> str:
    """The library's own words, with the value that it complains about, which it leaves out."""
    command = error.ctx.command_path if error.ctx else "reconv"
    spellings = getattr(getattr(error, "param", None), "opts", ())
    given = next((value for word, value in pairwise(usual_words(words)) if word in spellings), None)
    got = "" if given is None else f" (got {given!r})"
    return f"{command}: {error.format_message().rstrip('.')}{got}; see `{command} --help`."


def _how_to_go_on(words: Sequence[str], folder: Path | None, flag: str) -> str:
    command = ["reconv", *words]
    if folder is None:
        return f"Interrupted. Start again with: {shlex.join(command)}"
    command = [word for word in command if word != "--overwrite"]
    if not any(word == "-o" or word.startswith("--save-path") for word in words):
        command += ["--save-path", str(folder)]
    if flag and flag not in words:
        command += [flag]
    return f"Interrupted. What is finished is kept in {folder}; go on with: {shlex.join(command)}"


def _say(message: str, code: int) -> int:
    """One line on standard error; processes other than the first say which they are."""
    rank = int(os.environ.get("RANK", "0"))
    line = f"process {rank}: " * (rank > 0) + " ".join(message.split())
    if sys.stderr.isatty():  # break it at spaces; a file gets one line
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    print(line, file=sys.stderr)
    return code
