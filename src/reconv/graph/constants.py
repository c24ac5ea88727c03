"""Tensors that a forward makes of numbers alone are computed, even where nothing else has data.

Position tables, strides, masks, `torch.tensor(x.shape[1])`: none of them depends on the input or on a parameter. With
real numbers in them, code may read their values, caches that the model's code keeps outside of it hold what a real pass
would have put there, and a dry run sees where such a number counts channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily

# Elements; what is larger is not computed.
LIMIT = 1 << 24
SNAPSHOT = 1 << 16

Place = tuple[str, tuple[str, int]]  # an operator, and the line of the model's code that ran it


class FilledError(BaseException):  # no `except Exception` in the model's code may stop it
    """A constant is written over by what depends on the input: where it was made, it has to be made without data."""

    def __init__(self, place: Place):
        super().__init__(f"filled: {place}")
        self.place = place


class Constants:
    """Which tensors of a run are constants.

    Args:
        fake: the mode of a run without data; None: everything has data.
        filled: places at which a tensor is made that is written over later; None: no constant is computed.
        varying: ids of the tensors that a run with data starts from: input, parameters, buffers.
    """

    def __init__(self, fake: FakeTensorMode | None, filled: frozenset[Place] | None, varying: set[int]):
        self.fake = fake
        self.filled = filled
        self.varying = varying
        self.made: dict[int, Place] = {}
        self.outdated: set[int] = set()  # written over in a copy only

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor is a constant."""
        if self.fake is not None:
            return not isinstance(tensor, FakeTensor) and id(tensor) not in self.outdated
        return id(tensor) not in self.varying

    def known(self, tensors: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """What is known of the values of an operator's tensors, as they are now; () where it is nothing."""
        held = [tensor if self.holds(tensor) else None for tensor in tensors]
        if all(tensor is None for tensor in held):
            return ()
        with unset_fake_temporarily():
            return tuple(t.clone() if t is not None and t.numel() <= SNAPSHOT else t for t in held)

    def compute(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], tensors: Sequence[Tensor], place: Place
    ) -> Any:
        """What an operator gives of constants; None where that is not known.

        Raises:
            FilledError: it writes what is no constant over one.
        """
        written = [t for t in _written(func, args, kwargs) if self.holds(t)]
        if self.fake is None:
            return None
        foreign = [t for t in written if id(t) not in self.made]
        self.outdated.update(map(id, foreign))  # the caller's own: they stay as they are
        if not all(map(self.holds, tensors)):
            filled = next((self.made[id(t)] for t in written if id(t) in self.made), None)
            if filled is not None:
                raise FilledError(filled)
            return None
        if self.filled is None or place in self.filled or _is_drawn(func):
            return None
        sizes = [t.numel() for t in tensors] or [_elements(func(*args, **kwargs))]
        if sum(sizes) > LIMIT:
            return None
        with unset_fake_temporarily():
            return func(*args, **kwargs)

    def note(self, func: Any, outputs: Sequence[Tensor], tensors: Sequence[Tensor], place: Place) -> None:
        """Remember what an operator gave: a view of a constant was made where that was."""
        origins = [self.made[id(t)] for t in tensors if id(t) in self.made]
        if all(map(self.holds, tensors)) and not _is_drawn(func):
            self.made.update((id(t), (origins or [place])[0]) for t in outputs if self.holds(t))
        elif self.fake is None:
            self.varying.update(map(id, outputs))
            if func._schema.is_mutable:  # with its views, and what it is a view of
                self.varying.update(i for i, origin in self.made.items() if origin in origins)


def _is_drawn(func: Any) -> bool:
    """Whether what an operator gives is random, or not written yet."""
    return torch.Tag.nondeterministic_seeded in func.tags or "empty" in func._opname


def _elements(outputs: Any) -> int:
    return outputs.numel() if isinstance(outputs, Tensor) else 0


def _written(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    if not func._schema.is_mutable:
        return []
    values = [args[place] for place in _written_places(func) if place < len(args)]
    values += [kwargs[name] for name in _written_names(func) if name in kwargs]
    return [value for value in values if isinstance(value, Tensor)]


@lru_cache(maxsize=1024)
def _written_places(func: Any) -> tuple[int, ...]:
    arguments = enumerate(func._schema.arguments)
    return tuple(i for i, a in arguments if a.alias_info is not None and a.alias_info.is_write)


@lru_cache(maxsize=1024)
def _written_names(func: Any) -> tuple[str, ...]:
    return tuple(a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write)
