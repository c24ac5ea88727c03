"""What a network costs, whole or cut: multiply-adds, parameters, memory, file size, and measured time."""

from reconv.cost.count import LayerCost as LayerCost
from reconv.cost.count import Profile as Profile
from reconv.cost.count import profile as profile
from reconv.cost.count import total_macs as total_macs
from reconv.cost.count import total_parameters as total_parameters
from reconv.cost.lifetimes import Activation as Activation
from reconv.cost.lifetimes import activations as activations
from reconv.cost.lifetimes import peak_memory as peak_memory
from reconv.cost.memory import measure_memory as measure_memory
from reconv.cost.memory import predicted_memory as predicted_memory
from reconv.cost.timing import Latency as Latency
from reconv.cost.timing import LatencyModel as LatencyModel
from reconv.cost.timing import measure_latency as measure_latency
from reconv.cost.weights_file import file_size as file_size
