"""The options that several subcommands share: one name, one meaning, one help text.

Values arrive here as plain strings and numbers; whether a name is known is for the table that owns it to say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconv.cli import names

_MODEL, _DATA, _CUT, _TRAIN, _OUTPUT = "Model", "Data", "What to cut", "Training", "Output"

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A model by name (`reconv list models`; torchvision's and timm's too), or a saved one by path.",
        autocompletion=names.offer(names.MODELS),
        rich_help_panel=_MODEL,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        "-w",
        help="A file of trained weights (.safetensors, .pth, .th, .tar); pretrained for those that torchvision or timm "
        "publishes (downloaded); none for random ones, where reconv ships trained ones.",
        rich_help_panel=_MODEL,
    ),
]
Shortcut = Annotated[
    str | None,
    typer.Option(
        "--shortcut",
        help="Shortcut of a CIFAR ResNet, where its weights leave it open: average, stride or conv.",
        rich_help_panel=_MODEL,
    ),
]
DataSet = Annotated[
    str,
    typer.Option(
        "--data-set",
        "-d",
        help="digits, CIFAR10, CIFAR100, imagenet, or a folder of images with a folder a class.",
        autocompletion=names.offer(names.DATA_SETS),
        rich_help_panel=_DATA,
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", envvar="RECONV_DATA", help="The folder that holds the data set.", rich_help_panel=_DATA
    ),
]
Metric = Annotated[
    str,
    typer.Option(
        "--metric",
        help="The criterion: spec, nuc, fro, or another of `reconv list criteria`.",
        autocompletion=names.offer(names.METRICS),
        rich_help_panel=_CUT,
    ),
]
Direction = Annotated[
    str,
    typer.Option(
        "--direction",
        help="forward: by the kernels that make a channel; backward: by those that read it.",
        autocompletion=names.offer(names.DIRECTIONS),
        rich_help_panel=_CUT,
    ),
]
Exact = Annotated[bool, typer.Option("--exact", help="Norms by the dense reference algorithm.", rich_help_panel=_CUT)]
Scores = Annotated[
    Path | None,
    typer.Option(
        "--scores",
        help="Cut by these saved scores (ours, or a published score file) instead of computing them.",
        rich_help_panel=_CUT,
    ),
]
BudgetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        "-b",
        help="What may remain, as a share, macs=0.5, or absolute, macs=60M: macs, params, channels, size, memory "
        "(size=2MiB) or measured latency (latency=3ms); several may be given.",
        rich_help_panel=_CUT,
    ),
]
PruneCfg = Annotated[
    int | None,
    typer.Option(
        "--prune-cfg", help="The paper's configuration of this number, instead of a budget.", rich_help_panel=_CUT
    ),
]
Scheme = Annotated[
    str,
    typer.Option(
        "--scheme",
        help="uniform: the same fraction of every layer; global: one threshold for all; "
        "knapsack: the most score within the budget; allocated: by predicted error, from images.",
        autocompletion=names.offer(names.SCHEMES),
        rich_help_panel=_CUT,
    ),
]
Rescale = Annotated[
    str,
    typer.Option(
        "--rescale",
        help="How global and knapsack make scores of different layers comparable: divided by their mean, max, l2 norm "
        "or sum, replaced by their rank, or none.",
        rich_help_panel=_CUT,
    ),
]
Minimum = Annotated[
    int, typer.Option("--minimum", help="Output channels that every layer keeps at least.", rich_help_panel=_CUT)
]
Multiple = Annotated[
    int, typer.Option("--multiple", help="A layer that is cut keeps a multiple of this many.", rich_help_panel=_CUT)
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        help="Layers by pattern and the share of them that may go at most, as in 'layer4.*=0.25'; repeatable.",
        rich_help_panel=_CUT,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="Layers by pattern that are left whole; repeatable.", rich_help_panel=_CUT),
]
Coupled = Annotated[
    bool, typer.Option("--coupled", help="Cut residual streams too, all their layers together.", rich_help_panel=_CUT)
]
Reverse = Annotated[
    bool,
    typer.Option(
        "--reverse",
        "--rev",
        help="Keep the lowest scores instead of the highest (ablation).",
        rich_help_panel=_CUT,
    ),
]
Verify = Annotated[
    bool | None,
    typer.Option(
        "--verify/--no-verify",
        help="Check that removed equals zeroed, in float64.",
        rich_help_panel=_CUT,
        show_default="where that takes under 10 s",
    ),
]
Recalibrate = Annotated[
    int,
    typer.Option(
        "--recalibrate", help="Refresh BatchNorm's statistics with this many training images.", rich_help_panel=_CUT
    ),
]
Repair = Annotated[
    bool | None,
    typer.Option(
        "--repair/--no-repair",
        help="Solve the layers around the cut anew by least squares, on images without labels.",
        rich_help_panel=_CUT,
        show_default="run does for digits and CIFAR; prune with --calibration only",
    ),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        help="What to repair and allocate by: any folder of images, a data set, or leaves (drawn images, no data).",
        rich_help_panel=_CUT,
        show_default="the training images",
    ),
]
Images = Annotated[int, typer.Option("--images", help="How many of them.", rich_help_panel=_CUT)]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="Training protocol: paper, modern (`reconv list protocols`), or a TOML file.",
        autocompletion=names.offer(names.PROTOCOLS),
        rich_help_panel=_TRAIN,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A key of the protocol, as schedule=cosine, learning_rate=0.01, compile=true; may be given several times.",
        rich_help_panel=_TRAIN,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Train through torch.compile; short for --set compile=true.", rich_help_panel=_TRAIN
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        help="Learn its scores too: a saved network, or base, the network before the cut "
        "(--set distillation=0.5 is its weight, temperature=4).",
        rich_help_panel=_TRAIN,
    ),
]
Tracker = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        help="Tell this tracker of Accelerate's each epoch: tensorboard, wandb, mlflow, ...; several may be given.",
        rich_help_panel=_TRAIN,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", "-e", help="Epochs; 0 leaves the training out.", rich_help_panel=_TRAIN),
]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Images a step.", rich_help_panel=_TRAIN)]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.", rich_help_panel=_TRAIN)]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps, or auto.", rich_help_panel=_TRAIN)]
SavePath = Annotated[
    Path | None, typer.Option("--save-path", "-o", help="The folder to write to.", rich_help_panel=_OUTPUT)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what stands at --save-path.", rich_help_panel=_OUTPUT)
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with what was interrupted at --save-path.", rich_help_panel=_OUTPUT)
]
ShapeOf = Annotated[
    str | None,
    typer.Option(
        "--data-set",
        "-d",
        help="Whose images' shape to take: digits, CIFAR10, CIFAR100, imagenet.",
        show_default="what a model of torchvision or timm was made for, CIFAR10 for others",
        autocompletion=names.offer(names.DATA_SETS),
        rich_help_panel=_DATA,
    ),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", help="Pixels a side, instead of the data set's.", rich_help_panel=_DATA)
]
