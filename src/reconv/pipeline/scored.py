"""What the scores of a criterion are, in words: a report shows numbers, and these say of what."""

from __future__ import annotations

from reconv.refit import IMAGE_CRITERIA
from reconv.saliency import CRITERIA

_MATRIX = "of the channel's convolution matrix"
_NORMS = {
    "spectral": f"spectral norm {_MATRIX}, its largest singular value",
    "nuclear": f"nuclear norm {_MATRIX}, the sum of its singular values",
    "frobenius": f"Frobenius norm {_MATRIX}, the root of the sum of its squared singular values",
}


def scored_by(criterion: str, scores: str | None = None) -> str:
    """What the scores are, their unit, and where they come from.

    Args:
        criterion: as a plan names it, such as "nuclear, backward". scores: the file that they were read from, if any.
    """
    name, *turned = criterion.split(", ")
    if name in IMAGE_CRITERIA:
        what, unit, source = IMAGE_CRITERIA[name].removesuffix(" (from images)"), "as a share of energy", "from images"
    else:
        row = CRITERIA.get(name)
        what, unit, source = _NORMS.get(name) or (row.meaning if row else name), "no unit", "computed from the weights"
        source = "drawn by the seed" if name == "random" else source
    read = ["of the kernels that read the channel"] if "backward" in turned else []
    return "; ".join([what, *read, f"{unit}, {f'read from {scores}' if scores else source}"])
