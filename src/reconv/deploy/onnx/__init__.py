"""ONNX files in: read as data, run as modules, pruned, and written back into their own graph."""

from reconv.deploy.onnx.load import load_onnx as load_onnx
from reconv.deploy.onnx.network import OnnxNetwork as OnnxNetwork
