"""`repair`: make a cut network compute what the original did, without labels and without training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from reconv.errors import GraphError, check_kind
from reconv.modes import evaluating
from reconv.plan import Plan
from reconv.refit.chains import find_chains
from reconv.refit.layerwise import LayerwiseRepair
from reconv.refit.passes import passable
from reconv.refit.report import RepairReport
from reconv.refit.settings import Settings, check_images
from reconv.threads import thread_pool


def repair(
    small: nn.Module, *, plan: Plan, reference: nn.Module, images: Any, settings: Settings | None = None
) -> nn.Module:
    """Solve the layers of a cut network anew, so that it computes what the original did.

    No label is read, nothing is trained, and neither network is touched.

    Args:
        small: from `prune(reference, plan)`.
        plan: what was cut.
        reference: the original network.
        images: float [n, ...], normalized as the networks expect; from the training images. Of a network of several
            inputs a tuple of such tensors, or a mapping of them by keyword; a list is one argument.
        settings: see `Settings`.

    Returns:
        The repaired copy of `small`, in its mode and on its device.

    Raises:
        ConfigError, DataError: settings or images that cannot be used. GraphError: networks that the plan does not fit.

    Cost: two forward passes and, for a layer with m inputs and n rows, n m^2 + m^3 / 3 multiply-adds; for two layers
        that are refined together about four forward passes of both per iteration, on `settings.joint_rows` positions.

    Example:
        >>> import reconv, torch
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> graph = reconv.trace(model, torch.zeros(1, 3, 8, 8))
        >>> plan = reconv.choose(graph, reconv.score(graph), reconv.Budget(macs=0.5))
        >>> small = reconv.prune(model, plan)
        >>> repaired = reconv.repair(small, plan=plan, reference=model, images=torch.randn(16, 3, 8, 8))
        >>> repaired[0].out_channels
        4
    """
    return repair_with_report(small, plan=plan, reference=reference, images=images, settings=settings)[0]


def repair_with_report(
    small: nn.Module, *, plan: Plan, reference: nn.Module, images: Any, settings: Settings | None = None
) -> tuple[nn.Module, RepairReport]:
    """As `repair`; also says what became of every layer."""
    settings = settings or Settings()
    for name, value, kind in (("small", small, nn.Module), ("plan", plan, Plan), ("reference", reference, nn.Module)):
        check_kind(f"repair: {name}", value, kind)
    check_kind("repair: settings", settings, Settings, "reconv.refit.Settings(...), or leave it out")
    check_images(images)
    check_networks(small, plan, reference)
    repaired = copy.deepcopy(small)
    device = next(repaired.parameters()).device
    with evaluating(reference, repaired), torch.no_grad(), thread_pool(device):
        chains, left = find_chains(plan.graph, repaired)
        chains, unlike = passable(plan.graph, chains, (reference, repaired), images)
        left |= unlike
        layers = LayerwiseRepair(repaired, reference, plan, chains, settings)
        layers.run(images)
    return repaired, RepairReport(tuple(layers.done), left)


def check_networks(small: nn.Module, plan: Plan, reference: nn.Module) -> None:
    """Raises GraphError unless the plan is of the reference and leaves the small network."""
    for model, keep, what in ((reference, None, "reference"), (small, plan.keep, "small network")):
        shapes: Mapping[str, tuple[int, ...]] = {name: tuple(t.shape) for name, t in model.named_parameters()}
        for name, found in shapes.items():
            expected = plan.graph.shape(name, keep) if name in plan.graph.parameters else None
            if expected != found:
                raise GraphError(
                    f"repair: {name} of the {what} has the shape {found}, by the plan {expected or 'it is unknown'}; "
                    "give the network that was traced, the plan, and what prune made of the two"
                )
