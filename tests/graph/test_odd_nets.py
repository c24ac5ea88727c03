"""Networks that try to break the engine: what it can follow is cut right, and what it cannot says why."""

from __future__ import annotations

import pytest
import torch
from laws import CUTS, check_network
from odd_nets import ODD

FREE = "free"
FAILS = "a cut copy fails: "

# network -> its groups but the last: (name, what may go at once, what is said of it)
EXPECTED: dict[str, tuple[tuple[str, int, str], ...]] = {
    "chunked_gate": (("a", 8, FREE),),
    "gated_linear_unit": (("a", 8, FREE),),
    "halves_on_ways_of_their_own": (("a", 16, FREE), ("b", 6, FREE)),
    "even_and_odd": (("a", 8, FREE),),
    "ScaleSplit": (("a", 8, "residual stream"), ("b", 4, FREE), ("c", 4, FREE)),
    "UnequalSplit": (("a", 16, FREE),),
    "burnt_number": (("a", 8, FAILS + "RuntimeError: shape '[-1, 8]' is invalid"),),
    "burnt_slice": (("a", 8, FAILS),),
    "shuffled": (("a", 8, FREE), ("b", 16, FREE)),
    "shuffled_by_a_module": (("a", 4, FREE),),
    "enlarged": (("a", 8, FREE),),
    "shrunk": (("a", 8, FREE),),
    "through_einsum": (("a", 8, FREE),),
    "channels_along_the_rows": (("a", 8, FREE), ("mix", 10, "a statistic over its channels (mean at odd_nets.py:")),
    "two_branches_selected": (("a", 8, FREE), ("down", 6, FREE)),
    "attention": (("stem", 10, "residual stream"), ("qkv", 4, FREE)),
    "attention_of_three_layers": (("stem", 10, "residual stream"), ("q", 4, FREE)),
    "attention_by_pytorch": (("stem", 10, "residual stream"), ("qkv", 4, FREE)),
    "attention_with_relative_positions": (("stem", 10, "residual stream"), ("qkv", 4, FREE)),
    "single_headed_attention": (("stem", 8, FREE), ("q", 12, FREE), ("v", 14, FREE)),
    "pytorchs_own_attention": (("stem", 2, "residual stream"), ("up", 16, FREE)),
    "HeadsOfTheStream": (("stem", 4, "residual stream"),),
    "PoolsByAsManyAsItHasHeads": (
        ("stem", 8, "residual stream"),
        ("blocks.0.attention.qkv", 2, FREE),
        ("blocks.1.attention.qkv", 4, FREE),
    ),
    "AsWideAsTheImage": (("a", 8, FREE),),
    "root_mean_square_norms": (("a", 8, "residual stream"), ("up", 12, FREE)),
    "GlobalResponseNorm": (("a", 8, FREE),),
    "layer_norm_written_out": (("a", 6, FREE), ("b", 10, FREE)),
    "ScalesThatHeadsShare": (("stem", 10, "residual stream"), ("qkv", 4, FREE)),
    "ScaleThatPartsShare": (("a", 4, FREE),),
    "spatial_attention": (("a", 8, FREE), ("look", 1, "a single channel")),
    "ClassToken": (("stem", 8, "residual stream"), ("up", 16, FREE)),
    "windows": (("a", 8, "residual stream"), ("up", 12, FREE)),
    "weight_norm": (("a", 8, FREE), ("b", 12, FREE)),
    "rolled_channels": (("a", 8, FAILS + "other channels come out than were predicted (roll at odd_nets.py:"),),
    "unfolded_patches": (("a", 8, FREE), ("b", 10, FREE)),
    "grouped_signal_of_two_layers": (
        ("a", 8, "a grouped operator reads it together with other channels"),
        ("b", 8, "a grouped operator reads it together with other channels"),
        ("g", 8, FREE),
    ),
    "widths_that_must_agree": (("a", 8, FREE),),
    "burnt_heads": (("stem", 10, FREE), ("qkv", 4, FAILS + "it gives (1, 64, 3, 4, 4), not (1, 64, 3, 2, 8) (view at")),
    "factors_that_count_channels": (
        ("stem", 8, FAILS + "it computes with "),
        ("q", 12, FAILS + "it computes with "),
        ("v", 10, FREE),
    ),
    "ProductWithAParameter": (("a", 8, FREE), ("up", 10, FREE), ("gate", 1, "a single output")),
    "standardized_weights": (("a", 12, FREE), ("b", 16, FREE)),
    "Scaled": (("a", 8, FREE),),
    "Caching": (("a", 8, FREE),),
    "numbers_that_depend_on_data": (("a", 8, "cut at fixed positions (slice at odd_nets.py:"), ("b", 6, FREE)),
    "shuffled_for_a_layer_used_twice": (("a", 2, FREE),),
    "dropout_and_a_head_in_training": (("a", 16, FREE),),
    "second_of_two_heads_in_training": (("a", 16, "in equal numbers from 2 parts"),),
}


@pytest.mark.parametrize("name", ODD)
def test_it_is_cut_right_or_left_alone_with_a_reason(name: str) -> None:
    build, shape = ODD[name]
    graph = check_network(build, torch.randn(shape), CUTS[:1] + CUTS[-1:])
    lines = str(graph).splitlines()[1:]
    assert len(graph.groups) == len(EXPECTED[name]) + 1
    for group, line, (first, size, said) in zip(graph.groups, lines, EXPECTED[name], strict=False):
        assert (group.name, group.size) == (first, size)
        assert said in line


def test_every_odd_network_is_expected() -> None:
    assert set(EXPECTED) == set(ODD)
