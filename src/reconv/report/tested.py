"""What two networks answered to the same images: who confuses what, and which answers changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reconv.report.png import data_uri
from reconv.significance import mcnemar

_MOST_CLASSES = 20  # that a table of all pairs is readable for
_PAIRS = 20  # most frequent confusions, for more classes


@dataclass(frozen=True)
class Confusion:
    """Images of class `truth` that were answered `answer`: by the network before, and after."""

    truth: str
    answer: str
    before: int
    after: int


@dataclass(frozen=True)
class Changed:
    """An image whose answer changed much.

    Args:
        index: in the split. picture: a `data:` address. truth: its class.
        before, after: the answers. sure_before, sure_after: the probabilities that the networks gave them.
        distance: total variation between both networks' probabilities, 0 to 1.
    """

    index: int
    picture: str
    truth: str
    before: str
    sure_before: float
    after: str
    sure_after: float
    distance: float


@dataclass(frozen=True)
class Tested:
    """Both networks on the same images.

    Args:
        split, images: which, how many. classes: all names, where there are few enough for a table of all pairs.
        confusions: pairs of classes; all that occur, or the most frequent mistakes.
        changed: images whose answers changed most.
        only_before, only_after: images that only one network got right. p_value: McNemar's exact test of that.
    """

    split: str
    images: int
    classes: tuple[str, ...]
    confusions: tuple[Confusion, ...]
    changed: tuple[Changed, ...]
    only_before: int
    only_after: int
    p_value: float

    def cell(self, truth: str, answer: str) -> Confusion | None:
        """The pair, if it occurs."""
        return next((pair for pair in self.confusions if (pair.truth, pair.answer) == (truth, answer)), None)


def tested(
    split: str, before: Tensor, after: Tensor, labels: Tensor, names: Sequence[str], pictures: Sequence[Tensor] | None
) -> Tested:
    """Compare two networks' answers.

    Args:
        split: its name. before, after: probabilities `[n, classes]`. labels: int64 `[n]`. names: of the classes.
        pictures: uint8 `[C, H, W]` of the images that `most_changed` names, in that order; None: no pictures.
    """
    answers = before.argmax(1), after.argmax(1)
    few = len(names) <= _MOST_CLASSES
    only_before, only_after, p_value = mcnemar((answers[0] == labels).numpy(), (answers[1] == labels).numpy())
    distances = _distances(before, after)
    changed = []
    for place, index in enumerate(most_changed(before, after)):
        one, other = int(answers[0][index]), int(answers[1][index])
        changed.append(
            Changed(
                index,
                "" if pictures is None else data_uri(pictures[place]),
                names[int(labels[index])],
                names[one],
                float(before[index, one]),
                names[other],
                float(after[index, other]),
                float(distances[index]),
            )
        )
    pairs = _pairs(answers, labels, names)
    if not few:
        wrong = [pair for pair in pairs if pair.truth != pair.answer]
        pairs = sorted(wrong, key=lambda pair: -max(pair.before, pair.after))[:_PAIRS]
    return Tested(
        split,
        len(labels),
        tuple(names) if few else (),
        tuple(pairs),
        tuple(changed),
        only_before,
        only_after,
        p_value,
    )


def most_changed(before: Tensor, after: Tensor, number: int = 10) -> list[int]:
    """The images whose probabilities changed most, in total variation; most first."""
    order = torch.argsort(_distances(before, after), descending=True, stable=True)
    found: list[int] = order[:number].tolist()
    return found


def _distances(before: Tensor, after: Tensor) -> Tensor:
    return (before - after).abs().sum(1) / 2


def _pairs(answers: tuple[Tensor, Tensor], labels: Tensor, names: Sequence[str]) -> list[Confusion]:
    n = len(names)
    counts = [torch.bincount(labels * n + answer, minlength=n * n).tolist() for answer in answers]
    return [
        Confusion(names[i // n], names[i % n], one, other)
        for i, (one, other) in enumerate(zip(*counts, strict=True))
        if one or other
    ]
