"""Prove a cut: removing channels must compute what zeroing them computes.

The removed entries of every parameter are zeroed in a copy of the big network; it and the cut one must then agree in
float64. So that no dead unit, no zero head, no fresh statistic and no tiny layer scale hides an error, both networks
are first perturbed by the same random numbers (`perturb.py`): the proof is of the cut, whatever the weights.

Where the two differ, or cannot run in float64, they run once more with their random numbers and close decisions
aligned (`aligned.py`), then in float32 and in their own precision, where rounding is measured. What does not run on
random input is given the example. Where nothing of this decides, the result says why.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.errors import GraphError, check_kind
from reconv.surgery.cut import Removal, check_plan
from reconv.surgery.over_kept import OtherPassError
from reconv.surgery.pair import CannotRunError, DoesNotFollowError, NothingError, Pair, Setting, Source, Way
from reconv.surgery.perturb import Strength
from reconv.surgery.verdict import Proof


def verify(model: nn.Module, small: nn.Module, plan: Removal, seed: int = 0, inputs: Any = None) -> Proof:
    """How far removing is from zeroing, in float64 where the network can.

    Both networks are perturbed by the same random numbers and see the same random input of the traced shape (whole
    numbers of the example stay, but for images in bytes). Norms over channels, and statistics that keep their axis,
    run over those that stay. A forward that draws random numbers draws the same in both.

    Args:
        model: the big network. small: what `prune` made of it, before anything else changed it.
        plan: of the cut.
        seed: of all random numbers.
        inputs: in the form of the example, such as a real image for a detector that finds nothing in noise; None:
            random numbers.

    Returns:
        The largest difference of the outputs, relative to the largest output, with its tolerance; a number, which is
        not a number where the proof is `undecided`. Rounding alone gives about 1e-15.

    Raises:
        WrongKindError: an argument of another kind. GraphError: the model holds no numbers, or `small` is not what the
            plan leaves.

    Example:
        >>> import reconv, torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> graph = reconv.trace(model, torch.zeros(1, 3, 8, 8))
        >>> plan = reconv.choose(graph, reconv.score(graph), reconv.Budget(macs=0.5))
        >>> reconv.verify(model, reconv.prune(model, plan), plan) < 1e-12
        True
    """
    check_kind("verify: model", model, nn.Module)
    check_kind("verify: small", small, nn.Module)
    check_plan("verify: plan", plan)
    if any(t.is_meta for t in model.parameters()):
        raise GraphError(f"{type(model).__name__}: on the meta device there is nothing to compute; load weights first")
    with _generators_kept(), torch.no_grad():
        return _Prover(model, small, plan, seed, inputs).prove()


@contextmanager
def _generators_kept() -> Iterator[None]:
    """PyTorch's, Python's and NumPy's random numbers go on afterwards where they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  (what the model's own code draws from)
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


_STRONG = 4  # times
_STRENGTHS: tuple[Strength, ...] = ("full", "factors")


@dataclass(eq=False)
class _Prover:
    """A proof, tried in one way after the other."""

    model: nn.Module
    small: nn.Module
    plan: Removal
    seed: int
    given: Any

    def prove(self) -> Proof:
        undecided: list[str] = []
        nan: Proof | None = None
        for setting in self._settings():
            try:
                proof, whole = self._in_setting(setting)
            except (CannotRunError, NothingError, OtherPassError) as error:
                undecided.append(str(error))
                continue
            if whole:
                return proof
            nan = proof if nan is None else nan  # where some outputs are not numbers, try further
        return nan if nan is not None else Proof(undecided=self._advice(undecided[0]))

    def _settings(self) -> list[Setting]:
        sources: list[Source] = ["given"]
        if self.given is None:
            tensors = [t for t in pytree.tree_leaves(self.plan.graph.inputs) if isinstance(t, Tensor)]
            # An example of zeros alone would hide what weights do.
            says = all(t.is_meta or not t.is_floating_point() or bool((t != t.mean()).any()) for t in tensors)
            sources = ["normal", "uniform", "given"] if says else ["normal", "uniform"]
        found = [(source, strength) for source in sources for strength in _STRENGTHS]
        found += [("given", "slight")] if "given" in sources else []
        found += [("normal", "strong")] * _STRONG if self.given is None else []
        return [Setting(source, strength, number) for number, (source, strength) in enumerate(found)]

    def _ways(self) -> list[Way]:
        own = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)
        others = dict.fromkeys([torch.float32, own])
        others.pop(torch.float64, None)
        return [Way(torch.float64, False), Way(torch.float64, True), *(Way(dtype, True) for dtype in others)]

    def _advice(self, why: str) -> str:
        if self.given is not None:
            return f"{why}; give other inputs"
        return f"{why}; give inputs of your data: verify(..., inputs=...)"

    def _in_setting(self, setting: Setting) -> tuple[Proof, bool]:
        """The proof, and whether all outputs were numbers.

        Raises:
            CannotRunError, NothingError, OtherPassError: nothing can be said in this setting.
        """
        first: tuple[Proof, bool] | None = None
        why: Exception | None = None
        for way in self._ways():
            if first is not None and not way.aligned:
                break
            if first is not None and way.dtype is not torch.float64:
                break  # it ran in float64: other precisions tell less
            try:
                found = Pair(self, way, setting).compare()
            except (CannotRunError, OtherPassError) as error:
                why = why or error
                continue
            except DoesNotFollowError as error:
                found = Proof(math.inf, note=f"the pruned network does not run: {error}"), True
            if found[0].holds or found[0].undecided:
                return found
            first = first or found
        if first is None:
            assert why is not None
            raise why
        return first
