"""How much a pruned network loses, with bounds; and the smallest network that loses little enough."""

from reconv.drop.losses import Drop as Drop
from reconv.drop.losses import Judge as Judge
from reconv.drop.search import certify as certify
from reconv.drop.search import find_smallest as find_smallest
from reconv.drop.search import set_aside as set_aside
