"""What a network costs, whole or cut: multiply-adds, parameters, memory, file size, and measured time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconv.lazy import lazy_names

if TYPE_CHECKING:
    from reconv.cost.count import LayerCost as LayerCost
    from reconv.cost.count import Profile as Profile
    from reconv.cost.count import profile as profile
    from reconv.cost.count import total_macs as total_macs
    from reconv.cost.count import total_parameters as total_parameters
    from reconv.cost.latency import Latency as Latency
    from reconv.cost.latency_table import LatencyTable as LatencyTable
    from reconv.cost.memory import Activation as Activation
    from reconv.cost.memory import activations as activations
    from reconv.cost.memory import measure_memory as measure_memory
    from reconv.cost.memory import peak_memory as peak_memory
    from reconv.cost.memory import predicted_memory as predicted_memory
    from reconv.cost.terms import macs_products as macs_products
    from reconv.cost.terms import params_products as params_products
    from reconv.cost.timing import PYTORCH as PYTORCH
    from reconv.cost.timing import LatencyModel as LatencyModel
    from reconv.cost.timing import PairTimer as PairTimer
    from reconv.cost.timing import Timer as Timer
    from reconv.cost.timing import as_timer as as_timer
    from reconv.cost.timing import measure_latency as measure_latency
    from reconv.cost.weights_file import file_size as file_size

_HOME = {
    "count": ("LayerCost", "Profile", "profile", "total_macs", "total_parameters"),
    "latency": ("Latency",),
    "latency_table": ("LatencyTable",),
    "memory": ("Activation", "activations", "measure_memory", "peak_memory", "predicted_memory"),
    "terms": ("macs_products", "params_products"),
    "timing": ("LatencyModel", "PYTORCH", "PairTimer", "Timer", "as_timer", "measure_latency"),
    "weights_file": ("file_size",),
}
__getattr__, _names = lazy_names(__name__, _HOME)
__all__ = list(_names)  # pyright: ignore[reportUnsupportedDunderAll]
