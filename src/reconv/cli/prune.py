"""`reconv prune`: cut a trained network, and fine-tune it, as the paper's `prune_*.py` do."""

from __future__ import annotations

from typing import Annotated

import typer

from reconv.cli import options

EXAMPLES = (
    "reconv prune --model resnet56 --weights W.safetensors --data-set CIFAR10 --metric nuc --prune-cfg 1 --save-path P",
    "reconv prune --model resnet34 --weights W.pth --data-set imagenet --metric spec --prune-cfg 2 --save-path P",
    "reconv prune --model P/model --data-set digits --budget macs=0.7 --no-finetune",
)

Finetune = Annotated[
    bool | None,
    typer.Option(
        "--finetune/--no-finetune",
        help="Fine-tune after the cut.",
        rich_help_panel="Training",
        show_default="yes, but for ImageNet, which `reconv finetune` is for",
    ),
]


def command(
    model: options.Model,
    weights: options.Weights = None,
    shortcut: options.Shortcut = None,
    data_set: options.DataSet = "CIFAR10",
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
    finetune: Finetune = None,
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
    """Cut a trained network by its scores; a CIFAR network is fine-tuned in the same command."""
    from reconv import runs
    from reconv.cli import common, console
    from reconv.errors import ConfigError
    from reconv.steps import Finetune

    common.check_one_process("prune")
    wanted = data_set.lower() != "imagenet" if finetune is None else finetune
    if not wanted and epochs:
        raise ConfigError(f"--epochs {epochs}: nothing is fine-tuned here; give --finetune, or leave --epochs out")
    limited = (rescale, minimum, multiple, limit, exclude)
    if not budget and prune_cfg is None:
        raise ConfigError("what to cut: nothing said; give --budget macs=0.5, or --prune-cfg 1")
    cut = common.CutOptions(metric, direction, exact, scores, budget, prune_cfg, scheme, coupled, reverse, *limited)
    config = runs.RunConfig(
        model=model,
        weights=common.starting_weights(weights, model, data_set, common.model_arguments(shortcut)),
        arguments=common.model_arguments(shortcut),
        data_set=data_set,
        data_root=common.text(data_root),
        compression=cut.compression(
            verify=verify,
            calibration=calibration,
            images=images,
            after=common.after(
                calibration is not None if repair is None else repair,
                recalibrate,
                common.schooling(
                    Finetune,
                    protocol or "default-finetune",
                    epochs if wanted else 0,
                    batch_size,
                    changes,
                    teacher=teacher,
                ),
            ),
            seed=seed,
        ),
        device=device,
    )
    if not runs.is_trained(config):
        raise ConfigError(
            f"{model}: its weights would be random; give --weights F, or a saved model, or use `reconv run`"
        )
    folder = common.output_path(save_path, resume, model, data_set, str(config.compression.criterion))
    options_ = runs.RunOptions(
        overwrite=overwrite,
        resume=resume,
        measure=False,
        log=console.Progress(),
        command=common.this_command(),
        trackers=tuple(tracker or ()),
    )
    with console.resumable(folder):
        result = runs.run(config, folder, options_)
    out = console.stdout()
    out.print(str(result.plan), markup=False, soft_wrap=True)
    out.print(f"model   {result.folder / 'model'}", markup=False, soft_wrap=True)
