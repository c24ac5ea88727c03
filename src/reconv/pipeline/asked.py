"""What a run was asked, in words, for its report."""

from __future__ import annotations

from reconv.data import DataSet
from reconv.pipeline.config import Cut, RunConfig, Schooling
from reconv.pipeline.inputs import BASE, is_trained
from reconv.plan import ALLOCATED, Limits, Plan
from reconv.report.numbers import counted
from reconv.training import load_protocol

_TURNED = {
    "backward": "of the kernels that read a channel (backward)",
    "reversed": "reversed: the lowest scores stay, a control",
}


def asked(config: RunConfig, plan: Plan, data: DataSet | None = None) -> dict[str, str]:
    """What a run was asked, by name; what it was not asked at all is left out, but for repair and fine-tuning.

    Args:
        config: of the run. plan: that came of it. data: its images, where they were loaded.
    """
    choice, limits = config.cut, config.cut.limits
    data_set = config.data_set if data is None else data.name  # by which protocols are chosen, wherever images lie
    amount = f"the paper's configuration {choice.recipe}" if choice.budget is None else choice.budget.describe()
    told = {
        "network": _network(config),
        "images": str(data or config.data_set),
        "base training": "" if is_trained(config) else _described(config.base, data_set),
        "criterion": _criterion(choice, plan),
        "amount": amount,
        "scheme": _scheme(plan.scheme) + (", residual streams too" if choice.coupled else ""),
        "limits": _limits(limits) if limits != Limits() else "",
        "rounds": f"{config.rounds}, {_described(config.between, data_set)} between them" if config.rounds > 1 else "",
        "BatchNorm": f"statistics of {config.recalibrate:,} training images" if config.recalibrate else "",
        "repair": _repair(config) if config.repair else "none",
        "fine-tuning": _described(config.finetune, data_set),
        "proof": "" if config.verify is None else "asked for" if config.verify else "left out",
        "seed": str(config.seed),
    }
    return {name: text for name, text in told.items() if text}


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


def _network(config: RunConfig) -> str:
    weights = config.weights or ("its own weights" if is_trained(config) else "trained here")
    return ", ".join([config.model, *(f"{name} {value}" for name, value in config.arguments.items()), weights])


def _criterion(cut: Cut, plan: Plan) -> str:
    name, *turned = plan.criterion.split(", ")
    told = [name, f"from {cut.scores}" if cut.scores else "", *(_TURNED.get(word, word) for word in turned)]
    return ", ".join(filter(None, [*told, "by the dense algorithm" if cut.exact else ""]))


def _described(schooling: Schooling, data_set: str) -> str:
    """A training by the name that its protocol has in the end, with all that was changed in it."""
    if schooling.epochs == 0:
        return "none"
    protocol = load_protocol(schooling.protocol, data_set, schooling.overrides)
    told = [f"protocol {protocol.name}", counted(protocol.epochs, "epoch")]
    told += [f"batches of {schooling.batch_size}"] if schooling.batch_size else []
    told += [f"{key}={value}" for key, value in schooling.changes.items()]
    teacher = "the network before the cut" if schooling.teacher == BASE else schooling.teacher
    return ", ".join([*told, *([f"taught by {teacher}"] if teacher else [])])


def _repair(config: RunConfig) -> str:
    return f"on {config.images:,} images ({config.calibration or 'training'})"
