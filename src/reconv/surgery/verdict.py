"""What a proof says: a number, its tolerance, and why it says nothing where it does not."""

from __future__ import annotations

import math

TOLERANCE = 1e-10  # of a proof in float64; rounding alone gives about 1e-15


class Proof(float):
    """How far removing is from zeroing: a number, with how it was found.

    The number is the largest difference of the outputs, relative to the largest output: about 1e-15 for a right cut,
    infinite where the pruned network does not run, and not a number (so that no comparison holds) where nothing can be
    said.

    Args:
        tolerance: what rounding may be. dtype: in which the networks ran.
        undecided: why nothing can be said; "" where the proof is decided.
        note: what else should be known; "" for nothing.

    Example:
        >>> from reconv.surgery import Proof
        >>> Proof(1.3e-15)
        Proof(1.3e-15 of at most 1e-10, in float64)
        >>> Proof(1.3e-15).holds
        True
    """

    tolerance: float
    dtype: str
    undecided: str
    note: str

    def __new__(
        cls,
        value: float = math.nan,
        tolerance: float = TOLERANCE,
        dtype: str = "float64",
        undecided: str = "",
        note: str = "",
    ) -> Proof:
        proof = super().__new__(cls, value)
        proof.tolerance, proof.dtype, proof.undecided, proof.note = tolerance, dtype, undecided, note
        return proof

    @property
    def holds(self) -> bool:
        """Whether removing is zeroing, up to rounding."""
        return bool(self <= self.tolerance)

    def __repr__(self) -> str:
        if self.undecided:
            return f"Proof(undecided: {self.undecided})"
        note = f"; {self.note}" if self.note else ""
        return f"Proof({float(self):.3g} of at most {self.tolerance:.3g}, in {self.dtype}{note})"
