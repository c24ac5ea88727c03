"""The images that models of libraries were made for."""

from __future__ import annotations

import pytest

from reconv.zoo import load_model, own_input_size


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("torchvision:resnet18", (3, 224, 224)),
        ("torchvision:inception_v3", (3, 299, 299)),
        ("timm:mobilevit_xxs", (3, 256, 256)),
        ("resnet20", None),
    ],
)
def test_sizes_that_authors_give(name: str, size: tuple[int, int, int] | None) -> None:
    assert own_input_size(load_model(name)) == size


def test_of_other_classes_and_channels() -> None:
    assert own_input_size(load_model("timm:resnet10t", num_classes=10)) is None
    assert own_input_size(load_model("timm:resnet10t", in_chans=1)) == (1, 176, 176)


def test_a_vision_transformer_takes_its_own_size_only() -> None:
    assert own_input_size(load_model("torchvision:vit_b_16", image_size=64)) == (3, 64, 64)
