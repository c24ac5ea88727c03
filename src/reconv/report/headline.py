"""The head of a report: how much faster the network became, what that cost, and how to use it."""

from __future__ import annotations

import shlex

from reconv.report.facts import RunFacts
from reconv.report.numbers import counted, percent, times


def headline(facts: RunFacts) -> str:
    """'1.26× faster at 64 images, 2.00× fewer MACs; top-1 accuracy 98.61 % → 98.33 %, within noise.'"""
    macs = times(facts.before.macs, facts.after.macs, "fewer MACs", "more MACs")
    text = ", ".join(filter(None, (_speed(facts), macs))) + _quality(facts) + "."
    return text[:1].upper() + text[1:]


def _speed(facts: RunFacts) -> str:
    """In the first runtime that was asked for; else of the batch whose difference is clearest."""
    for row in facts.runtimes[:1]:
        before, after = row.before, row.after
        if before.overlaps(after):
            return f"no faster beyond noise in {row.runtime}"
        change = times(before.median, after.median, "faster", "slower")
        return f"{change} in {row.runtime} at {counted(before.batch, 'image')}"
    if not facts.latencies:
        return ""
    apart = [(before, after) for before, after in facts.latencies if not before.overlaps(after)]
    if not apart:
        return "no faster beyond noise"
    before, after = max(apart, key=lambda pair: pair[0].median / pair[1].median)
    return f"{times(before.median, after.median, 'faster', 'slower')} at {counted(before.batch, 'image')}"


def _quality(facts: RunFacts) -> str:
    before, after = facts.before, facts.after
    if before.accuracy is not None and after.accuracy is not None:
        noise = ", within noise" if facts.tested and facts.tested.is_noise else ""
        return f"; {facts.quality} {percent(before.accuracy)} → {percent(after.accuracy)}{noise}"
    if before.metric is not None and after.metric is not None:
        return f"; {facts.quality} {before.metric:.4g} → {after.metric:.4g}"
    return ""


def usage(facts: RunFacts) -> str:
    """How to load, compare, export and train the saved network."""
    folder = facts.folder.rstrip("/")
    base, model = (shlex.quote(f"{folder}/{name}") for name in ("base", "model"))
    lines = (
        ("in Python, an ordinary nn.Module", f'model = reconv.load("{folder}/model")'),
        ("both networks on the same images", f"reconv compare {base} {model}"),
        ("a file for the runtime", f"reconv export {model} --to onnx"),
        ("more training", f"reconv finetune --refine {model} --data-set DATA --save-path TUNED"),
    )
    return "\n".join(f"# {what}\n{command}" for what, command in lines)
