"""How much each channel matters: criteria, and `score`.

A criterion is a function of one layer, or of one group of channels, that says what it needs to see. Register it
(`reconv.register`), and command line, plans and studies know it by name.
"""

from reconv.saliency.criterion import Criterion as Criterion
from reconv.saliency.criterion import GroupContext as GroupContext
from reconv.saliency.criterion import LayerContext as LayerContext
from reconv.saliency.criterion import criterion_named as criterion_named
from reconv.saliency.inputs import Direction as Direction
from reconv.saliency.inputs import Gradients as Gradients
from reconv.saliency.inputs import Moments as Moments
from reconv.saliency.inputs import gather_gradients as gather_gradients
from reconv.saliency.scoring import Saliency as Saliency
from reconv.saliency.scoring import score as score
from reconv.saliency.scoring import score_all as score_all
