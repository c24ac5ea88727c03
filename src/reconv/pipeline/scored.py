"""What the scores of a criterion are, in words: a report shows numbers, and these say of what."""

from __future__ import annotations

from reconv.saliency import Criterion


def scored_by(criterion: str, scores: str | None = None) -> str:
    """What the scores are, their unit, and where they come from.

    Args:
        criterion: as a plan names it, such as "nuclear, backward". scores: the file that they were read from, if any.
    """
    name, *options = criterion.split(", ")
    row = Criterion.registry.get(name)
    needs = row.needs if row else frozenset()
    source = "drawn by the seed" if "seed" in needs else "computed from the weights"
    source = source if needs.isdisjoint(("moments", "gradients")) else "from images"
    read = ["of the kernels that read the channel"] if "backward" in options else []
    unit = (row and row.unit) or "no unit"
    return "; ".join([row.meaning if row else name, *read, f"{unit}, {f'read from {scores}' if scores else source}"])
