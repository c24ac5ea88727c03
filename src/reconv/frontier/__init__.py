"""How much can be pruned: predicted from one set of error curves, measured at a few points."""

from reconv.frontier.compute import explore as explore
from reconv.frontier.exploration import Exploration as Exploration
