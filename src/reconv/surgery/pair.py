"""The two networks of a proof, run once in one way."""

from __future__ import annotations

import math
import random
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.graph.copies import copy_model
from reconv.graph.tracing import call_arguments, in_one_line
from reconv.surgery.aligned import Aligned, Recording
from reconv.surgery.cut import Removal
from reconv.surgery.outputs import difference, holds_nan, holds_numbers, tensors_of
from reconv.surgery.over_kept import OtherPassError, OverKept, ZeroWeightNorm
from reconv.surgery.perturb import Strength, perturb, zero_removed
from reconv.surgery.removal import WithBranches, WithoutBranches
from reconv.surgery.verdict import TOLERANCE, Proof

_ROUNDINGS = 64.0  # times what rounding was measured to change, in other precisions
_LARGEST_TOLERANCE = 1e-2  # above, a wrong cut could not be told from rounding
_COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}
Source: TypeAlias = Literal["normal", "uniform", "given"]


class Networks(Protocol):
    """What is to be compared: the networks, the plan, a seed, and inputs if any are given."""

    model: nn.Module
    small: nn.Module
    plan: Removal
    seed: int
    given: Any


@dataclass(frozen=True)
class Way:
    """A way to run both networks.

    Args:
        dtype: of parameters and inputs. aligned: with random numbers and close decisions alike.
    """

    dtype: torch.dtype
    aligned: bool


@dataclass(frozen=True)
class Setting:
    """What both networks are given.

    Args:
        source: random numbers, normal or between 0 and 1; or what was given, else the example.
        strength: of the perturbation. number: of the setting, so that each has other random numbers.
    """

    source: Source
    strength: Strength
    number: int = 0

    @property
    def drawn(self) -> bool:
        return self.source != "given"


class CannotRunError(Exception):
    """The whole network does not run."""


class NothingError(Exception):
    """The whole network gives nothing to compare, in whatever precision."""


class DoesNotFollowError(Exception):
    """The whole network runs, and the pruned one does not."""


class Pair:
    """Both networks, run in one way."""

    def __init__(self, networks: Networks, way: Way, setting: Setting):
        self.way, self.setting, self.plan, self.seed = way, setting, networks.plan, networks.seed
        self.name = type(networks.model).__name__
        self.generator = torch.Generator().manual_seed(networks.seed + setting.number)
        try:
            self.big, self.cut = (
                _in_precision(copy_model(m, own_runs=True), way.dtype).eval() for m in (networks.model, networks.small)
            )
        except (RuntimeError, TypeError) as error:  # a device without float64
            raise CannotRunError(in_one_line(error)) from error
        perturb(self.big, self.cut, self.plan, self.generator, setting.strength)
        self.masks = zero_removed(self.big, WithBranches(self.plan))
        self.by_user = networks.given is not None
        self.given = networks.given if self.by_user else networks.plan.graph.inputs
        self.recording = Recording(self.plan, self.seed, TOLERANCE if self._in_float64 else 1e3 * self._epsilon)

    @property
    def _in_float64(self) -> bool:
        return self.way.dtype is torch.float64

    @property
    def _epsilon(self) -> float:
        return float(torch.finfo(self.way.dtype).eps)

    def compare(self) -> tuple[Proof, bool]:
        """The proof, and whether all outputs were numbers."""
        inputs, others = self._inputs(), self._inputs(shaken=True)
        expected = self._expected(self.big, inputs)
        if not holds_numbers(expected):
            raise NothingError(f"{self.name}: {_nothing_in(expected)}")
        try:
            found = self._outputs(self.cut, inputs, repeats=True)
        except OtherPassError:
            raise
        except Exception as error:
            raise DoesNotFollowError(in_one_line(error)) from error
        distance = difference(expected, found)
        tolerance, why = self._tolerance(expected, inputs)
        proof = Proof(distance, tolerance, _name_of(self.way.dtype), note=self._note(tolerance))
        if not why and distance <= tolerance and not self.by_user and self._is_constant(found, others):
            raise NothingError(
                f"{self.name}: its outputs do not depend on its input; "
                "check the weights (a head of zeros?) and the example"
            )
        if not why and distance > tolerance and self.way.aligned:
            again = difference(expected, self._expected(self.big, inputs))
            if again > tolerance:
                why = f"its outputs differ by {again:.1e} from call to call, for the same input and random numbers"
        if why:
            proof = Proof(math.nan, tolerance, _name_of(self.way.dtype), f"{self.name}: {why}")
        return proof, not holds_nan(expected)

    def _is_constant(self, found: list[Tensor], others: Any) -> bool:
        """Whether another input gives the very same."""
        tensors = [t for t in pytree.tree_leaves(others) if isinstance(t, Tensor)]
        if not any(t.is_floating_point() or t.is_complex() or t.dtype is torch.uint8 for t in tensors):
            return False
        elsewhere = self._outputs(self.cut, others, repeats=False)
        return [t.shape for t in found] == [t.shape for t in elsewhere] and difference(found, elsewhere) == 0

    def _tolerance(self, expected: list[Tensor], inputs: Any) -> tuple[float, str]:
        """What rounding may be, and why that is too much to say anything."""
        if self._in_float64:
            return TOLERANCE, ""
        with torch.random.fork_rng():
            for tensor in self.big.parameters():
                if tensor.is_floating_point():
                    noise = torch.rand(tensor.shape, generator=self.generator, dtype=torch.float64)
                    tensor.mul_((1 + self._epsilon * (2 * noise - 1)).to(tensor.device, tensor.dtype))
        moved = difference(expected, self._expected(self.big, inputs))
        tolerance = _ROUNDINGS * max(moved, self._epsilon)
        if tolerance <= _LARGEST_TOLERANCE:
            return tolerance, ""
        return tolerance, (
            f"it runs in {_name_of(self.way.dtype)} only, where rounding alone changes its outputs by about {moved:.1e}"
        )

    def _note(self, tolerance: float) -> str:
        parts = []
        if not self._in_float64:
            parts.append(f"its forward does not run in float64; rounding may be {tolerance:.1e}")
        if self.way.aligned and self.recording.moved:
            parts.append(f"{self.recording.moved} decisions that hang on rounding were taken alike")
        return "; ".join(parts)

    # ---------------------------------------------------------------- forward passes

    def _inputs(self, *, shaken: bool = False) -> Any:
        """Random numbers in place of every tensor of floats and of bytes; or what was given, with noise if `shaken`."""
        device = next((p.device for p in self.big.parameters()), torch.device("cpu"))

        def fresh(tensor: Tensor) -> Tensor:
            dtype = _precision_of(tensor, self.way.dtype)
            if tensor.is_meta:
                tensor = torch.zeros(tensor.shape, dtype=tensor.dtype)
            if not self.setting.drawn:
                given = tensor.detach().to(device, dtype)
                if shaken and given.is_floating_point():
                    given = given + torch.randn(given.shape, generator=self.generator, dtype=torch.float64).to(given)
                return given
            if tensor.is_floating_point() or tensor.is_complex():
                wide = torch.complex128 if tensor.is_complex() else torch.float64
                draw = torch.randn if self.setting.source == "normal" else torch.rand
                return draw(tensor.shape, generator=self.generator, dtype=wide).to(device, dtype)
            if tensor.dtype is torch.uint8:
                return torch.randint(0, 256, tensor.shape, generator=self.generator, dtype=torch.uint8).to(device)
            return tensor.to(device)

        return pytree.tree_map_only(Tensor, fresh, self.given)

    def _expected(self, big: nn.Module, inputs: Any) -> list[Tensor]:
        """What the network gives whose removed channels are zero.

        Raises:
            CannotRunError: it does not run.
        """
        try:
            with ZeroWeightNorm(), WithoutBranches(self.plan), OverKept(WithBranches(self.plan), self.masks):
                return self._outputs(big, inputs, repeats=False)
        except OtherPassError as error:
            raise OtherPassError(
                f"{self.name}: {error}: its forward depends on the values of its input, or on its own state"
            ) from None
        except Exception as error:  # of the user's code, in another precision than it is used to
            raise CannotRunError(
                f"{self.name}: it does not run on {'random input' if self.setting.drawn else 'the input given'} "
                f"in {_name_of(self.way.dtype)} ({in_one_line(error)})"
            ) from error

    def _outputs(self, model: nn.Module, inputs: Any, *, repeats: bool) -> list[Tensor]:
        """Of one forward pass, which may change its input and draws the same random numbers each time."""
        args, kwargs = call_arguments(pytree.tree_map_only(Tensor, torch.clone, inputs))
        torch.manual_seed(self.seed)
        random.seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002
        with ExitStack() as modes:
            if self.way.aligned:
                if not repeats:
                    self.recording = Recording(self.plan, self.seed, self.recording.tolerance)
                modes.enter_context(Aligned(self.recording, repeats=repeats, double=self._in_float64))
            return [t.clone() for t in tensors_of(model(*args, **kwargs))]


def _in_precision(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    model._apply(lambda tensor: tensor.to(_precision_of(tensor, dtype)))
    return model


def _precision_of(tensor: Tensor, dtype: torch.dtype) -> torch.dtype:
    if tensor.is_complex():
        return _COMPLEX.get(dtype, tensor.dtype)
    return dtype if tensor.is_floating_point() else tensor.dtype


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _nothing_in(outputs: list[Tensor]) -> str:
    if not outputs:
        return "it returns no tensor and no number"
    return "its outputs are empty" if all(t.numel() == 0 for t in outputs) else "its outputs hold no finite number"
