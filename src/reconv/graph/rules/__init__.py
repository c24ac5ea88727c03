"""The table of operators: how labels pass through each one.

A rule takes a `Call` and returns what is known of its outputs. To teach the engine an operator, write a rule and add a
row to `RULES` (or `register_rule`). An operator without a row freezes every channel that enters it, and says so.
Element-wise operators need no row: PyTorch tags them.
"""

from __future__ import annotations

from typing import Any

import torch

from reconv.errors import unknown_name
from reconv.graph.record import Rule
from reconv.graph.rules import layers, moving, norms, sums
from reconv.graph.rules.common import (
    contract,
    elementwise,
    first_alone,
    joined,
    labels_along,
    like,
    nothing,
    same,
    unknown,
)

# What a trace and a proof count alike: the first run of one is the first run of the other.
STATISTICS = "mean amax amin var std var_mean std_mean"

_ROWS: tuple[tuple[Rule, str], ...] = (
    # What multiplies by a weight
    (layers.convolution, "convolution"),
    (layers.matrix_product, "mm addmm bmm baddbmm"),
    (
        layers.attention,
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
        "_scaled_dot_product_fused_attention_overrideable _scaled_dot_product_attention_math_for_mps",
    ),
    # Normalization
    (
        norms.batch_norm,
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
        "miopen_batch_norm _batch_norm_with_update _batch_norm_no_update",
    ),
    (norms.group_norm, "native_group_norm"),
    (norms.layer_norm, "native_layer_norm"),
    (norms.weight_norm, "_weight_norm_interface"),
    # Views and permutations
    (moving.reshape, "view _unsafe_view reshape _reshape_alias _reshape_copy view_copy"),
    (moving.moved(moving.permuted), "permute permute_copy"),
    (moving.moved(moving.transposed), "t transpose numpy_T"),
    (moving.moved(moving.expanded), "expand"),
    (moving.moved(moving.unsqueezed), "unsqueeze"),
    (moving.moved(moving.squeezed), "squeeze"),
    (moving.moved(moving.flipped), "flip"),
    (moving.moved(moving.rolled), "roll"),
    (moving.moved(moving.pixel_shuffled), "pixel_shuffle"),
    (moving.moved(moving.pixel_unshuffled), "pixel_unshuffle"),
    (moving.moved(moving.channels_shuffled), "channel_shuffle native_channel_shuffle"),
    # Parts
    (moving.sliced, "slice select split split_with_sizes unbind narrow"),
    (moving.halves_multiplied, "glu"),
    (moving.concatenated, "cat"),
    (moving.stacked, "stack"),
    (moving.padded, "constant_pad_nd"),
    (moving.repeated, "repeat"),
    (moving.copied_into, "copy_"),
    (moving.indexed, "index"),
    (moving.index_selected, "index_select"),
    (moving.embedded, "embedding"),
    (moving.windowed, "unfold"),
    # Sums, statistics, pools, orders
    (sums.reduced(exact=True), "sum linalg_vector_norm"),
    (sums.reduced(exact=False), "max min prod logsumexp argmax argmin any all"),
    (sums.statistic, STATISTICS),
    (
        sums.pooled(2),
        "max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d "
        "_upsample_nearest_exact2d upsample_bilinear2d _upsample_bilinear2d_aa upsample_bicubic2d "
        "_upsample_bicubic2d_aa reflection_pad2d replication_pad2d",
    ),
    (
        sums.pooled(1),
        "max_pool1d_with_indices avg_pool1d adaptive_avg_pool1d upsample_nearest1d upsample_linear1d "
        "reflection_pad1d replication_pad1d",
    ),
    (
        sums.pooled(3),
        "max_pool3d_with_indices avg_pool3d _adaptive_avg_pool3d adaptive_max_pool3d upsample_nearest3d "
        "upsample_trilinear3d reflection_pad3d replication_pad3d",
    ),
    (sums.along_dim, "_softmax _log_softmax _safe_softmax cumsum sort topk"),
    (sums.unfolded, "im2col"),
    (sums.folded, "col2im"),
    # The same tensor, or the same labels
    (elementwise, "clone alias detach _to_copy contiguous lift_fresh to _conj"),
    (elementwise, "hardswish _prelu_kernel rrelu_with_noise masked_fill"),  # element-wise, but not tagged so
    (first_alone, "native_dropout"),
    (same, "as_strided bernoulli zero fill"),
    (like, "zeros_like ones_like empty_like full_like rand_like randn_like"),
    (
        nothing,
        "new_zeros new_ones new_empty new_full",
    ),
)

RULES: dict[str, Rule] = {f"aten.{name}": rule for rule, names in _ROWS for name in names.split()}


def register_rule(operator: str, rule: Rule | str) -> None:
    """Teach the engine an operator, such as one of your own.

    Args:
        operator: its name, such as "mylib.my_op" (or "mylib::my_op").
        rule: what to do at a `Call` of it; or the name of an operator that passes channels on the same way, such as
            "aten.mul". With that, the arguments must be named as that operator's, where its rule asks for them.

    Raises:
        UnknownNameError: `rule` names an operator that has no rule.
    """
    RULES[operator.replace("::", ".")] = _rule_like(rule) if isinstance(rule, str) else rule


def _rule_like(operator: str) -> Rule:
    space, _, name = operator.replace("::", ".").partition(".")
    packet = getattr(getattr(torch.ops, space), name, None)
    rule = unknown if packet is None else rule_of(getattr(packet, packet.overloads()[0]))
    if rule is unknown:
        raise unknown_name("operator with a rule", operator, RULES)
    return rule


def rule_of(func: Any) -> Rule:
    """The rule of an ATen operator: its row, else the element-wise rule where PyTorch tags it so, else `unknown`."""
    name = f"{func.namespace}.{func._opname}"
    rule = RULES.get(name) or RULES.get(name.removesuffix("_"))
    if rule is not None:
        return rule
    return elementwise if torch.Tag.pointwise in func.tags else unknown


__all__ = ["RULES", "contract", "joined", "labels_along", "register_rule", "rule_of"]
