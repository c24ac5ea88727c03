"""`reconv run`: the whole way, from a network to a smaller one with a report."""

from __future__ import annotations

from typing import Annotated

import typer

from reconv.cli import names, options

EXAMPLES = (
    "reconv run",
    "reconv run --budget macs=0.3 --coupled --metric l1",
    "reconv run --model resnet56 --weights W.safetensors --data-set CIFAR10 --metric nuc --prune-cfg 2 --epochs 1",
)

BaseProtocol = Annotated[
    str,
    typer.Option(
        "--base-protocol",
        help="How a network without weights is trained first.",
        autocompletion=names.offer(names.PROTOCOLS),
        rich_help_panel="Training",
    ),
]
BaseEpochs = Annotated[int | None, typer.Option("--base-epochs", help="Epochs of that.", rich_help_panel="Training")]


def command(
    model: options.Model = "resnet20",
    weights: options.Weights = None,
    shortcut: options.Shortcut = None,
    data_set: options.DataSet = "digits",
    data_root: options.DataRoot = None,
    metric: options.Metric = "nuclear",
    direction: options.Direction = "forward",
    exact: options.Exact = False,
    scores: options.Scores = None,
    budget: options.BudgetOption = None,
    prune_cfg: options.PruneCfg = None,
    scheme: options.Scheme = "uniform",
    coupled: options.Coupled = False,
    rev: options.Rev = False,
    verify: options.Verify = None,
    recalibrate: options.Recalibrate = 0,
    repair: options.Repair = 0,
    base_protocol: BaseProtocol = "default",
    base_epochs: BaseEpochs = None,
    protocol: options.Protocol = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    save_path: options.SavePath = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
) -> None:
    """Train (where no weights are given), score, cut, fine-tune, test, and report.

    Without any option: ResNet-20 on scikit-learn's digits, cut to half its MACs by the nuclear norm.
    """
    from reconv import pipeline
    from reconv.cli import common, console
    from reconv.plan import Budget

    cut = common.CutOptions(metric, direction, exact, scores, budget, prune_cfg, scheme, coupled, rev)
    config = pipeline.RunConfig(
        model=model,
        weights=common.text(weights),
        arguments=common.model_arguments(shortcut),
        data_set=data_set,
        data_root=common.text(data_root),
        cut=cut.cut(default=Budget(macs=0.5)),
        base=pipeline.Schooling(base_protocol, base_epochs),
        finetune=pipeline.Schooling(protocol or "default-finetune", epochs, batch_size),
        verify=verify,
        recalibrate=recalibrate,
        repair=repair,
        seed=seed,
        device=device,
    )
    folder = common.output_path(save_path, resume, model, data_set, config.cut.criterion)
    manner = pipeline.Manner(
        overwrite=overwrite, resume=resume, watcher=console.Progress(), command=common.this_command()
    )
    with console.resumable(folder):
        result = pipeline.run(config, folder, manner)
    out = console.stdout()
    out.print(console.before_and_after(result.facts.before, result.facts.after))
    out.print(f"report  {result.folder / 'report.html'}", markup=False, soft_wrap=True)
    out.print(f"model   {result.folder / 'model'}", markup=False, soft_wrap=True)
