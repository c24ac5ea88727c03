"""The kinds of budget that come with reconv."""

from __future__ import annotations

from reconv.budget import BYTES, MICROSECONDS, Cost
from reconv.cost.memory import peak_memory, predicted_memory
from reconv.cost.terms import macs_products, memory_products, params_products, weights_products
from reconv.cost.weights_file import file_size
from reconv.graph.channels import ChannelGraph, Mask
from reconv.registry import register

_HEADERS = 4096  # bytes by which the headers of two cuts may differ, beyond what the names of edits take


def _memory(graph: ChannelGraph, keep: Mask) -> float:
    return predicted_memory(graph, keep) or peak_memory(graph, keep)


register(
    Cost(
        "macs", "multiply-adds of layers and of products of signals for one image", label="MACs", products=macs_products
    )
)
register(Cost("params", "parameters of the model", label="parameters", products=params_products))
register(
    Cost("channels", "channels, of those that may be removed at all", label="channels that may go", source="removable")
)
register(
    Cost(
        "size",
        "bytes of the saved weights, header included",
        label="file",
        unit=BYTES,
        products=weights_products,
        amount=file_size,
        slack=_HEADERS,
    )
)
register(
    Cost(
        "memory",
        "bytes of live activations at the widest moment of one forward pass of the example",
        unit=BYTES,
        products=memory_products,
        amount=_memory,
    )
)
register(
    Cost(
        "latency",
        "time of a forward pass of the example, on the machine at hand",
        unit=MICROSECONDS,
        source="timer",
    )
)
