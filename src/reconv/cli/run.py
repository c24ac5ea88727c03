"""`reconv run`: the whole way, from a network to a smaller one with a report."""

from __future__ import annotations

from typing import Annotated

import typer

from reconv.cli import names, options

FINETUNE = "default-finetune"

EXAMPLES = (
    "reconv run",
    "reconv run --budget macs=0.3 --coupled --metric l1",
    "reconv run --budget macs=0.2 --rounds 4 --metric reconstruction --scheme allocated",
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
BaseSet = Annotated[
    list[str] | None, typer.Option("--base-set", help="A key of its protocol, as --set.", rich_help_panel="Training")
]
Rounds = Annotated[
    int,
    typer.Option(
        "--rounds",
        help="Approach the budget in this many equal steps, with a short training after each.",
        rich_help_panel="What to cut",
    ),
]
RoundProtocol = Annotated[
    str,
    typer.Option(
        "--round-protocol",
        help="How the network is trained after each round but the last.",
        autocompletion=names.offer(names.PROTOCOLS),
        rich_help_panel="Training",
    ),
]
RoundEpochs = Annotated[int | None, typer.Option("--round-epochs", help="Epochs of that.", rich_help_panel="Training")]


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
    rescale: options.Rescale = "mean",
    coupled: options.Coupled = False,
    minimum: options.Minimum = 1,
    multiple: options.Multiple = 1,
    limit: options.Limit = None,
    exclude: options.Exclude = None,
    reverse: options.Reverse = False,
    verify: options.Verify = None,
    recalibrate: options.Recalibrate = 0,
    repair: options.Repair = None,
    calibration: options.Calibration = None,
    images: options.Images = 1000,
    rounds: Rounds = 1,
    base_protocol: BaseProtocol = "default",
    base_epochs: BaseEpochs = None,
    base_set: BaseSet = None,
    round_protocol: RoundProtocol = "default-between",
    round_epochs: RoundEpochs = None,
    protocol: options.Protocol = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    changes: options.Set = None,
    teacher: options.Teacher = None,
    tracker: options.Tracker = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    save_path: options.SavePath = None,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
) -> None:
    """Train (where no weights are given), score, cut, fine-tune, test, and report.

    Without any option: ResNet-20 on scikit-learn's digits, cut to half its MACs by the nuclear norm.
    """
    from reconv import runs
    from reconv.cli import common, console
    from reconv.steps import Finetune, TrainConfig

    common.check_one_process("run")
    limited = (rescale, minimum, multiple, limit, exclude)
    cut = common.CutOptions(metric, direction, exact, scores, budget, prune_cfg, scheme, coupled, reverse, *limited)
    config = runs.RunConfig(
        model=model,
        weights=common.starting_weights(weights, model, data_set, common.model_arguments(shortcut)),
        arguments=common.model_arguments(shortcut),
        data_set=data_set,
        data_root=common.text(data_root),
        base=common.schooling(TrainConfig, base_protocol, base_epochs, changes=base_set),
        compression=cut.compression(
            rounds=rounds,
            between=common.schooling(Finetune, round_protocol, round_epochs, teacher=teacher),
            verify=verify,
            calibration=calibration,
            images=images,
            after=common.after(
                common.repairs(repair, recalibrate, data_set),
                recalibrate,
                common.schooling(
                    Finetune, protocol or "default-finetune", epochs, batch_size, changes, teacher=teacher
                ),
            ),
            seed=seed,
        ),
        device=device,
    )
    folder = common.output_path(save_path, resume, model, data_set, str(config.compression.criterion))
    options_ = runs.RunOptions(
        overwrite=overwrite,
        resume=resume,
        log=console.Progress(),
        command=common.this_command(),
        trackers=tuple(tracker or ()),
    )
    with console.resumable(folder):
        result = runs.run(config, folder, options_)
    out = console.stdout()
    out.print(console.before_and_after(result.facts.before, result.facts.after))
    out.print(f"report  {result.folder / 'report.html'}", markup=False, soft_wrap=True)
    out.print(f"model   {result.folder / 'model'}", markup=False, soft_wrap=True)
