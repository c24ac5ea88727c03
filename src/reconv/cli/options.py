"""The options that several commands share: a field is an option, its line in the docstring the help.

Values are plain text and numbers; whether a name is known is for the table that owns it to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconv.preprocessing import Preprocessing


@dataclass(frozen=True)
class Network:
    """The network that a command starts from.

    Args:
        model: a name (`reconv list models`), my_net.py:MyNet, or a saved network or run; torchvision's and timm's
            names too, package.module:factory, and what `reconv list sources` shows.
        weights: file of trained weights (.safetensors, .pth, .th, .tar), "pretrained", or "none"; pretrained: those
            that are published, downloaded, or that a function of your own loads; none: random ones, where reconv has
            trained ones.
        model_arg: an argument of the model, such as width=32 or 'kernel_sizes=[3, 5]'; repeatable.
        code: the Python file that defines the class of a saved network; it is imported only if named here.
        shortcut: shortcut of a CIFAR ResNet whose weights do not say it: average, stride or conv.
    """

    model: str
    weights: str | None = None
    model_arg: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    shortcut: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the model."""
        return {**self.model_arg, **({} if self.shortcut is None else {"shortcut": self.shortcut})}


@dataclass(frozen=True)
class Data:
    """The images.

    Args:
        data_set: digits, CIFAR10, CIFAR100, imagenet, or a folder with one folder per class; or a CSV of
            files and labels; what else: `reconv list data`.
        data_root: the folder that holds the data set.
        task: a Python file with loaders, loss and metric of your own, in place of a data set; any of train_loader,
            val_loader, test_loader, calibration_loader, loss, metric and example.
        example: an input of the network, where data do not say it: a shape such as 1x3x224x224, a .pt or .npz file, or
            my_net.py:function.
    """

    data_set: str = "CIFAR10"
    data_root: str | None = None
    task: str | None = None
    example: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)


@dataclass(frozen=True)
class InputShape:
    """The shape of an image, for commands that need no images.

    Args:
        data_set: a data set whose images have the shape: digits, CIFAR10, CIFAR100, imagenet; None: what a model of
            torchvision or timm was made for, CIFAR10 for others.
        image_size: pixels per side, instead of the data set's.
        example: an input of the network: a shape such as 1x3x224x224, a .pt or .npz file, or my_net.py:function.
    """

    data_set: str | None = None
    image_size: int | None = None
    example: str | None = None


@dataclass(frozen=True)
class Machine:
    """Where to compute.

    Args:
        device: where to compute: cpu, cuda, cuda:1, mps, or auto.
    """

    device: str = "auto"


@dataclass(frozen=True)
class SeededMachine(Machine):
    """Where to compute, and what is drawn at random.

    Args:
        seed: seed of everything random.
        device: where to compute: cpu, cuda, cuda:1, mps, or auto.
    """

    seed: int = 0


@dataclass(frozen=True)
class Output:
    """Where the results go.

    Args:
        save_path: the folder to write to; None: a new one in runs/.
        overwrite: replace the folder if it exists.
    """

    save_path: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class RunOutput(Output):
    """Where the results of a run go.

    Args:
        save_path: the folder to write to; None: a new one in runs/.
        overwrite: replace the folder if it exists.
        resume: continue the interrupted run in the folder.
        tracker: report each epoch to this tracker of Accelerate: tensorboard, wandb, mlflow, ...; repeatable.
    """

    resume: bool = False
    tracker: tuple[str, ...] = ()
