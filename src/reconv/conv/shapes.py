"""Annotations of tensors with their shapes, such as `Float64[Tensor, "channels taps"]`.

Where jaxtyping has been imported before, as the tests do, it checks them at every call. Otherwise they are plain
`Tensor`, so that the engine neither needs jaxtyping nor imports it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool as Bool
    from jaxtyping import Complex128 as Complex128
    from jaxtyping import Float as Float
    from jaxtyping import Float64 as Float64
    from jaxtyping import Inexact as Inexact
    from jaxtyping import Int64 as Int64
else:

    class _Unchecked:
        def __class_getitem__(cls, _: Any) -> type[Tensor]:
            return Tensor

    Bool = Complex128 = Float = Float64 = Inexact = Int64 = _Unchecked
