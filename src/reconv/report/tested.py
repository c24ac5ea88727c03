"""What two networks answered to the same images: who confuses what, and which answers changed."""

from __future__ import annotations

from dataclasses import dataclass


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
        gain: ends of the 95 % interval, by the paired bootstrap, of the accuracy after less that before; None where it
            was not kept.
    """

    split: str
    images: int
    classes: tuple[str, ...]
    confusions: tuple[Confusion, ...]
    changed: tuple[Changed, ...]
    only_before: int
    only_after: int
    p_value: float
    gain: tuple[float, float] | None = None

    @property
    def is_noise(self) -> bool:
        """Whether the two accuracies cannot be told apart."""
        return self.gain is not None and self.gain[0] <= 0 <= self.gain[1]

    @property
    def answers_changed(self) -> int:
        """How many of the images that are shown got another answer."""
        return sum(image.before != image.after for image in self.changed)

    def cell(self, truth: str, answer: str) -> Confusion | None:
        """The pair, if it occurs."""
        return next((pair for pair in self.confusions if (pair.truth, pair.answer) == (truth, answer)), None)
