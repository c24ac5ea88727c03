"""Cut a copy of a model as a plan says, and prove that the cut is right."""

from reconv.graph.sizes import SIZES as SIZES
from reconv.surgery.cut import prune as prune
from reconv.surgery.proof import verify as verify
from reconv.surgery.verdict import Proof as Proof
