"""From a model to its tied channels."""

from reconv.graph.build import trace as trace
from reconv.graph.channels import ChannelGraph as ChannelGraph
from reconv.graph.channels import ChannelGroup as ChannelGroup
from reconv.graph.channels import Layer as Layer
from reconv.graph.rules import register_rule as register_rule
