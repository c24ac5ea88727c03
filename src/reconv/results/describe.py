"""What a compression was asked for, and what its scores are, as text for a report."""

from __future__ import annotations

from reconv.budget import Limits
from reconv.compression import ALLOCATED, Compression
from reconv.plan import Plan
from reconv.report.numbers import counted
from reconv.saliency import Criterion
from reconv.steps import FINETUNING

_TURNED = {
    "backward": "of the kernels that read a channel (backward)",
    "reversed": "reversed: the lowest scores stay, a control",
}


def describe(compression: Compression, plan: Plan, data_set: str) -> dict[str, str]:
    """What was asked for, by name; what was not asked for is left out, but for repair and fine-tuning.

    Args:
        compression: of the compression. plan: that came of it. data_set: its name, by which protocols are chosen.
    """
    amount = f"the paper's recipe {compression.recipe}" if compression.budget is None else compression.budget.describe()
    source = compression.calibration or "training"
    steps = dict(step.describe(compression.images, source, data_set) for step in compression.after)
    settings = {
        "criterion": _criterion(compression, plan),
        "amount": amount,
        "scheme": _scheme(plan.scheme) + (", residual streams too" if compression.coupled else ""),
        "limits": _limits(compression.limits) if compression.limits != Limits() else "",
        "rounds": f"{compression.rounds}, {compression.between.text(data_set)} between them"
        if compression.rounds > 1
        else "",
        "repair": "none",
        FINETUNING: "none",
        **steps,
        "proof": "" if compression.verify is None else "asked for" if compression.verify else "left out",
        "seed": str(compression.seed),
    }
    return {name: text for name, text in settings.items() if text}


def _rounds(compression: Compression, data_set: str) -> str:
    if compression.rounds == 1:
        return ""
    return f"{compression.rounds}, {compression.between.text(data_set)} between them"


def _scheme(scheme: str) -> str:
    words = {
        "uniform": "the same share of every layer",
        ALLOCATED: "widths by the error that they are predicted to make",
    }
    return f"{scheme}: {words[scheme]}" if scheme in words else scheme


def _limits(limits: Limits) -> str:
    parts = [f"at least {counted(limits.minimum, 'channel')} per layer"] if limits.minimum > 1 else []
    parts += [f"multiples of {limits.multiple}"] if limits.multiple > 1 else []
    parts += [
        f"{pattern} left unpruned" if share == 0 else f"at most {100 * share:g} % of {pattern} may go"
        for pattern, share in limits.most.items()
    ]
    return ", ".join(parts)


def _criterion(compression: Compression, plan: Plan) -> str:
    name, *turned = plan.criterion.split(", ")
    parts = [
        name,
        f"from {compression.scores}" if compression.scores else "",
        *(_TURNED.get(word, word) for word in turned),
    ]
    return ", ".join(filter(None, [*parts, "by the dense algorithm" if compression.exact else ""]))


def describe_scores(criterion: str, scores: str | None = None) -> str:
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
