"""Other libraries' cuts, at the same budget and on the same layers, for comparison: Torch-Pruning.

Its network is taken as it comes and measured by our own counting and evaluation. It is asked for the same share of
every layer that `choose` may cut (inner channels; residual streams stay), and the share is bisected until the budget
is met.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from typing import Any

import torch
from torch import nn

from reconv.cost import profile
from reconv.errors import BudgetError, ConfigError, unknown_name
from reconv.graph import trace
from reconv.plan import Budget
from reconv.provenance import Provenance, attach, provenance_of
from reconv.study.bench import Bench
from reconv.study.cell import PEER, Cell

_BISECTIONS = 10

# Name here -> class and arguments of its importance.
IMPORTANCES: dict[str, tuple[str, dict[str, Any]]] = {
    "l1": ("MagnitudeImportance", {"p": 1}),
    "l2": ("MagnitudeImportance", {"p": 2}),
    "lamp": ("LAMPImportance", {"p": 2}),
    "fpgm": ("FPGMImportance", {}),
    "random": ("RandomImportance", {}),
}


def peer_named(name: str) -> str:
    """The peer's criterion of this name, such as "torch-pruning:l1".

    Raises:
        UnknownNameError: there is none.
    """
    names = [PEER + key for key in IMPORTANCES]
    if name.lower() not in names:
        raise unknown_name("criterion", name, names)
    return name.lower()


def cut_by_peer(bench: Bench, cell: Cell) -> nn.Module:
    """The network as Torch-Pruning cuts it to a cell's budget.

    Raises:
        ConfigError: the library is not installed, or the budget is not of MACs. BudgetError: it cannot be met.
    """
    library = _library()
    limits = Budget.parse([cell.budget]).limits
    share = limits.get("macs")
    if share is None or len(limits) != 1 or share >= 1:
        raise ConfigError(f"{cell.criterion}: {cell.budget}; the peer is asked for a share of MACs, such as macs=0.5")
    limit = share * profile(bench.graph).macs
    low, high, best = 0.0, 1.0, None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        small = _cut(library, bench, cell, middle)
        if profile(trace(small, bench.data.example().to(bench.device))).macs <= limit:
            high, best = middle, small
        else:
            low = middle
    if best is None:
        raise BudgetError(f"{cell.criterion}: {cell.budget} is not reached by any share; ask for more MACs")
    # Not an architecture that a recipe could rebuild, but the same input.
    return attach(best, Provenance(None, {}, provenance_of(bench.model).normalization))


def _cut(library: Any, bench: Bench, cell: Cell, share: float) -> nn.Module:
    model = copy.deepcopy(bench.model)
    kind, arguments = IMPORTANCES[cell.criterion.removeprefix(PEER)]
    ignored = [model.get_submodule(layer.name) for layer in bench.graph.layers if layer.name not in bench.cuttable]
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        warnings.simplefilter("ignore")
        torch.manual_seed(cell.seed)
        pruner = library.pruner.MagnitudePruner(
            model,
            bench.data.example().to(bench.device),
            importance=getattr(library.importance, kind)(**arguments),
            pruning_ratio=share,
            ignored_layers=ignored,
        )
        pruner.step()
    return model.eval()


def _library() -> Any:
    try:
        return importlib.import_module("torch_pruning")
    except ImportError:
        raise ConfigError(
            "torch-pruning: not installed; pip install 'reconv[peers]', or leave its criteria out"
        ) from None
