"""What `reconv train` and `reconv finetune` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reconv import runs
from reconv.cli import console
from reconv.report import numbers
from reconv.runlog import RunLog
from reconv.training import is_first_process


def school(
    config: runs.RunConfig,
    folder: Path,
    stage: str,
    *,
    overwrite: bool,
    resume: bool,
    trackers: Sequence[str] | None = None,
) -> None:
    """Train as the configuration's fine-tuning says, and show the last epoch's figures."""
    watcher = console.Progress() if is_first_process() else RunLog()
    options_ = runs.RunOptions(overwrite=overwrite, resume=resume, log=watcher, trackers=tuple(trackers or ()))
    with console.resumable(folder):
        trained, tested = runs.train_only(config, folder, stage, options_)
    if not is_first_process():
        return
    out = console.stdout()
    if trained.history:
        last = trained.history[-1]
        out.print(f"training    top-1 {numbers.percent(last.top1)}, loss {last.loss:.4f} (on augmented images)")
        if last.validation:
            out.print(f"validation  {last.validation}")
    out.print(f"test        {tested}")
    out.print(f"model       {folder / 'model'}", markup=False, soft_wrap=True)
