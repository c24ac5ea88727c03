"""From options, as the command line gives them, to what the stages take."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconv import runs
from reconv.cli import console
from reconv.cli.fields import Given
from reconv.cli.options import Data, Network, Output, RunOutput
from reconv.compression import ALLOCATED, Compression
from reconv.data.sources import data_root, find_source
from reconv.errors import BudgetError, ConfigError
from reconv.files import read_json, read_toml
from reconv.networks import RANDOM, SHIPPED
from reconv.report import numbers
from reconv.runlog import RunLog
from reconv.runs import RunConfig, RunOptions, RunResult
from reconv.saliency import criterion_named
from reconv.steps import Finetune
from reconv.training import is_first_process, process_count
from reconv.zoo import find_trained
from reconv.zoo.code import use_code

_FOLDERS = {
    "cifar10": ("cifar-10-batches-bin", "cifar-10-batches-py"),
    "cifar100": ("cifar-100-binary", "cifar-100-python"),
    "imagenet": ("train", "imagenet", "ImageNet", "ILSVRC2012"),
}  # by which a data set's images are found


def compression_of(
    given: Given[Compression],
    data: Data,
    config: str | None = None,
    *,
    repair: bool,
    finetune: bool,
    export: str | None = None,
) -> Compression:
    """What options and a file say: an option counts more than the file, and that more than a command's defaults.

    Args:
        config: a TOML or JSON file that holds a compression, such as a run's `config.json`.
        repair, finetune: whether the network is repaired and fine-tuned where neither options nor file say it.
        export: the file that it is written to in the end, likewise.
    """
    start: dict[str, Any] = {} if config is None else _read_config(Path(config))
    if "after" not in start:
        wanted = {"repair": repair and "--recalibrate" not in given, "finetune": finetune}
        start["after"] = [{"step": name} for name, is_wanted in wanted.items() if is_wanted]
        start["after"] += [] if export is None else [{"step": "export", "path": export}]
    if "--max-drop" in given and config is None and "--recipe" not in given:
        start |= {"criterion": "reconstruction", "scheme": ALLOCATED}  # the smallest networks that there are
    if not {"--recipe", "--budget", "--max-drop"}.isdisjoint(given.flags):
        start = {key: value for key, value in start.items() if key not in ("recipe", "budget")}
    chosen = given.build(start)
    if "--teacher" in given and "--round-teacher" not in given:  # one teacher for all trainings after pruning
        teacher = next((step.teacher for step in chosen.after if isinstance(step, Finetune)), None)
        chosen = replace(chosen, between=replace(chosen.between, teacher=teacher))
    return replace(chosen, criterion=criterion_named(str(chosen.criterion)).name)


def _read_config(file: Path) -> dict[str, Any]:
    content = read_json(file) if file.suffix == ".json" else read_toml(file)
    return dict(content.get("compression", content))


def are_there(data: Data) -> bool:
    """Whether the images are on this machine, so that networks can be measured on them without a download."""
    source, path = (None, None) if data.task else find_source(data.data_set)
    if data.task is not None or path is not None or (source is not None and source.name == "digits"):
        return True
    root = data_root(data.data_root)
    return source is not None and any((root / name).is_dir() for name in _FOLDERS.get(source.name, (".",)))


def next_command(result: RunResult, network: Network) -> str:
    """What may be done with a run's folder."""
    shapes = result.plan.graph.example
    own = (
        [] if network.code is None and ":" not in network.model else [network.code or network.model.rpartition(":")[0]]
    )
    code = [f"--code {shlex.quote(own[0])}"] if own and own[0].endswith(".py") else []
    shape = [f"--example {','.join('x'.join(map(str, shape)) for shape in shapes)}"] if code else []
    return " ".join(["reconv export", shlex.quote(str(result.folder)), "--to onnx", *code, *shape])


def is_labelled(data: Data) -> bool:
    """Whether the images may have labels; images alone have none."""
    return not data.data_set.startswith("images:")


def run_config(network: Network, data: Data, device: str = "auto", **more: Any) -> RunConfig:
    """What a command starts from, with the weights that come with reconv where there are any and none are given."""
    arguments = model_arguments(network)
    return RunConfig(
        model=network.model,
        weights=starting_weights(network.weights, network.model, data.data_set if data.task is None else "", arguments),
        arguments=arguments,
        **data_settings(data),
        device=device,
        **more,
    )


def data_settings(data: Data) -> dict[str, Any]:
    """What a run's configuration holds of the images; a task is called by the name of its file."""
    return {
        "data_set": data.data_set if data.task is None else Path(data.task).name,
        "data_root": data.data_root,
        "task": data.task,
        "example": data.example,
        "preprocessing": data.preprocessing,
    }


def images_or_calibration(data: Given[Data], given: Given[Compression]) -> tuple[Data, Given[Compression]]:
    """The images of a command; calibration images alone, where neither a data set nor a task is given: they serve for
    everything that reads no labels, a part of them for measuring."""
    source = next((value for option, value in given.values.items() if option.flag == "--calibration"), None)
    if source is None or not {"--data-set", "--task"}.isdisjoint(data.flags) or not Path(source).expanduser().is_dir():
        return data.build(), given
    rest = {option: value for option, value in given.values.items() if option.flag != "--calibration"}
    return replace(data.build(), data_set=f"images:{source}"), Given(given.default, rest)


def run(config: RunConfig, output: RunOutput, *, measure: bool) -> RunResult:
    """A run into the folder that is asked for, with its progress on the terminal."""
    folder = output_path(output, config.model, config.data_set, str(config.compression.criterion))
    with console.resumable(folder):
        return runs.run(config, folder, run_options(output, console.Progress(), measure=measure))


def check_certified(result: RunResult) -> None:
    """Refuse to call a network the smallest that loses little enough, where that could not be shown.

    Raises:
        BudgetError: says what it may lose, and what to do.
    """
    certificate = result.facts.certificate
    if certificate is not None and not certificate.holds:
        raise BudgetError(
            f"max-drop: {certificate}. The network is in {result.folder / 'model'} as it is; give a larger --max-drop, "
            "or more held-out images: those that certified it cannot be used for that again"
        )


def train(config: RunConfig, output: RunOutput, title: str, *words: str) -> None:
    """Train as the configuration's base training says, and show the last epoch's figures.

    Args:
        title: what the training is called. words: for the folder's name, where none is given.
    """
    folder = output_path(output, *words)
    log = console.Progress() if is_first_process() else RunLog()
    with console.resumable(folder):
        trained, tested = runs.train_only(config, folder, title, run_options(output, log))
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


def run_options(output: RunOutput, log: RunLog, *, measure: bool = True) -> RunOptions:
    """How a run is done, as the options of its output say."""
    return RunOptions(output.overwrite, output.resume, measure, log, this_command(), output.tracker)


def starting_weights(
    given: str | None, model: str, data_set: str, arguments: Mapping[str, Any] | None = None
) -> str | None:
    """The weights that a network starts from: those given, else those that come with reconv, else none.

    Args:
        given: a file; "none" or "scratch" for random weights although trained ones come with reconv.
        model, data_set: names.
        arguments: of the model; with any, those that come with reconv do not fit.
    """
    if given is not None:
        return given_weights(given)
    return SHIPPED if not arguments and find_trained(model, data_set) else None


def given_weights(given: str | None) -> str | None:
    """The weights that were given; None for "none" and "scratch", which ask for random ones."""
    return None if given is None or given.lower() in RANDOM else given


def model_arguments(network: Network) -> dict[str, Any]:
    """Arguments of the model; code that the user names for saved models is remembered."""
    use_code(network.code)
    return network.arguments


def output_path(output: Output, *words: str) -> Path:
    """The folder to write to: the one given, else the first free `runs/<words>`.

    Raises:
        ConfigError: `--resume`, or several processes, without a folder.
    """
    if output.save_path is not None:
        return Path(output.save_path)
    if process_count() > 1:
        raise ConfigError(f"{process_count()} processes: they have to agree on a folder; give --save-path P")
    if isinstance(output, RunOutput) and output.resume:
        raise ConfigError("--resume: of which run? Give its folder: --save-path P")
    name = "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in Path(word).name) for word in words)
    numbered = (Path("runs") / (name if i == 1 else f"{name}-{i}") for i in range(1, 1_000_000))
    return next(path for path in numbered if not path.exists())


def check_one_process(command: str) -> None:
    """Refuse to do the same work in each of several processes.

    Raises:
        ConfigError: a launcher started several.
    """
    if process_count() > 1:
        raise ConfigError(
            f"{command}: {process_count()} processes; train and finetune share their work among several, "
            f"{command} is done by one: start it without the launcher"
        )


def this_command() -> str:
    """The command line that this process was given, for the report."""
    return shlex.join(["reconv", *sys.argv[1:]])
