"""Models by name: a row for each source; one's own is registered alike, `reconv.register(ModelSource(...))`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from reconv.errors import ConfigError, ReconvError, unknown_name
from reconv.provenance import ModelSpec, Provenance, attach, provenance_of
from reconv.registry import Registry
from reconv.zoo.bounded import bounded_building, check_arguments


@dataclass(frozen=True)
class ModelSource:
    """Where models come from.

    Args:
        name: in front of a model's name, `timm:resnet50`. Without it the sources are asked in their order.
        meaning: one line for lists.
        build: a model with random weights, of a name within the source and the model's arguments.
        names: of its models, found whatever their case and with hyphens for underscores.
        more_names: further ones, with a dot in them, that are too many to list.
        find: the name within the source that a text stands for, or None; for paths and the like, asked before names.
        published: as `build`, with published weights, which may be downloaded.
        has_weights: `build` gives trained models, and takes no arguments but these: takes.
        channels: the argument that says how many channels the images have.
        classes: the argument that says how many outputs there are.
        fits_classes: whether a model of a name may be built for as many classes as data or weights have; None: always.
        code: what building a model of a name imports, where that is for the user to name (`my_net.py`, `ultralytics`).
        input_size: channels, height and width that a model of a name was published for, where its author says.
        reserved: arguments that would load or download something.
        aliases: other names of the source.

    Example:
        >>> source = ModelSource("mine", "of one's own", lambda name, arguments: nn.Conv2d(3, 8, 3), lambda: ["stem"])
        >>> _ = reconv.register(source)
        >>> reconv.load_model("mine:stem")
        Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
    """

    registry: ClassVar[Registry[ModelSource]] = Registry(
        "source of models",
        built_in=(
            "reconv.zoo.libraries",
            "reconv.zoo.own_code",
            "reconv.zoo.packages",
            "reconv.deploy.onnx.load",
            "reconv.artifacts",
        ),
    )

    name: str
    meaning: str
    build: Callable[[str, Mapping[str, Any]], nn.Module]
    names: Callable[[], Collection[str]] = tuple
    more_names: Callable[[], Collection[str]] = tuple
    find: Callable[[str], str | None] | None = None
    published: Callable[[str, Mapping[str, Any]], nn.Module] | None = None
    has_weights: bool = False
    takes: frozenset[str] = frozenset()
    channels: str | None = None
    classes: str = "num_classes"
    fits_classes: Callable[[str], bool] | None = None
    code: Callable[[str], str] | None = None
    input_size: Callable[[nn.Module, str], tuple[int, int, int]] | None = None
    reserved: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()

    def classes_argument(self, name: str, number: int | None) -> dict[str, int]:
        """The argument by which a model of a name is built for so many classes; {} where it cannot be, or for None."""
        if number is None or not (self.fits_classes is None or self.fits_classes(name)):
            return {}
        return {self.classes: number}

    def lookup(self, text: str) -> str | None:
        """The name within this source that a text stands for, if any."""
        if self.find is not None:
            return self.find(text)
        wanted = text.lower().replace("-", "_")
        for spelling in (wanted, wanted.replace("_", ""), text):
            if spelling in self.names() or ("." in spelling and spelling in self.more_names()):
                return spelling
        return None


def model_names(source: str | None = None) -> tuple[str, ...]:
    """The names that `load_model` takes, sorted; of one source (`reconv`, `torchvision`, `timm`) or all."""
    sources = ModelSource.registry if source is None else [ModelSource.registry[source]]
    return tuple(sorted({name for entry in sources for name in entry.names()}))


def find_model(name: str) -> tuple[ModelSource, str]:
    """The source and the name within it that a model's name as users write it stands for.

    Args:
        name: `resnet56`, `ResNet-56`, `torchvision:resnet50`, `timm:resnet50`, or the folder of a saved model. Without
            a source, our own come before torchvision's, and these before timm's. `my_net.py:MyNet` is a class or
            function of one's own.

    Raises:
        UnknownNameError: with the nearest names.
    """
    name = name.strip()
    sources = tuple(ModelSource.registry)
    for source in sorted(sources, key=lambda source: source.find is None):  # paths before names
        if (found := source.lookup(name)) is not None:
            return source, found
    prefix, colon, rest = name.partition(":")
    wanted = rest if colon else name
    if colon:
        sources = (ModelSource.registry[prefix],)
        if (found := sources[0].lookup(rest)) is not None:
            return sources[0], found
    raise unknown_name("model", wanted, {known for source in sources for known in source.names()})


def canonical_name(name: str) -> str:
    """The one spelling of a model's name that specifications hold: `resnet56`, `torchvision:resnet34`."""
    return _canonical(*find_model(name))


def _canonical(source: ModelSource, name: str) -> str:
    return name if source.name == "reconv" else f"{source.name}:{name}"


def build_model(spec: ModelSpec) -> nn.Module:
    """Build a model with random weights, in evaluation mode; nothing is ever downloaded.

    The weights are drawn from torch's global generator, as every `nn.Module`'s are: `torch.manual_seed`
    decides them. Works under `with torch.device("meta")` where the architecture does (see `build_skeleton`).

    Args:
        spec: name and arguments, such as `ModelSpec("resnet56", {"num_classes": 100})`.

    Returns:
        The model, which carries its provenance.

    Raises:
        UnknownNameError: no such model.
        ConfigError: arguments that it does not take.
    """
    source, name = find_model(spec.name)
    if reserved := sorted(source.reserved & set(spec.arguments)):
        raise ConfigError(
            f"{spec.name}: {', '.join(reserved)} would load weights; leave it out, and give "
            "weights=FILE or pretrained=True to load_model."
        )
    classes = spec.arguments.get(source.classes, 1)
    if source.code is None and (not isinstance(classes, int) or classes < 1):
        raise ConfigError(f"{spec.name}: {source.classes} is {classes!r}; give a whole number of at least 1.")
    if source.code is None:
        check_arguments(spec.name, spec.arguments, source.classes)
    try:
        with bounded_building(spec.name):
            model = source.build(name, spec.arguments)
    except (ReconvError, NotImplementedError):  # the latter is for `build_skeleton`
        raise
    except Exception as error:
        if source.code is not None and not isinstance(error, TypeError | ValueError):
            raise  # a fault in the user's own code, which its traceback shows
        why = str(error) if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: {error}"
        raise ConfigError(f"{spec.name}: cannot be built with {dict(spec.arguments)}: {why}.") from error
    return attach(model.eval(), Provenance(spec=ModelSpec(_canonical(source, name), spec.arguments)))


def build_skeleton(spec: ModelSpec) -> nn.Module:
    """Build a model to be filled with weights, on the meta device where it can be.

    No random number is consumed. An architecture that computes with its own values while it is built, or has
    buffers that its state does not hold, is built for real; so is one by code of the user's.
    """
    if find_model(spec.name)[0].code is not None:
        with torch.random.fork_rng(devices=[]):
            return build_model(spec)
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                model = build_model(spec)
        except NotImplementedError:  # "Cannot copy out of meta tensor"
            return build_model(spec)
        held = model.state_dict().keys()
        if all(name in held for name, _ in model.named_buffers()):
            return model
        return build_model(spec)


def own_input_size(model: nn.Module) -> tuple[int, int, int] | None:
    """Channels, height and width of the images that a model of torchvision or timm was published for.

    None for other models, and for one that was built for other classes: then nobody knows its images.
    """
    spec = provenance_of(model).spec
    if spec is None:
        return None
    source, name = find_model(spec.name)
    if source.classes in spec.arguments and source.code is None:
        return None
    return None if source.input_size is None else source.input_size(model, name)
