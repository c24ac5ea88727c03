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


def describe(how: Compression, plan: Plan, data_set: str) -> dict[str, str]:
    """What was asked for, by name; what was not asked for is left out, but for repair and fine-tuning.

    Args:
        how: of the compression. plan: that came of it. data_set: its name, by which protocols are chosen.
    """
    amount = f"the paper's recipe {how.recipe}" if how.budget is None else how.budget.describe()
    source = how.calibration or "training"
    steps = dict(step.describe(how.images, source, data_set) for step in how.after)
    settings = {
        "criterion": _criterion(how, plan),
        "amount": amount,
        "scheme": _scheme(plan.scheme) + (", residual streams too" if how.coupled else ""),
        "limits": _limits(how.limits) if how.limits != Limits() else "",
        "rounds": f"{how.rounds}, {how.between.text(data_set)} between them" if how.rounds > 1 else "",
        "repair": "none",
        FINETUNING: "none",
        **steps,
        "proof": "" if how.verify is None else "asked for" if how.verify else "left out",
        "seed": str(how.seed),
    }
    return {name: text for name, text in settings.items() if text}


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


def _criterion(how: Compression, plan: Plan) -> str:
    name, *turned = plan.criterion.split(", ")
    parts = [name, f"from {how.scores}" if how.scores else "", *(_TURNED.get(word, word) for word in turned)]
    return ", ".join(filter(None, [*parts, "by the dense algorithm" if how.exact else ""]))


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
