"""Which models' code could notice a cut: only those get a dry run, and none that would fail is left out."""

from __future__ import annotations

import pytest
import torch
from nets import NETS, Net, conv, head
from odd_nets import ODD
from torch import Tensor, nn
from torch.nn import functional as F

from reconv.graph import build, trace
from reconv.graph.build import _could_notice
from reconv.graph.constraints import Constraints, solve_constraints
from reconv.graph.dry_run import generic_cut, run_cut_copy
from reconv.graph.rules import rule_of
from reconv.graph.tracing import record_forward
from reconv.zoo import load_model

EXAMPLE = torch.randn(1, 3, 8, 8)


def noticed(model: nn.Module) -> str:
    return record_forward(model, EXAMPLE, rule_of).record.noticed


@pytest.mark.parametrize(
    "name", ["torchvision:resnet18", "torchvision:squeezenet1_1", "torchvision:mobilenet_v3_small"]
)
def test_plain_networks_get_no_dry_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a dry run")

    monkeypatch.setattr(build, "run_cut_copy", never)
    assert any(group.free.all() for group in trace(load_model(name), torch.randn(1, 3, 64, 64)).groups)


def test_what_gets_no_dry_run_would_not_fail() -> None:
    left_out = 0
    for make, shape in [*NETS.values(), *ODD.values()]:
        model, example = make(), torch.randn(shape)
        recording = record_forward(model, example, rule_of)
        if recording.fake is not None and not _could_notice(model, recording.record):
            graph = solve_constraints(model, recording.record, example, Constraints())
            assert all(
                run_cut_copy(recording, graph, example, rule_of, generic_cut(graph, n)) is None for n in (0, 1)
            ), make
            left_out += 1
    assert left_out > 10


class ReadsAWidth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.end = conv(3, 8), conv(3, 10), conv(10, 8), conv(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.a(x), self.b(x)
        return head(self.end(y + self.c(z) if self.b.out_channels > self.a.out_channels else y))


def test_code_that_reads_the_width_of_a_layer_gets_a_dry_run() -> None:
    model = ReadsAWidth()
    recording = record_forward(model, EXAMPLE, rule_of)
    assert recording.record.noticed == ""
    assert _could_notice(model, recording.record)


@torch.jit.script
def compiled(x: Tensor) -> Tensor:
    return x.reshape(x.size(0), 8, -1).mean(2)


def test_what_counts_is_heard() -> None:
    layers = {"a": conv(3, 8), "b": conv(8, 4)}
    grouped = nn.Parameter(torch.randn(8, 2, 3, 3))
    assert noticed(Net(lambda m, x: head(m.b(F.relu(m.a(x)))), **layers)) == ""
    assert noticed(Net(lambda m, x: head(m.b(m.a(x)[:, :8])), **layers)) == "__getitem__"
    assert noticed(Net(lambda m, x: head(m.b(m.a(x) / m.a(x).shape[1])), **layers)) == "__get__"
    assert noticed(Net(lambda m, x: head(m.b(F.conv2d(m.a(x), grouped, groups=4))), **layers)) == "conv2d"
    assert noticed(Net(lambda m, x: m.c(compiled(m.a(x))), a=conv(3, 8), c=nn.Linear(8, 4)))
