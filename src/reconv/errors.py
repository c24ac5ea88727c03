"""The errors a user can cause, and how each one speaks.

Every message says: **where: what we got; what would be right; what to do.** The command line prints it in one
line and exits with code 2. Anything that is not a `ReconvError` is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReconvError(Exception):
    """Something the user gave, or the machine lacks, keeps us from going on."""


class UnknownNameError(ReconvError):
    """A name that is in no table of ours: a model, criterion, data set, protocol, recipe."""


class ConfigError(ReconvError):
    """A setting outside its range, or two that exclude each other."""


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
