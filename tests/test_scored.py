"""What scores are, in words."""

from __future__ import annotations

import pytest

from reconv.pipeline.scored import scored_by
from reconv.saliency import Criterion


@pytest.mark.parametrize("name", [row.name for row in Criterion.registry])
def test_every_criterion_says_what_it_is_and_where_from(name: str) -> None:
    text = scored_by(name)
    assert text != name
    assert "that matrix" not in text  # it stands by itself
    assert "their squares" not in text
    images = {"reconstruction", "activation", "taylor", "obd_c"}
    source = "from images" if name in images else "drawn by the seed" if name == "random" else "from the weights"
    assert text.endswith(source)


def test_a_direction_and_a_file_are_told() -> None:
    assert "of the kernels that read the channel" in scored_by("l1, backward")
    assert scored_by("l1", "F.safetensors").endswith("read from F.safetensors")
    assert scored_by("someone's own") == "someone's own; no unit, computed from the weights"
