"""What a run was asked, in words, for its report."""

from __future__ import annotations

from reconv.pipeline.config import RunConfig, Schooling
from reconv.pipeline.looking import BY_WEIGHTS, WEIGHTS
from reconv.plan import ALLOCATED, Budget, Limits, Plan
from reconv.plan.budget import shown
from reconv.report.numbers import counted

_NAMES = {
    "macs": "MACs",
    "params": "parameters",
    "channels": "channels that may go",
    "size": "file",
    "memory": "activations' memory",
    "latency": "latency",
}
_COUNTED = ("macs", "params", "channels")


def asked(config: RunConfig, plan: Plan) -> dict[str, str]:
    """What a run was asked, by name; what it was not asked at all is left out, but for repair and fine-tuning."""
    choice, limits = config.cut, config.cut.limits
    amount = f"the paper's configuration {choice.recipe}" if choice.budget is None else _amount(choice.budget)
    told = {
        "network": f"{config.model}, {config.weights or 'trained here'}",
        "images": config.data_set,
        "criterion": plan.criterion + (f", from {choice.scores}" if choice.scores else ""),
        "amount": amount,
        "scheme": _scheme(plan.scheme) + (", residual streams too" if choice.coupled else ""),
        "limits": _limits(limits) if limits != Limits() else "",
        "rounds": f"{config.rounds}, {_described(config.between)} between them" if config.rounds > 1 else "",
        "BatchNorm": f"statistics of {config.recalibrate:,} training images" if config.recalibrate else "",
        "repair": _repair(config) if config.repair else "none",
        "fine-tuning": _described(config.finetune),
        "seed": str(config.seed),
    }
    return {name: text for name, text in told.items() if text}


def _amount(budget: Budget) -> str:
    """A budget in words: "at most 50 % of the MACs"."""
    parts = (
        f"{100 * value:g} % of the {_NAMES[name]}"
        if value < 1
        else f"{shown(name, value)} {_NAMES[name] if name in _COUNTED else f'of {_NAMES[name]}'}"
        for name, value in budget.limits.items()
    )
    return f"at most {' and '.join(parts)}"


def _scheme(scheme: str) -> str:
    words = {
        "uniform": "the same share of every layer",
        ALLOCATED: "widths by the error that they are predicted to make",
    }
    return f"{scheme}: {words[scheme]}" if scheme in words else scheme


def _limits(limits: Limits) -> str:
    told = [f"at least {counted(limits.minimum, 'channel')} a layer"] if limits.minimum > 1 else []
    told += [f"multiples of {limits.multiple}"] if limits.multiple > 1 else []
    told += [
        f"{pattern} left whole" if share == 0 else f"at most {100 * share:g} % of {pattern} may go"
        for pattern, share in limits.most.items()
    ]
    return ", ".join(told)


def _described(schooling: Schooling) -> str:
    if schooling.epochs == 0:
        return "none"
    epochs = f", {counted(schooling.epochs, 'epoch')}" if schooling.epochs else ""
    return f"protocol {schooling.protocol}{epochs}" + (", distilled" if schooling.teacher else "")


def _repair(config: RunConfig) -> str:
    if config.calibration == WEIGHTS:
        return BY_WEIGHTS
    return f"on {config.images:,} images ({config.calibration or 'training'})"
