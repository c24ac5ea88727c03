"""How options are spelled, where a field's own name is not what people type; and the names that completion offers.

Names are kept here, since completion has to answer without PyTorch; a test holds them to the real tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

# The last one or two names of an option's path -> its flag.
FLAGS: dict[tuple[str, ...], str] = {
    ("changes",): "set",
    ("most",): "limit",
    ("recalibrate", "images"): "recalibrate",
    ("json_file",): "json",
}
FLAGS |= {("quantize", "to"): "quantize"}
FLAGS |= {("quantize", name): f"quantize-{name}" for name in ("path", "images")}
FLAGS |= {("timing", name): f"latency-{name}" for name in ("threads", "batch")}
# A field that holds a dataclass, or a step -> what the flags of its fields begin with.
PREFIXES = {"base": "base-", "between": "round-", "finetune": "", "recalibrate": "", "quantize": ""}
PANELS = {
    "compression": "What to prune",
    "after": "After pruning",
    "base": "Base training",
    "between": "Between rounds",
    "machine": "Options",
    "request": "What to compare",
}
FOLDED = ("Base training", "Between rounds")  # options like the fine-tuning's, which `--help-all` shows
# Of a command with more options than fit on a screen or two: those that `--help` shows, in a line each.
BASIC = (
    *("--weights", "--model-arg", "--code", "--data-set", "--task", "--image-size", "--mean", "--std", "--calibration"),
    *(
        "--budget",
        "--max-drop",
        "--minimize",
        "--recipe",
        "--criterion",
        "--scheme",
        "--coupled",
        "--exclude",
        "--rounds",
        "--runtime",
    ),
    *("--repair", "--finetune", "--protocol", "--epochs", "--export", "--quantize"),
    *("--device", "--save-path", "--overwrite", "--resume"),
)
MOST_SHOWN = 25  # options of a command whose help shows all of them
SHORT = {
    "--model": "-m",
    "--weights": "-w",
    "--data-set": "-d",
    "--budget": "-b",
    "--criterion": "-c",
    "--epochs": "-e",
    "--save-path": "-o",
    "--output": "-o",
    "--jobs": "-j",
}
ENVIRONMENT = {"--data-root": "RECONV_DATA", "--weights-root": "RECONV_WEIGHTS"}
POSITIONAL = {"model"}  # the first argument of a command, and an option
OTHER_SPELLINGS = {
    "--metric": "--criterion",
    "--prune-cfg": "--recipe",
    "--refine": "--model",
    "--rev": "--reverse",
}  # of the paper's scripts, and earlier ones

RANDOM = ("none", "scratch")  # in place of weights: random ones

NAMES = {
    "model": ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "vgg16_bn", "resnet34", "resnet101"),
    "data_set": ("digits", "cifar10", "cifar100", "imagenet"),
    "criterion": ("nuclear", "spectral", "frobenius", "l1", "l2", "fpgm", "bn_scale", "lamp", "random"),
    "minimize": ("macs", "latency", "params", "size"),
    "runtime": ("onnxruntime", "openvino", "torch", "torch-compile", "command:"),
    "protocol": ("paper", "paper-base", "paper-cifar", "paper-imagenet", "modern", "fast", "short"),
}


def offer(names: Sequence[str]) -> Callable[[str], list[str]]:
    """A completion function that offers those of `names` that begin with what was typed."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.lower().startswith(incomplete.lower())]

    return complete


def usual_words(words: Sequence[str]) -> list[str]:
    """The words of a command line with the first name of each option in place of another one."""
    return [OTHER_SPELLINGS.get(flag, flag) + rest for flag, rest in map(_at_equals_sign, words)]


def _at_equals_sign(word: str) -> tuple[str, str]:
    flag, equals, value = word.partition("=")
    return flag, equals + value
