"""What `reconv train` and `reconv finetune` have in common."""

from __future__ import annotations

from pathlib import Path

from reconv import pipeline
from reconv.cli import console
from reconv.report import numbers


def school(config: pipeline.RunConfig, folder: Path, stage: str, *, overwrite: bool, resume: bool) -> None:
    """Train as the configuration's fine-tuning says, and show the last epoch's figures."""
    manner = pipeline.Manner(overwrite=overwrite, resume=resume, watcher=console.Progress())
    with console.resumable(folder):
        trained = pipeline.train_only(config, folder, stage, manner)
    out = console.stdout()
    if trained.history:
        last = trained.history[-1]
        out.print(f"training    top-1 {numbers.percent(last.top1)}, loss {last.loss:.4f} (on augmented images)")
        if last.validation:
            out.print(f"validation  {last.validation}")
    out.print(f"model       {folder / 'model'}", markup=False, soft_wrap=True)
