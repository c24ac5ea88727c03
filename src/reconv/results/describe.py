"""What a compression was asked for, and what its scores are, as text for a report."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from reconv.budget import Limits
from reconv.compression import ALLOCATED, Compression
from reconv.plan import Plan
from reconv.report.numbers import counted
from reconv.saliency import Criterion
from reconv.steps import FINETUNING, Step

_TURNED = {
    "backward": "of the kernels that read a channel (backward)",
    "reversed": "reversed: the lowest scores stay, a control",
}


# Options that have words of their own below; a new one is named by its field.
_IN_WORDS = (
    *("criterion", "direction", "exact", "scores", "budget", "recipe", "scheme", "coupled", "reverse", "limits"),
    *("rounds", "between", "images", "calibration", "verify", "after", "seed"),
)


def describe(compression: Compression, plan: Plan, data_set: str) -> dict[str, str]:
    """What was asked for, by name; what was not asked for is left out, but for repair and fine-tuning.

    Args:
        compression: of the compression. plan: that came of it. data_set: its name, by which protocols are chosen.
    """
    amount = f"the paper's recipe {compression.recipe}" if compression.budget is None else compression.budget.describe()
    source = compression.calibration or "training"
    steps = [(step, *step.describe(compression.images, source, data_set)) for step in compression.after]
    settings = {
        "criterion": _criterion(compression, plan),
        "amount": amount,
        "scheme": _scheme(plan.scheme) + (", residual streams too" if compression.coupled else ""),
        "limits": _limits(compression.limits) if compression.limits != Limits() else "",
        "rounds": _rounds(compression, data_set),
        **{name: text for name, text in changes(compression).items() if name not in _IN_WORDS},
        "repair": "none",
        FINETUNING: "none",
        **{name: text + other_options(step) for step, name, text in steps},
        "proof": "" if compression.verify is None else "asked for" if compression.verify else "left out",
        "seed": str(compression.seed),
    }
    return {name: text for name, text in settings.items() if text}


def changes(options: Any) -> dict[str, str]:
    """The options of a compression, or of a step, that are not as by default, by name."""
    default, names = type(options)(), [field.name for field in fields(options)]
    return {name: str(getattr(options, name)) for name in names if getattr(options, name) != getattr(default, name)}


def other_options(step: Step) -> str:
    """The options of a step that its own description leaves out."""
    return "".join(f", {name}={text}" for name, text in changes(step).items() if name not in step.described)


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
