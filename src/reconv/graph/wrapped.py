"""Models that are no longer made of modules whose code runs: compiled, scripted, spread over processes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from reconv.errors import GraphError
from reconv.graph.copies import named_modules


def check_unwrapped(model: nn.Module) -> None:
    """Refuse what cannot be followed or copied, with what to give instead.

    Raises:
        GraphError: a compiled, scripted, traced or distributed model.
    """
    name = type(model).__name__
    if hasattr(model, "_orig_mod"):
        raise GraphError(
            f"trace: {name} is what torch.compile makes, and compiled code cannot be cut; give the model itself, "
            "model._orig_mod, and compile the pruned one"
        )
    if isinstance(model, DistributedDataParallel):
        raise GraphError(f"trace: {name} belongs to a group of processes; give model.module, and wrap the pruned one")
    for path, module in named_modules(model):
        if isinstance(module, torch.jit.ScriptModule):
            where = f"{path} is" if path else "the model is"
            raise GraphError(
                f"trace: {where} scripted or traced by torch.jit ({type(module).__name__}), which has no layers to "
                "cut; give the nn.Module that it was made of, and script the pruned one"
            )
