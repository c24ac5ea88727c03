"""From options, as the command line gives them, to what the stages take."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconv.errors import ConfigError, unknown_name
from reconv.pipeline import Cut
from reconv.plan import SCHEMES, Budget
from reconv.saliency import criterion_named


@dataclass(frozen=True)
class CutOptions:
    """The options that say what to cut, as they were given."""

    metric: str
    direction: str
    exact: bool
    scores: Path | None
    budget: Sequence[str] | None
    prune_cfg: int | None
    scheme: str
    coupled: bool
    rev: bool

    def cut(self, default: Budget | None = None) -> Cut:
        """What they say; `default` is the budget where none is given.

        Raises:
            UnknownNameError: a criterion, direction or scheme that there is not.
            ConfigError: a budget and a configuration, or neither; a budget that cannot be.
        """
        if self.budget and self.prune_cfg is not None:
            raise ConfigError("--budget and --prune-cfg: both given; give one of them")
        budget = Budget.parse(self.budget) if self.budget else None if self.prune_cfg is not None else default
        if budget is None and self.prune_cfg is None:
            raise ConfigError("what to cut: nothing said; give --budget macs=0.5, or --prune-cfg 1")
        if self.direction not in ("forward", "backward"):
            raise unknown_name("direction", self.direction, ("forward", "backward"))
        if self.scheme not in SCHEMES:
            raise unknown_name("scheme", self.scheme, SCHEMES)
        if self.prune_cfg is not None and self.coupled:
            raise ConfigError("--coupled: the paper's configurations leave residual streams whole; give --budget")
        return Cut(
            criterion=criterion_named(self.metric).name,
            direction=self.direction,  # type: ignore[arg-type]  # checked above
            exact=self.exact,
            scores=None if self.scores is None else str(self.scores),
            budget=budget,
            recipe=self.prune_cfg,
            scheme=self.scheme,  # type: ignore[arg-type]  # checked above
            coupled=self.coupled,
            keep_lowest=self.rev,
        )


def text(path: Path | None) -> str | None:
    """A path as the configuration holds it."""
    return None if path is None else str(path)


def model_arguments(shortcut: str | None) -> dict[str, Any]:
    """Arguments of the model that options name."""
    return {} if shortcut is None else {"shortcut": shortcut}


def output_path(given: Path | None, resume: bool, *words: str) -> Path:
    """The folder to write to: the one given, else the first free `runs/<words>`.

    Raises:
        ConfigError: `--resume` without a folder.
    """
    if given is not None:
        return given
    if resume:
        raise ConfigError("--resume: of which run? Give its folder: --save-path P")
    name = "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in Path(word).name) for word in words)
    numbered = (Path("runs") / (name if i == 1 else f"{name}-{i}") for i in range(1, 1_000_000))
    return next(path for path in numbered if not path.exists())


def this_command() -> str:
    """The command line that this process was given, for the report."""
    return shlex.join(["reconv", *sys.argv[1:]])
