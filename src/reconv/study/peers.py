"""Pruning by another library at the same budget, on the same layers, for comparison: Torch-Pruning.

Its network is counted and evaluated by our own functions. It is given one share for every prunable layer, which is
bisected until the budget is met; the residual streams stay whole.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from reconv.cost import profile
from reconv.errors import BudgetError, ConfigError, unknown_name
from reconv.graph import ChannelGraph, trace
from reconv.optional import optional
from reconv.plan import Budget
from reconv.provenance import Provenance, attach, provenance_of

PEER = "torch-pruning:"  # prefix of the names of the peer's criteria
_BISECTIONS = 10

# Name here -> class and arguments of its importance.
IMPORTANCES: dict[str, tuple[str, dict[str, Any]]] = {
    "l1": ("MagnitudeImportance", {"p": 1}),
    "l2": ("MagnitudeImportance", {"p": 2}),
    "lamp": ("LAMPImportance", {"p": 2}),
    "fpgm": ("FPGMImportance", {}),
    "random": ("RandomImportance", {}),
}


def is_peer(criterion: str) -> bool:
    """Whether another library prunes by this criterion."""
    return criterion.startswith(PEER)


def peer_named(name: str) -> str:
    """The peer's criterion of this name, such as "torch-pruning:l1".

    Raises:
        UnknownNameError: there is none.
    """
    names = [PEER + key for key in IMPORTANCES]
    if name.lower() not in names:
        raise unknown_name("criterion", name, names)
    return name.lower()


def share_of_macs(budget: str) -> float | None:
    """The share of MACs that a budget asks for; None where it is another one, which the peer cannot meet."""
    limits = {} if budget.startswith("cfg") else Budget.parse([budget]).limits
    return limits["macs"] if set(limits) == {"macs"} and limits["macs"] < 1 else None


def prune_by_peer(
    graph: ChannelGraph, criterion: str, budget: str, prunable: Collection[str], seed: int = 0
) -> nn.Module:
    """The network as Torch-Pruning prunes it to a budget.

    Args:
        graph: of the network. criterion: as `peer_named` gives it. budget: a share of MACs, such as "macs=0.5".
        prunable: names of the layers whose output channels may go. seed: of random scores.

    Raises:
        ConfigError: the library is not installed, or the budget is not one of MACs. BudgetError: it cannot be met.
    """
    library, share = optional("torch_pruning", criterion, "peers"), share_of_macs(budget)
    if share is None:
        raise ConfigError(f"{criterion}: {budget}; the peer takes a share of MACs only; give macs=0.5 or the like")
    limit = share * profile(graph).macs
    low, high, best = 0.0, 1.0, None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        small = _pruned(library, graph, criterion, prunable, seed, middle)
        if profile(trace(small, graph.inputs)).macs <= limit:
            high, best = middle, small
        else:
            low = middle
    if best is None:
        raise BudgetError(f"{criterion}: {budget} is not reached by any share; give a larger budget")
    # Not an architecture that a manifest could rebuild, but the same input.
    return attach(best, Provenance(None, {}, provenance_of(graph.model).normalization))


def _pruned(
    library: Any, graph: ChannelGraph, criterion: str, prunable: Collection[str], seed: int, share: float
) -> nn.Module:
    model = copy.deepcopy(graph.model)
    kind, arguments = IMPORTANCES[criterion.removeprefix(PEER)]
    ignored = [model.get_submodule(layer.name) for layer in graph.layers if layer.name not in prunable]
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.enable_grad():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        pruner = library.pruner.MagnitudePruner(
            model,
            graph.inputs,
            importance=getattr(library.importance, kind)(**arguments),
            pruning_ratio=share,
            ignored_layers=ignored,
        )
        pruner.step()
    return model.eval()
