"""From a model to its tied channels."""

from reconv.graph.build import trace as trace
from reconv.graph.channels import ChannelGraph as ChannelGraph
from reconv.graph.channels import ChannelGroup as ChannelGroup
from reconv.graph.channels import Layer as Layer
from reconv.graph.record import Call as Call
from reconv.graph.record import Value as Value
from reconv.graph.rules import contract as contract
from reconv.graph.rules import joined as joined
from reconv.graph.rules import labels_along as labels_along
from reconv.graph.rules import register_rule as register_rule
from reconv.graph.sizes import register_adapter as register_adapter
