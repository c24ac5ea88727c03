"""From a network to a file that runs elsewhere, compared before it counts as written; and its time there."""

from reconv.deploy.compared_file import Exported as Exported
from reconv.deploy.compared_file import export as export
from reconv.deploy.exporter import Exporter as Exporter
from reconv.deploy.formats import read_onnx as read_onnx
from reconv.deploy.formats import read_openvino as read_openvino
from reconv.deploy.int8 import quantize as quantize
from reconv.deploy.onnx import load_onnx as load_onnx
from reconv.deploy.runtime import Runtime as Runtime
from reconv.deploy.runtime import TimedNetwork as TimedNetwork
from reconv.deploy.runtime import batched as batched
from reconv.deploy.timing import check_runtime as check_runtime
from reconv.deploy.timing import latencies_in as latencies_in
from reconv.deploy.timing import runtime_named as runtime_named
from reconv.deploy.timing import runtime_timer as runtime_timer
