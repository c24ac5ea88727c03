"""How much a pruned network loses, with bounds; and the smallest network that loses little enough."""

from reconv.drop.losses import Drop as Drop
from reconv.drop.losses import Judge as Judge
