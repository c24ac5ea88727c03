"""What images a library's model was made for, where its author says so."""

from __future__ import annotations

from torch import nn

from reconv.provenance import provenance_of


def own_input_size(model: nn.Module) -> tuple[int, int, int] | None:
    """Channels, height and width of the images that a model of torchvision or timm was published for.

    None for other models, and for one that was built for other classes: then nobody knows its images.
    """
    spec = provenance_of(model).spec
    if spec is None or "num_classes" in spec.arguments:
        return None
    source, _, name = spec.name.partition(":")
    if source == "timm":
        channels, height, width = model.pretrained_cfg["input_size"]  # type: ignore[index]
        return int(spec.arguments.get("in_chans", channels)), height, width
    if source == "torchvision":
        from torchvision.models import get_model_weights

        size = getattr(model, "image_size", None)  # of vision transformers, which take no other
        (size,) = [size] if size else get_model_weights(name).DEFAULT.transforms().crop_size
        return 3, size, size
    return None
