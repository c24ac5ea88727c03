"""Budgets of measured time: a table of layer timings, a prediction from it, and a plan that is measured."""

from reconv.latency.measure import measure_layers as measure_layers
from reconv.latency.meet import choose as choose
from reconv.latency.table import LatencyTable as LatencyTable
