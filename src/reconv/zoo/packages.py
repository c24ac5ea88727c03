"""Models of packages that the user chooses: each is imported only where a model's name, or `--code`, names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reconv.errors import ConfigError, first_line
from reconv.files import read_json
from reconv.optional import optional
from reconv.provenance import ModelSpec, Normalization, Provenance, Resizing, attach
from reconv.registry import register
from reconv.zoo.libraries import TIMM_RESERVED, timm_preprocessing
from reconv.zoo.sources import ModelSource


def _after(prefix: str) -> Callable[[str], str | None]:
    """The name within a source whose names only its prefix tells from others."""

    def find(text: str) -> str | None:
        head, colon, name = text.partition(":")
        return name if colon and name and head.lower() == prefix else None

    return find


# --- transformers ------------------------------------------------------------------------------------------


def _transformers() -> Any:
    return optional("transformers", "models of transformers", package="transformers")


def _hf_class(name: str, arguments: Mapping[str, Any], *, download: bool) -> tuple[Any, Any]:
    """The class that a repository or folder says its model is of, and its configuration; runs no code of it."""
    library = _transformers()
    try:
        config, unused = library.AutoConfig.from_pretrained(
            name, local_files_only=not download, trust_remote_code=False, return_unused_kwargs=True, **arguments
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"hf:{name}: no configuration of a model of transformers in this folder, or in the cache "
            f"({first_line(error)[:120]}); download it, or give --weights pretrained, which does"
        ) from None
    if unused:
        raise ConfigError(f"hf:{name}: its configuration has no {', '.join(sorted(unused))}; leave it out")
    named = (getattr(library, each, None) for each in config.architectures or ())
    kind = next((each for each in named if each is not None), None)
    if kind is None:
        raise ConfigError(f"hf:{name}: its architecture {config.architectures} is none of transformers' own")
    return kind, config


def _build_hf(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    kind, config = _hf_class(name, arguments, download=False)
    model: nn.Module = kind(config)
    return model


def _published_by_hf(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    kind, config = _hf_class(name, arguments, download=True)
    model: nn.Module = kind.from_pretrained(
        name, config=config, trust_remote_code=False, use_safetensors=True, ignore_mismatched_sizes=bool(arguments)
    )
    spec = ModelSpec(f"hf:{name}", arguments)
    return attach(model.eval(), replace(_hf_preprocessing(name), spec=spec))


def _hf_preprocessing(name: str) -> Provenance:
    """What the model's preprocessor says, read from its file."""
    file = Path(name) / "preprocessor_config.json"
    if not file.is_file():
        cached = optional("huggingface_hub", "models of transformers", package="transformers").try_to_load_from_cache(
            name, file.name
        )
        if not isinstance(cached, str):
            return Provenance()
        file = Path(cached)
    values = read_json(file)
    values = values if isinstance(values, dict) else {}
    mean, std = values.get("image_mean"), values.get("image_std")
    side, resize = (_side_in(values.get(key)) for key in ("crop_size", "size"))
    sizes = Resizing(side or resize, max(resize, side)) if side or resize else None
    return Provenance(normalization=Normalization(tuple(mean), tuple(std)) if mean and std else None, resizing=sizes)


def _side_in(size: Any) -> int:
    """The side in a preprocessor's size: a number, or a mapping of it; 0 where there is none."""
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or size.get("height")
    return int(size or 0)


def _hf_input(model: nn.Module, name: str) -> tuple[int, int, int]:
    config: Any = model.config
    size = getattr(config, "image_size", 224)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return int(getattr(config, "num_channels", 3)), int(height), int(width)


# --- timm's repositories and folders --------------------------------------------------------------------------


def _timm_repository(prefix: str, *, pretrained: bool) -> Callable[[str, Mapping[str, Any]], nn.Module]:
    def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
        timm = optional("timm", "models of timm")
        if prefix == "hf-hub" and not pretrained and not _is_cached(name):
            raise ConfigError(f"hf-hub:{name}: not in the cache; --weights pretrained downloads it")
        model: nn.Module = timm.create_model(f"{prefix}:{name}", pretrained=pretrained, **arguments)
        if pretrained:
            spec = ModelSpec(f"{prefix}:{name}", arguments)
            attach(model.eval(), replace(timm_preprocessing(model), spec=spec))
        return model

    return build


def _is_cached(repository: str) -> bool:
    name, _, revision = repository.partition("@")
    hub = optional("huggingface_hub", "models of timm")
    return isinstance(hub.try_to_load_from_cache(name, "config.json", revision=revision or None), str)


def _timm_repository_input(model: nn.Module, name: str) -> tuple[int, int, int]:
    channels, height, width = model.pretrained_cfg["input_size"]  # type: ignore[index]
    return int(channels), int(height), int(width)


# --- torch.hub ----------------------------------------------------------------------------------------------


def _build_hub(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model that `hub:OWNER/REPOSITORY:ENTRY` names, or `hub:FOLDER:ENTRY` with a hubconf.py in the folder."""
    repository, colon, entry = name.rpartition(":")
    if not colon or not repository or not entry:
        raise ConfigError(f"hub:{name}; write hub:OWNER/REPOSITORY:ENTRY, or hub:FOLDER:ENTRY")
    source = "local" if (Path(repository) / "hubconf.py").is_file() else "github"
    try:
        model = torch.hub.load(repository, entry, source=source, trust_repo=True, verbose=False, **arguments)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"hub:{name}: cannot be loaded ({first_line(error)}); check repository and entry") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"hub:{name}: gives a {type(model).__name__}; it has to give a torch.nn.Module")
    return model


# --- ultralytics --------------------------------------------------------------------------------------------


def _ultralytics(module: str) -> Any:
    return optional(f"ultralytics.{module}", "models of ultralytics", package="ultralytics")


def _build_ultralytics(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A model with random weights, from the YAML file of its name; nothing is downloaded."""
    yolo = _ultralytics("models").YOLO
    try:
        model: nn.Module = yolo(f"{name.removesuffix('.yaml')}.yaml", **arguments).model
    except FileNotFoundError as error:
        raise ConfigError(
            f"ultralytics:{name}: {first_line(error)}; give a name such as yolov8n or yolo11n-seg"
        ) from error
    return model.requires_grad_(True)


def _published_by_ultralytics(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network in a checkpoint of ultralytics, of which only layers of PyTorch and ultralytics are built."""
    file = _ultralytics("utils.downloads").attempt_download_asset(f"{name.removesuffix('.pt')}.pt")
    checkpoint = _read_checkpoint(Path(file))
    model: nn.Module = checkpoint.get("ema") or checkpoint["model"]
    spec = ModelSpec(f"ultralytics:{name}", arguments)
    return attach(model.float().eval().requires_grad_(True), Provenance(spec=spec))


def _read_checkpoint(file: Path) -> Any:
    """A checkpoint that holds modules, with nothing called but classes of layers."""
    from importlib import import_module

    wanted = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    allowed: list[Any] = []
    for each in wanted:
        module, _, kind = each.rpartition(".")
        if module.partition(".")[0] not in ("ultralytics", "torch"):
            continue
        found = getattr(import_module(module), kind, None)
        if isinstance(found, type) and (issubclass(found, nn.Module) or module.startswith("ultralytics.utils")):
            allowed.append(found)
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(f"{file}: holds more than layers ({first_line(error)[:120]}); it is not read") from error


def _ultralytics_input(model: nn.Module, name: str) -> tuple[int, int, int]:
    channels = getattr(model, "yaml", {}).get("channels", 3)
    return int(channels), 640, 640


# --- segmentation_models_pytorch ------------------------------------------------------------------------------


def _smp(encoder_weights: str | None) -> Callable[[str, Mapping[str, Any]], nn.Module]:
    def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
        architecture, slash, encoder = name.partition("/")
        library = optional(
            "segmentation_models_pytorch",
            "models of segmentation_models_pytorch",
            package="segmentation-models-pytorch",
        )
        given = {"encoder_name": encoder} if slash else {}
        try:
            model: nn.Module = library.create_model(
                architecture, **given, **{"encoder_weights": encoder_weights, **arguments}
            )
        except KeyError as error:
            raise ConfigError(f"smp:{name}: {first_line(error)}; write smp:Unet/resnet18") from None
        if encoder_weights is not None:
            attach(model, Provenance(spec=ModelSpec(f"smp:{name}", arguments)))
        return model.eval()

    return build


def _smp_input(model: nn.Module, name: str) -> tuple[int, int, int]:
    return 3, 224, 224


register(
    ModelSource(
        "hf",
        "hf:ORG/NAME or hf:FOLDER, a model of transformers in the cache or a folder",
        _build_hf,
        find=_after("hf"),
        published=_published_by_hf,
        classes="num_labels",
        channels="num_channels",
        input_size=_hf_input,
        code=lambda name: "transformers",
    )
)
for _prefix, _meaning in (
    ("hf-hub", "hf-hub:ORG/NAME, a model of timm in the cache of the Hugging Face hub"),
    ("local-dir", "local-dir:FOLDER, a model of timm in a folder"),
):
    register(
        ModelSource(
            _prefix,
            _meaning,
            _timm_repository(_prefix, pretrained=False),
            find=_after(_prefix),
            published=_timm_repository(_prefix, pretrained=True),
            channels="in_chans",
            input_size=_timm_repository_input,
            reserved=TIMM_RESERVED,
        )
    )
register(
    ModelSource(
        "hub",
        "hub:OWNER/REPOSITORY:ENTRY or hub:FOLDER:ENTRY, of torch.hub; runs the repository's code",
        _build_hub,
        find=_after("hub"),
        published=_build_hub,
        fits_classes=lambda name: False,
        code=lambda name: f"hub:{name.rpartition(':')[0]}",
    )
)
register(
    ModelSource(
        "ultralytics",
        "ultralytics:yolov8n, of the package ultralytics (AGPL-3.0)",
        _build_ultralytics,
        find=_after("ultralytics"),
        published=_published_by_ultralytics,
        fits_classes=lambda name: False,
        input_size=_ultralytics_input,
        code=lambda name: "ultralytics",
    )
)
register(
    ModelSource(
        "smp",
        "smp:Unet/resnet18, of segmentation_models_pytorch",
        _smp(None),
        find=_after("smp"),
        published=_smp("imagenet"),
        classes="classes",
        channels="in_channels",
        input_size=_smp_input,
        code=lambda name: "smp",
    )
)
