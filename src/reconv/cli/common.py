"""From options, as the command line gives them, to what the stages take."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconv.errors import ConfigError, unknown_name
from reconv.pipeline import Cut, Schooling, example_of
from reconv.pipeline.config import ALL_SCHEMES
from reconv.pipeline.inputs import RANDOM, SHIPPED
from reconv.plan import RESCALINGS, Budget, Limits
from reconv.saliency import criterion_named
from reconv.training import parse_overrides, process_count
from reconv.zoo import find_trained

_SMALL_IMAGES = 64  # pixels a side


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
    reverse: bool
    rescale: str = "mean"
    minimum: int = 1
    multiple: int = 1
    limit: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

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
        if self.scheme not in ALL_SCHEMES:
            raise unknown_name("scheme", self.scheme, ALL_SCHEMES)
        if self.rescale not in RESCALINGS:
            raise unknown_name("rescale", self.rescale, RESCALINGS)
        if self.rescale != "mean" and self.scheme not in ("global", "knapsack"):
            raise ConfigError(
                f"--rescale {self.rescale}: {self.scheme} compares no scores of different layers; "
                "give --scheme global or knapsack, or leave it out"
            )
        if self.prune_cfg is not None and self.coupled:
            raise ConfigError("--coupled: the paper's configurations leave residual streams whole; give --budget")
        return Cut(
            criterion=criterion_named(self.metric).name,
            direction=self.direction,  # type: ignore[arg-type]  # checked above
            exact=self.exact,
            scores=None if self.scores is None else str(self.scores),
            budget=budget,
            recipe=self.prune_cfg,
            scheme=self.scheme,
            coupled=self.coupled,
            reverse=self.reverse,
            limits=Limits.parse(self.minimum, self.multiple, self.limit or (), self.exclude or ()),
            rescale=self.rescale,
        )


def repairs(asked: bool | None, recalibrate: int, data_set: str) -> bool:
    """Whether a run repairs: as asked, else where that takes seconds, which large images do not allow."""
    if asked is not None:
        return asked
    return not recalibrate and max(example_of(data_set)[0].shape[2:]) <= _SMALL_IMAGES


def schooling(
    protocol: str,
    epochs: int | None = None,
    batch_size: int | None = None,
    changes: Sequence[str] | None = None,
    *,
    compiled: bool = False,
    teacher: str | None = None,
) -> Schooling:
    """A training as options say it.

    Raises:
        ConfigError: a change that is none, or that an option of its own says otherwise. UnknownNameError: of a key.
    """
    keys = parse_overrides(changes or ())
    if compiled:
        keys["compile"] = True
    for key, option in (("epochs", epochs), ("batch_size", batch_size)):
        if key in keys and option is not None and keys[key] != option:
            raise ConfigError(f"{key}: {option} and, by --set, {keys[key]}; give one of them")
    return Schooling(protocol, epochs, batch_size, keys, teacher)


def starting_weights(
    given: Path | None, model: str, data_set: str, arguments: Mapping[str, Any] | None = None
) -> str | None:
    """The weights that a network starts from: those given, else those that come with reconv, else none.

    Args:
        given: a file; "none" or "scratch" for random weights although trained ones come with reconv.
        model, data_set: names.
        arguments: of the model; with any, those that come with reconv do not fit.
    """
    if given is not None:
        return given_weights(given)
    return SHIPPED if not arguments and find_trained(model, data_set) else None


def given_weights(given: Path | None) -> str | None:
    """The weights that were given; None for "none" and "scratch", which ask for random ones."""
    return None if given is None or str(given).lower() in RANDOM else str(given)


def text(path: Path | None) -> str | None:
    """A path as the configuration holds it."""
    return None if path is None else str(path)


def model_arguments(shortcut: str | None) -> dict[str, Any]:
    """Arguments of the model that options name."""
    return {} if shortcut is None else {"shortcut": shortcut}


def output_path(given: Path | None, resume: bool, *words: str) -> Path:
    """The folder to write to: the one given, else the first free `runs/<words>`.

    Raises:
        ConfigError: `--resume`, or several processes, without a folder.
    """
    if given is not None:
        return given
    if process_count() > 1:
        raise ConfigError(f"{process_count()} processes: they have to agree on a folder; give --save-path P")
    if resume:
        raise ConfigError("--resume: of which run? Give its folder: --save-path P")
    name = "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in Path(word).name) for word in words)
    numbered = (Path("runs") / (name if i == 1 else f"{name}-{i}") for i in range(1, 1_000_000))
    return next(path for path in numbered if not path.exists())


def check_one_process(command: str) -> None:
    """Refuse to do the same work in each of several processes.

    Raises:
        ConfigError: a launcher started several.
    """
    if process_count() > 1:
        raise ConfigError(
            f"{command}: {process_count()} processes; train and finetune share their work among several, "
            f"{command} is done by one: start it without the launcher"
        )


def this_command() -> str:
    """The command line that this process was given, for the report."""
    return shlex.join(["reconv", *sys.argv[1:]])
