"""From options, as the command line gives them, to what the stages take."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconv.compression import Compression
from reconv.errors import ConfigError
from reconv.mappings import to_mapping
from reconv.networks import RANDOM, SHIPPED, example_of
from reconv.plan import Budget, Limits
from reconv.saliency import criterion_named
from reconv.steps import Finetune, Recalibrate, Repair, Step, TrainConfig
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

    def compression(self, **more: Any) -> Compression:
        """What they say, with what else a compression has.

        Raises:
            UnknownNameError: a criterion, direction or scheme that there is not. ConfigError: what cannot be.
        """
        if self.budget and self.prune_cfg is not None:
            raise ConfigError("--budget and --prune-cfg: both given; give one of them")
        options = {
            "criterion": criterion_named(self.metric).name,
            "direction": self.direction,
            "exact": self.exact,
            "scores": None if self.scores is None else str(self.scores),
            "budget": Budget.parse(self.budget) if self.budget else None,
            "recipe": self.prune_cfg,
            "scheme": self.scheme,
            "coupled": self.coupled,
            "reverse": self.reverse,
            "limits": Limits.parse(self.minimum, self.multiple, self.limit or (), self.exclude or ()),
            "rescale": self.rescale,
        }
        return Compression.from_mapping(to_mapping(options | more), "options")


def repairs(asked: bool | None, recalibrate: int, data_set: str) -> bool:
    """Whether a run repairs: as asked, else where that takes seconds, which large images do not allow."""
    if asked is not None:
        return asked
    return not recalibrate and max(example_of(data_set)[0].shape[2:]) <= _SMALL_IMAGES


def after(repair: bool, recalibrate: int, finetune: TrainConfig) -> list[Step]:
    """The steps after pruning that options ask for; a repair sets what recalibrating would."""
    assert isinstance(finetune, Finetune)
    first: list[Step] = [Repair()] if repair else [Recalibrate(recalibrate)] if recalibrate else []
    return [*first, finetune]


def schooling(
    kind: type[TrainConfig],
    protocol: str,
    epochs: int | None = None,
    batch_size: int | None = None,
    changes: Sequence[str] | None = None,
    *,
    compiled: bool = False,
    teacher: str | None = None,
) -> TrainConfig:
    """A training as options say it, of a kind.

    Raises:
        ConfigError: a change that is none, or that an option of its own says otherwise. UnknownNameError: of a key.
    """
    keys = parse_overrides(changes or ())
    if compiled:
        keys["compile"] = True
    for key, option in (("epochs", epochs), ("batch_size", batch_size)):
        if key in keys and option is not None and keys[key] != option:
            raise ConfigError(f"{key}: {option} and, by --set, {keys[key]}; give one of them")
    return kind(protocol, epochs, batch_size, keys, teacher)


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
