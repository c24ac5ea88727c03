"""The table of operators: one row says all that the engine knows of an operator.

How channel labels pass through it (the trace), what it gives without data (the trace's speed), which of PyTorch's
functions run it and take no number that could count channels (whether a cut has to be tried out), whether it passes a
signal on channel by channel, and between which values, or adds two (the repair), and how it is computed over the
channels that stay (the proof).

A rule takes a `Call` and returns what is known of its outputs. To teach the engine an operator, add a row to
`OPERATORS` (or `register_rule`). An operator without a row freezes every channel that enters it, and says so.
Element-wise operators need no row: PyTorch tags them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from reconv.errors import ConfigError, unknown_name
from reconv.graph import shortcuts
from reconv.graph.record import Rule
from reconv.graph.rules import layers, moving, norms, sums
from reconv.graph.rules.common import (
    added,
    contract,
    elementwise,
    first_alone,
    joined,
    labels_along,
    like,
    nothing,
    same,
    same_tensor,
    unknown,
)
from reconv.graph.rules.operator import Bounds, Operator, bounds_from

_ROWS: tuple[tuple[str, Operator], ...] = (
    # What multiplies by a weight
    ("convolution", Operator(layers.convolution, shape=shortcuts.convolution, multiplies=True)),
    (
        "mm addmm",
        Operator(layers.matrix_product, shape=shortcuts.matrix_product, functions="linear", multiplies=True),
    ),
    ("bmm baddbmm", Operator(layers.matrix_product, multiplies=True)),
    ("mv dot vdot", Operator(layers.vector_product)),
    (
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
        "_scaled_dot_product_fused_attention_overrideable _scaled_dot_product_attention_math_for_mps",
        Operator(layers.attention),
    ),
    ("mkldnn_rnn_layer", Operator(layers.recurrent, multiplies=True)),
    ("_cudnn_rnn miopen_rnn", Operator(layers.recurrent_stack)),
    # Normalization
    (
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
        "miopen_batch_norm _batch_norm_with_update _batch_norm_no_update",
        Operator(
            norms.batch_norm, shape=shortcuts.batch_norm, functions="batch_norm", over_kept=norms.standardize_over_kept
        ),
    ),
    ("native_group_norm", Operator(norms.group_norm, over_kept=norms.group_norm_over_kept)),
    (
        "native_layer_norm",
        Operator(norms.layer_norm, shape=shortcuts.layer_norm, over_kept=norms.layer_norm_over_kept),
    ),
    ("_weight_norm_interface", Operator(norms.weight_norm)),
    # Views and permutations
    ("view _unsafe_view", Operator(moving.reshape, shape=shortcuts.view, functions="flatten")),
    ("reshape _reshape_alias _reshape_copy view_copy", Operator(moving.reshape)),
    ("permute permute_copy", Operator(moving.moved(moving.permuted), functions="permute")),
    ("t", Operator(moving.moved(moving.transposed), shape=shortcuts.transposed_matrix)),
    ("transpose numpy_T", Operator(moving.moved(moving.transposed), functions="transpose")),
    ("expand", Operator(moving.moved(moving.expanded))),
    ("unsqueeze", Operator(moving.moved(moving.unsqueezed), channelwise=True)),
    ("squeeze", Operator(moving.moved(moving.squeezed), channelwise=True)),
    ("flip", Operator(moving.moved(moving.flipped))),
    ("roll", Operator(moving.moved(moving.rolled))),
    ("pixel_shuffle", Operator(moving.moved(moving.pixel_shuffled))),
    ("pixel_unshuffle", Operator(moving.moved(moving.pixel_unshuffled))),
    ("channel_shuffle native_channel_shuffle", Operator(moving.moved(moving.channels_shuffled))),
    # Parts
    ("slice select split split_with_sizes unbind narrow", Operator(moving.sliced)),
    ("glu", Operator(moving.halves_multiplied)),
    ("cat", Operator(moving.concatenated, shape=shortcuts.concatenation, functions="cat")),
    ("stack", Operator(moving.stacked)),
    ("constant_pad_nd", Operator(moving.padded)),
    ("repeat", Operator(moving.repeated)),
    ("copy_", Operator(moving.copied_into)),
    ("index", Operator(moving.indexed)),
    ("index_select", Operator(moving.index_selected)),
    ("embedding", Operator(moving.embedded)),
    ("unfold", Operator(moving.windowed)),
    # Sums, statistics, pools, orders
    ("sum linalg_vector_norm", Operator(sums.reduced(exact=True))),
    ("prod logsumexp argmax argmin any all", Operator(sums.reduced(exact=False))),
    ("max min", Operator(sums.extreme, statistic=True)),
    ("mean", Operator(sums.statistic, shape=shortcuts.mean, functions="mean", statistic=True)),
    ("amax amin var std var_mean std_mean", Operator(sums.statistic, statistic=True)),
    (
        "max_pool2d_with_indices avg_pool2d",
        Operator(sums.pooled(2), functions="max_pool2d _max_pool2d avg_pool2d", channelwise=True),
    ),
    (
        "_adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d "
        "_upsample_bilinear2d_aa upsample_bicubic2d _upsample_bicubic2d_aa reflection_pad2d replication_pad2d",
        Operator(sums.pooled(2), functions="adaptive_avg_pool2d adaptive_max_pool2d interpolate"),
    ),
    ("max_pool1d_with_indices avg_pool1d", Operator(sums.pooled(1), channelwise=True)),
    (
        "adaptive_avg_pool1d upsample_nearest1d upsample_linear1d reflection_pad1d replication_pad1d",
        Operator(sums.pooled(1)),
    ),
    (
        "max_pool3d_with_indices avg_pool3d _adaptive_avg_pool3d adaptive_max_pool3d upsample_nearest3d "
        "upsample_trilinear3d reflection_pad3d replication_pad3d",
        Operator(sums.pooled(3)),
    ),
    ("_softmax _log_softmax _safe_softmax cumsum sort topk", Operator(sums.along_dim)),
    ("im2col", Operator(sums.unfolded)),
    ("col2im", Operator(sums.folded)),
    # Element-wise, channel by channel
    (
        "relu",
        Operator(
            elementwise,
            shape=shortcuts.one_signal,
            functions="relu relu_",
            channelwise=True,
            gate=lambda _: (0.0, float("inf")),
        ),
    ),
    (
        "hardtanh",
        Operator(
            elementwise,
            shape=shortcuts.one_signal,
            functions="relu6 hardtanh hardtanh_",
            channelwise=True,
            gate=bounds_from("min_val", "max_val"),
        ),
    ),
    (
        "silu gelu sigmoid hardswish hardsigmoid",  # hardswish is not tagged as element-wise
        Operator(
            elementwise,
            shape=shortcuts.one_signal,
            functions="silu gelu sigmoid sigmoid_ hardswish hardsigmoid",
            channelwise=True,
        ),
    ),
    (
        "leaky_relu elu celu selu mish softplus tanh",
        Operator(elementwise, functions="leaky_relu elu mish softplus tanh", channelwise=True),
    ),
    (
        "add",
        Operator(added, shape=shortcuts.two_signals, functions="add add_ __add__ __radd__ __iadd__", adds=True),
    ),
    ("sub", Operator(added, shape=shortcuts.two_signals, functions="sub __sub__")),
    ("rsub", Operator(added)),
    (
        "mul div",
        Operator(
            elementwise,
            shape=shortcuts.two_signals,
            functions="mul mul_ __mul__ __rmul__ __imul__ div __truediv__",
        ),
    ),
    ("neg", Operator(elementwise, functions="neg __neg__")),
    ("_prelu_kernel rrelu_with_noise masked_fill", Operator(elementwise)),  # element-wise, but not tagged so
    ("native_dropout", Operator(first_alone, functions="dropout dropout2d")),
    # The same tensor, or the same labels
    (
        "clone alias detach _to_copy contiguous lift_fresh to",
        Operator(same_tensor, functions="clone detach contiguous"),
    ),
    ("_conj", Operator(elementwise)),
    ("as_strided bernoulli zero fill", Operator(same)),
    ("zeros_like ones_like empty_like full_like rand_like randn_like", Operator(like)),
    ("new_zeros new_ones new_empty new_full", Operator(nothing)),
    ("empty", Operator(elementwise, shape=shortcuts.reserved)),
)

OPERATORS: dict[str, Operator] = {"torchvision.deform_conv2d": Operator(layers.deformable)}
OPERATORS |= {f"aten.{name}": row for names, row in _ROWS for name in names.split()}
SIZELESS_FUNCTIONS = frozenset(name for _, row in _ROWS for name in row.functions.split())
_ELEMENTWISE, _UNKNOWN = Operator(elementwise), Operator(unknown)


def register_rule(
    operator: str,
    rule: Rule | str,
    *,
    channelwise: bool = False,
    gate: Bounds | None = None,
    adds: bool = False,
) -> None:
    """Teach the engine an operator, such as one of your own.

    Args:
        operator: its name, such as "mylib.my_op" (or "mylib::my_op").
        rule: what to do at a `Call` of it; or the name of an operator that passes channels on the same way, such as
            "aten.mul". With that, the arguments must be named as that operator's, where its rule asks for them.
        channelwise: it passes its first argument on channel by channel, changed by constants and parameters alone (an
            activation, a gate, a pool), and is differentiable. A repair refines the layers on its two sides together.
        gate: between which values it passes its argument on unchanged, such as `(0, 6)`; beyond, what it gives depends
            only on the side.
        adds: it is the sum of its two arguments. A repaired layer in front of it restores the original sum.

    Raises:
        UnknownNameError: `rule` names an operator that has no rule. ConfigError: `gate` is not two ascending numbers.

    Example:
        >>> import reconv
        >>> reconv.register_rule("mylib::my_clip", "aten.relu", channelwise=True, gate=(0, 6))
    """
    if gate is not None and not (len(gate) == 2 and gate[0] < gate[1]):
        raise ConfigError(f"register_rule: gate={gate}; give two ascending numbers, such as (0, 6)")
    bounds = None if gate is None else (float(gate[0]), float(gate[1]))
    OPERATORS[operator.replace("::", ".")] = Operator(
        _rule_like(rule) if isinstance(rule, str) else rule,
        channelwise=channelwise,
        gate=lambda _: bounds,
        adds=adds,
    )


def _rule_like(operator: str) -> Rule:
    namespace, _, name = operator.replace("::", ".").partition(".")
    packet = getattr(getattr(torch.ops, namespace), name, None)
    rule = unknown if packet is None else rule_of(getattr(packet, packet.overloads()[0]))
    if rule is unknown:
        raise unknown_name("operator with a rule", operator, OPERATORS)
    return rule


def operator_named(name: str) -> Operator:
    """The row of an operator, or of the one that it is the in-place form of; else one that knows nothing."""
    return OPERATORS.get(name) or OPERATORS.get(name.removesuffix("_")) or _UNKNOWN


def operator_of(func: Any) -> Operator:
    """The row of an ATen operator; without one, that of element-wise operators where PyTorch tags it so."""
    row = operator_named(f"{func.namespace}.{func._opname}")
    return _ELEMENTWISE if row is _UNKNOWN and torch.Tag.pointwise in func.tags else row


def rule_of(func: Any) -> Rule:
    """How labels pass through an ATen operator."""
    return operator_of(func).rule


def outputs_without_data(func: Any, arguments: shortcuts.Arguments, fake: FakeTensorMode) -> Any:
    """What a frequent operator gives, without data; None where the operator has to be asked."""
    shape = operator_of(func).shape
    if shape in (shortcuts.one_signal, shortcuts.two_signals) and func._opname.endswith("_"):
        shape = shortcuts.in_place
    return None if shape is None else shape(fake, arguments)


__all__ = [
    "OPERATORS",
    "Bounds",
    "Operator",
    "contract",
    "joined",
    "labels_along",
    "operator_named",
    "operator_of",
    "outputs_without_data",
    "register_rule",
    "rule_of",
]
