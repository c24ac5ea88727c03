"""A layer and its BatchNorm are read as one map and written back as two that compute it."""

from __future__ import annotations

import pytest
import torch
from repair_nets import settled
from torch import nn

from reconv.refit import affine_map


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d(6), nn.BatchNorm2d(6, affine=False)])
@pytest.mark.parametrize("groups", [1, 2])
def test_what_is_written_is_what_was_asked(bias: bool, norm: nn.Module | None, groups: int) -> None:
    conv = nn.Conv2d(4, 6, 1, bias=bias, groups=groups)
    both = settled(nn.Sequential(conv, norm) if norm is not None else nn.Sequential(conv)).double()
    x = torch.randn(200, 4, 1, 1, dtype=torch.float64)
    matrix = affine_map.read_matrix(conv.weight, conv.bias, norm, "conv", groups)
    rows = x.reshape(200, groups, -1)
    constant = affine_map.has_constant(conv.bias, norm)
    assert constant == (bias or norm is not None)
    if constant:
        rows = torch.cat([rows, torch.ones_like(rows[..., :1])], 2)
    torch.testing.assert_close(torch.einsum("ngi,gio->ngo", rows, matrix).flatten(1), both(x).flatten(1))

    wanted = torch.randn_like(matrix)
    expected = torch.einsum("ngi,gio->ngo", rows, wanted).flatten(1)
    linear = expected - wanted[:, -1].flatten() if constant else expected
    before = conv.weight.detach().clone()
    variance, mean = torch.var_mean(linear.detach(), 0, correction=0)
    affine_map.write_matrix(wanted, (mean, variance), conv, norm, "conv")
    torch.testing.assert_close(both(x).flatten(1), expected)
    if norm is not None and norm.affine:
        torch.testing.assert_close(conv.weight.flatten(1).norm(dim=1), before.flatten(1).norm(dim=1))
        seen = conv(x).flatten(1)
        torch.testing.assert_close(norm.running_mean, seen.mean(0))
        torch.testing.assert_close(norm.running_var, seen.var(0, correction=0))


def test_a_channel_that_has_become_constant_stays_finite() -> None:
    conv, norm = nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3).eval()
    matrix = affine_map.read_matrix(conv.weight, None, norm, "conv", 1)
    matrix[:, :-1, 0] = 0
    affine_map.write_matrix(matrix, (torch.zeros(3), torch.tensor([0.0, 1, 1])), conv, norm, "conv")
    assert all(bool(torch.isfinite(t).all()) for t in [conv.weight, *norm.state_dict().values()])
