"""Which module each node of an ONNX file comes from, and what ONNX Runtime's profile says of each."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from reconv.optional import optional

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul")
_ENDINGS = ("_kernel_time", "_nchwc", "_token")


def layer_seconds(file: bytes, profile: str, modules: Sequence[str]) -> dict[str, list[float]]:
    """Seconds of each module in each profiled pass but the first.

    The runtime fuses what follows a layer into it and calls the result by the last of it: its time is the layer's.

    Args:
        file: content of an ONNX file that PyTorch's tracing exporter made. profile: that ONNX Runtime wrote, as JSON.
        modules: names of the network's modules.
    """
    graph = optional("onnx", "runtime: onnxruntime", "onnx").load_from_string(file).graph
    owners = _Owners(graph, modules)
    passes: list[dict[str, float]] = []
    for event in json.loads(profile):
        name = event["name"]
        if event.get("cat") == "Session" and name == "model_run":
            passes.append({})  # it is written when the pass is over
        if event.get("cat") != "Node" or not name.endswith("_kernel_time"):
            continue
        owner = owners.of(_plain(name), event.get("args", {}).get("op_name", ""))
        current = passes[-1] if passes else {}
        current[owner] = current.get(owner, 0.0) + 1e-6 * event["dur"]
    complete = [row for row in passes if row][1:]
    names = sorted({name for row in complete for name in row})
    return {name: [row.get(name, 0.0) for row in complete] for name in names}


def _plain(name: str) -> str:
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return name.removeprefix("fused ")


class _Owners:
    """Modules by the nodes and values of a graph."""

    def __init__(self, graph: Any, modules: Iterable[str]) -> None:
        self._modules = set(modules)
        self._producer = {output: node for node in graph.node for output in node.output}
        self._nodes = {node.name: node for node in graph.node}

    def of(self, name: str, operator: str) -> str:
        """The module whose time a profiled node's is: of the nearest layer behind it where it computes one."""
        node = self._producer.get(name) or self._nodes.get(name)
        if node is None:
            return ""
        if operator in _WEIGHTED:
            node = self._layer_behind(node) or node
        return module_of(node.name, self._modules)

    def _layer_behind(self, node: Any) -> Any:
        waiting, seen = [node], set()
        while waiting:
            node = waiting.pop(0)
            if node.op_type in _WEIGHTED:
                return node
            seen.add(node.name)
            before = [self._producer[name] for name in node.input if name in self._producer]
            waiting += [one for one in before if one.name not in seen]
        return None


def module_of(scope: str, modules: Collection[str]) -> str:
    """The module that a node's name tells, such as `/layer1/layer1.0/conv1/Conv`; the innermost that there is.

    A part of the name is relative to the module, or, inside containers, to one of those around it.
    """
    current = ""
    for part in scope.strip("/").split("/")[:-1]:
        head, _, number = part.rpartition("_")
        names = (part, head) if number.isdigit() else (part,)  # `relu_1` is the second call of `relu`
        around = current.split(".") if current else []
        prefixes = [".".join(around[:length]) for length in range(len(around), -1, -1)]
        found = (f"{prefix}.{name}" if prefix else name for name in names for prefix in prefixes)
        inside = f"{current}." if current else ""
        current = next((name for name in found if name in modules and name.startswith(inside)), current)
    return current
