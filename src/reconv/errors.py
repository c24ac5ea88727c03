"""The errors that a user can cause, and the form of their messages.

Every message says: **where: what was given; what would be right; what to do.** The command line prints it in one
line and exits with code 2. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable

_LONGEST = 2_000  # characters of a message
_BREAK = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


class ReconvError(Exception):
    """Something that the user gave, or that the machine lacks, prevents the work."""

    def __str__(self) -> str:
        """One line that can be printed, whatever names in files, or other programs' messages, are part of it."""
        text = _BREAK.sub(" ", super().__str__().strip())
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST // 2]} [...] {text[-_LONGEST // 2 :]}"
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UnknownNameError(ReconvError):
    """A name that no table has: a model, criterion, data set, protocol, recipe."""


class ConfigError(ReconvError):
    """A setting outside its range, or two that exclude each other."""


class WrongKindError(ReconvError, TypeError):
    """An argument of a kind that a function does not take."""


class GeometryError(ReconvError):
    """A convolution that does not fit the input it is said to see."""


class WeightsError(ReconvError):
    """Weights that do not fit the model, or hold NaN or infinity."""


class GraphError(ReconvError):
    """A model that cannot be traced, or a channel that cannot be followed."""


class BudgetError(ReconvError):
    """A budget that cannot be met; the message says what is possible."""


class ArtifactError(ReconvError):
    """A file that is missing, truncated, corrupt, or not what it says it is."""


class DataError(ReconvError):
    """A data set that is missing, incomplete or unusable."""


class ExportError(ReconvError):
    """A network that a format cannot hold, or a file that computes something else."""


class TrainingError(ReconvError):
    """Training that cannot go on: a loss that is not finite, a checkpoint that does not fit."""


_LISTED = 30  # names in a message


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that no table knows, with the nearest ones offered."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    offer = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:_LISTED])}{more}."
    return UnknownNameError(f"{kind}: {name!r} is not known; {offer}")


# By the name of the class that an argument must be of: what to pass. Names, so that no class need be imported here.
_HINTS = {
    "Module": "a torch.nn.Module; reconv.load_model builds one by its name, reconv.load reads a saved one",
    "ChannelGraph": "the graph that reconv.trace(model, example) returns",
    "Saliency": "the scores that reconv.score(graph) returns",
    "Budget": "a budget such as reconv.Budget(macs=0.5)",
    "Limits": "limits such as reconv.Limits(minimum=8)",
    "Plan": "the plan that reconv.choose(graph, scores, budget) returns",
    "Tensor": "a torch.Tensor",
}


def first_line(error: Exception) -> str:
    """What an error says, in short: its first line without the full stop, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def check_kind(argument: str, value: object, kind: type | tuple[type, ...], hint: str = "") -> None:
    """Refuse an argument of the wrong kind.

    Args:
        argument: the function and its parameter, such as "prune: plan".
        value: what was given. kind: what it must be an instance of.
        hint: what to pass; by default what the first kind's row in `_HINTS` says.

    Raises:
        WrongKindError: such as "prune: plan is 0.5 (float); pass the plan that reconv.choose(...) returns".
    """
    if not isinstance(value, kind):
        first = kind[0] if isinstance(kind, tuple) else kind
        raise wrong_kind(argument, value, hint or _HINTS.get(first.__name__, f"one of {first.__name__}"))


def wrong_kind(argument: str, value: object, hint: str) -> WrongKindError:
    """The error of `check_kind`, for kinds that no `isinstance` can tell."""
    kind = type(value).__name__
    plain = isinstance(value, (bool, int, float, str, bytes))
    article = "an" if kind[:1].lower() in "aeiou" else "a"
    given = "None" if value is None else f"{reprlib.repr(value)} ({kind})" if plain else f"{article} {kind}"
    return WrongKindError(f"{argument} is {given}; pass {hint}")
