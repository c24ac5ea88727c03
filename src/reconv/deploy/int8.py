"""Int8: static, per channel, by ONNX Runtime's quantizer, then with biases that keep each layer's mean.

Rounding weights and inputs shifts the mean of a layer's outputs. Layer by layer, in the order of the forward pass, the
bias takes up the difference to the network in float32: as the layers before are corrected already, each layer's mean
over the calibration images is the float one, with one pass and nothing fitted by search.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from reconv.deploy.compared_file import Exported, compare_outputs
from reconv.deploy.exporter import Call
from reconv.deploy.formats import read_onnx
from reconv.deploy.onnx_out import exported_program, onnx_of_program
from reconv.errors import ConfigError, ExportError, check_kind
from reconv.files import PathLike, write_atomically
from reconv.graph.tracing import call_arguments
from reconv.machine import processor_features
from reconv.modes import evaluating
from reconv.optional import optional

_BATCH = 32  # images per pass of the calibration
_MEANS = 256  # images that means are taken over, at most
_LAYERS = ("Conv", "Gemm")


def quantize(
    model: nn.Module, path: PathLike, *, example: Tensor, images: Tensor, min_agreement: float = 0.0
) -> Exported:
    """Write a network as an ONNX file that computes in int8.

    Args:
        model: of one input; stays as it is.
        path: of the file; it is there complete or not at all.
        example: an input, `[1, C, H, W]`.
        images: that ranges and means are taken on, `[n, C, H, W]`, as the network expects them.
        min_agreement: share of the images whose prediction has to stay the same; otherwise nothing is written.

    Returns:
        What was written, with the share of identical predictions.

    Raises:
        ConfigError: a package is missing, a network of several inputs, or no images.
        ExportError: it cannot be exported, or too few predictions stay the same.
    """
    check_kind("quantize: model", model, nn.Module)
    args, kwargs = call_arguments(example)
    if kwargs or len(args) != 1:
        raise ConfigError("int8: a network of several inputs, and images are one; export it in float32")
    if len(images) < 2:
        raise ConfigError(f"int8: {len(images)} images; give at least 2 to calibrate on")
    result: list[Exported] = []

    def write(beside: Path) -> None:
        with TemporaryDirectory(dir=beside.parent, prefix=".reconv") as folder:
            file = Path(folder) / "model.onnx"
            _write(model, images, file)
            difference, agreement = compare_outputs(model, read_onnx(file), images)
            size = file.stat().st_size
            file.replace(beside)
        if agreement is not None and agreement < min_agreement:
            raise ExportError(
                f"int8: {agreement:.2%} of {len(images):,} predictions stay the same, and at least {min_agreement:.2%} "
                "have to; it was not written: give more calibration images, or a lower --min-agreement"
            )
        result.append(
            Exported(Path(path), "onnx", size, difference, agreement, len(images), ("batch",), precision="int8")
        )

    with evaluating(model), torch.no_grad():
        write_atomically(path, write)
    return result[0]


def _write(model: nn.Module, images: Tensor, file: Path) -> None:
    """Export, quantize, correct."""
    onnx = optional("onnx", "int8", "onnx")
    quantization = optional("onnxruntime.quantization", "int8", "onnx")
    call = Call((images[:2],), {}, ("batch",))
    program, _ = exported_program(model, call)
    proto = onnx_of_program(program, call)
    whole = file.with_name("float.onnx")
    whole.write_bytes(proto.SerializeToString())
    with _quietly():
        quantization.quantize_static(
            str(whole),
            str(file),
            _reader(quantization, proto.graph.input[0].name, images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            reduce_range=_saturates(),
        )
    quantized = onnx.load(str(file))
    correct_means(program, quantized, images[:_MEANS])
    file.write_bytes(quantized.SerializeToString())


def _saturates() -> bool:
    """Whether sums of two products overflow 16 bits here: x86 without VNNI; then weights get seven bits."""
    features = processor_features()
    return "avx2" in features and not any("vnni" in feature for feature in features)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the advice that the quantizer prints."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.getLogger().setLevel(level)


def _reader(quantization: Any, name: str, images: Tensor) -> Any:
    """The images, batch by batch, as the quantizer takes them."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(images.split(_BATCH))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {name: batch.detach().cpu().numpy()}

    return Reader()


# --- means -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Layer:
    """One quantized layer of an ONNX file.

    Args:
        weight: as it is computed with, float32. scale, zero: of its input, in 256 steps.
        bias: int32 initializer that holds it. bias_scale: of its steps, by channel.
    """

    weight: Tensor
    scale: float
    zero: int
    bias: Any
    bias_scale: Tensor


def correct_means(program: torch.export.ExportedProgram, quantized: Any, images: Tensor) -> int:
    """Change the biases of a quantized network so that each layer's mean output is the float network's.

    Args:
        program: the network in float32. quantized: the same as an `onnx.ModelProto` with QuantizeLinear nodes; changed.
        images: `[n, C, H, W]`.

    Returns:
        How many layers were corrected.
    """
    helper = optional("onnx.numpy_helper", "int8", "onnx")
    layers = _quantized_layers(quantized, helper)
    walk = _Walk(program, layers)
    walk.means(images)
    shifts = walk.corrected(images)
    for name, shift in shifts.items():
        layer = layers[name]
        steps = torch.from_numpy(helper.to_array(layer.bias).copy()).double() + (shift.double() / layer.bias_scale)
        rounded = steps.round().clamp(-(2**31), 2**31 - 1).to(torch.int32).numpy()
        layer.bias.CopyFrom(helper.from_array(rounded.astype(np.int32), layer.bias.name))
    return len(shifts)


def _quantized_layers(quantized: Any, helper: Any) -> dict[str, _Layer]:
    """Layers by the name of their weight in the float network."""
    initializers = {tensor.name: tensor for tensor in quantized.graph.initializer}
    producers = {output: node for node in quantized.graph.node for output in node.output}
    layers = {}

    def array(name: str) -> Any:
        return helper.to_array(initializers[name])

    for node in quantized.graph.node:
        if node.op_type not in _LAYERS or len(node.input) < 3:
            continue
        source, weight, bias = (producers.get(name) for name in node.input)  # type: Any, Any, Any
        if not all(one is not None and one.op_type == "DequantizeLinear" for one in (source, weight, bias)):
            continue
        steps, scale, zero = (array(name) for name in weight.input[:3])
        axis = next((attribute.i for attribute in weight.attribute if attribute.name == "axis"), 1)  # as ONNX has it
        shape = [-1 if i == axis else 1 for i in range(steps.ndim)] if np.size(scale) > 1 else [1] * steps.ndim
        value = (steps.astype(np.float32) - np.reshape(zero, shape)) * np.reshape(scale, shape)
        if node.op_type == "Gemm" and not any(one.name == "transB" and one.i for one in node.attribute):
            value = value.T  # as PyTorch has it
        layers[weight.input[0].removesuffix("_quantized")] = _Layer(
            torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32)),
            float(array(source.input[1])),
            int(array(source.input[2])),
            initializers[bias.input[0]],
            torch.from_numpy(np.array(array(bias.input[1]), dtype=np.float64)),
        )
    return layers


class _Walk(fx.Interpreter):
    """Runs a program operator by operator, and its quantized layers as they are computed in int8."""

    def __init__(self, program: torch.export.ExportedProgram, layers: dict[str, _Layer]) -> None:
        super().__init__(program.graph_module)
        signature = program.graph_signature
        self._names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._values = {**program.constants, **program.state_dict}
        self._signature, self._layers = signature, layers
        self._means: dict[str, Tensor] = {}
        self._shifts: dict[str, Tensor] | None = None

    def means(self, images: Tensor) -> None:
        """Note the mean output of each layer in float32."""
        self._shifts = None
        self._run(images)

    def corrected(self, images: Tensor) -> dict[str, Tensor]:
        """What each layer's bias has to take up, by channel, with the layers before corrected."""
        self._shifts = {}
        self._run(images)
        return self._shifts

    def _run(self, images: Tensor) -> None:
        constants = self._signature.inputs_to_lifted_tensor_constants
        values = []
        for spec in self._signature.input_specs:
            name = getattr(spec.arg, "name", "")
            target = self._names.get(name) or constants.get(name)
            values.append(images if target is None else self._values[target])
        with torch.no_grad():
            self.run(*values)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """One operator."""
        name = self._weight_of()
        if name is None:
            return super().call_function(target, args, kwargs)
        if self._shifts is None:
            output = super().call_function(target, args, kwargs)
            self._means[name] = _mean(output, target)
            return output
        layer = self._layers[name]
        steps = (args[0] / layer.scale + layer.zero).round().clamp(0, 255)
        weight = layer.weight.reshape(args[1].shape) if layer.weight.numel() == args[1].numel() else args[1]
        output = super().call_function(target, ((steps - layer.zero) * layer.scale, weight, *args[2:]), kwargs)
        shift = self._means[name] - _mean(output, target)
        self._shifts[name] = shift
        return output + shift.view(-1, *[1] * (output.dim() - 2 if _is_convolution(target) else 0))

    def _weight_of(self) -> str | None:
        """The name of the running node's weight, where it is a quantized layer that is met the first time."""
        node = self._node
        inputs = node.all_input_nodes
        weight = node.args[1] if len(node.args) > 2 and isinstance(node.args[1], fx.Node) else None
        name = self._names.get(weight.name) if weight is not None and weight in inputs else None
        if name is None or name not in self._layers or not _is_layer(node.target) or node.args[2] is None:
            return None
        return name if weight is not None and len(weight.users) == 1 else None

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        self._node = n
        return super().run_node(n)


def _is_convolution(target: Any) -> bool:
    return str(target).startswith("aten.conv")


def _is_layer(target: Any) -> bool:
    return _is_convolution(target) or target is torch.ops.aten.linear.default


def _mean(output: Tensor, target: Any) -> Tensor:
    """By channel, over images and positions."""
    axis = 1 if _is_convolution(target) else output.dim() - 1
    return output.double().mean([i for i in range(output.dim()) if i != axis]).to(output.dtype)
