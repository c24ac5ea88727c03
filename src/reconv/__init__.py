"""reconv: make trained convolutional networks smaller and faster by removing channels, and prove what was done.

    model + example --trace--> ChannelGraph --score--> Saliency --choose--> Plan --prune--> smaller model

Each arrow is a pure function whose result can be looked at, saved, and handed to the next. Names are loaded when
they are first used, so that `import reconv` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconv.lazy import lazy_names

if TYPE_CHECKING:
    from reconv.artifacts import load as load
    from reconv.artifacts import save as save
    from reconv.budget import Budget as Budget
    from reconv.budget import Cost as Cost
    from reconv.budget import Limits as Limits
    from reconv.budget import Product as Product
    from reconv.compression import Compression as Compression
    from reconv.conv.geometry import ConvGeometry as ConvGeometry
    from reconv.conv.norms import channel_norms as channel_norms
    from reconv.cost import measure_latency as measure_latency
    from reconv.cost import measure_memory as measure_memory
    from reconv.cost import profile as profile
    from reconv.deploy import export as export
    from reconv.deploy import load_onnx as load_onnx
    from reconv.deploy import runtime_timer as runtime_timer
    from reconv.errors import ReconvError as ReconvError
    from reconv.frontier import explore as explore
    from reconv.graph import ChannelGraph as ChannelGraph
    from reconv.graph import register_adapter as register_adapter
    from reconv.graph import register_rule as register_rule
    from reconv.graph import trace as trace
    from reconv.pipeline import compress as compress
    from reconv.plan import Curve as Curve
    from reconv.plan import ErrorCurves as ErrorCurves
    from reconv.plan import Plan as Plan
    from reconv.plan import check_budget as check_budget
    from reconv.plan import choose as choose
    from reconv.plan import choose_widths as choose_widths
    from reconv.plan import measure_layers as measure_layers
    from reconv.refit import curves_of as curves_of
    from reconv.refit import dead_leaves as dead_leaves
    from reconv.refit import error_curves as error_curves
    from reconv.refit import gather_moments as gather_moments
    from reconv.refit import repair as repair
    from reconv.registry import register as register
    from reconv.saliency import Criterion as Criterion
    from reconv.saliency import Saliency as Saliency
    from reconv.saliency import gather_gradients as gather_gradients
    from reconv.saliency import score as score
    from reconv.saliency import score_all as score_all
    from reconv.steps import Export as Export
    from reconv.steps import Finetune as Finetune
    from reconv.steps import Quantize as Quantize
    from reconv.steps import Recalibrate as Recalibrate
    from reconv.steps import Repair as Repair
    from reconv.surgery import prune as prune
    from reconv.surgery import verify as verify
    from reconv.zoo import load_model as load_model
    from reconv.zoo import load_recipe as load_recipe

__version__ = "0.1.0"

_HOME = {
    "artifacts": ("load", "save"),
    "budget": ("Budget", "Cost", "Limits", "Product"),
    "pipeline": ("compress",),
    "compression": ("Compression",),
    "deploy": ("export", "load_onnx", "runtime_timer"),
    "conv.geometry": ("ConvGeometry",),
    "conv.norms": ("channel_norms",),
    "cost": ("measure_latency", "measure_memory", "profile"),
    "errors": ("ReconvError",),
    "frontier": ("explore",),
    "graph": ("ChannelGraph", "register_adapter", "register_rule", "trace"),
    "plan": ("Curve", "ErrorCurves", "Plan", "check_budget", "choose", "choose_widths", "measure_layers"),
    "refit": ("curves_of", "dead_leaves", "error_curves", "gather_moments", "repair"),
    "registry": ("register",),
    "saliency": ("Criterion", "Saliency", "gather_gradients", "score", "score_all"),
    "steps": ("Export", "Finetune", "Quantize", "Recalibrate", "Repair"),
    "surgery": ("prune", "verify"),
    "zoo": ("load_model", "load_recipe"),
}
__getattr__, _names = lazy_names(__name__, _HOME)
__all__ = list(_names)  # pyright: ignore[reportUnsupportedDunderAll]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
