"""The built-in figures of a run's report, in the order of the page; one file each."""

from reconv.registry import register
from reconv.report.figures import accuracy, latency, layer_times, network, runtimes, training

for _figure in (network.FIGURE, accuracy.FIGURE, training.FIGURE, latency.FIGURE, layer_times.FIGURE, runtimes.FIGURE):
    register(_figure)
