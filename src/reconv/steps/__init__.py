"""What may follow pruning: each step's options, and what it does, in one place.

A new option of a step is a field there and its use in `apply`; files, the command line and reports take it from there.
Fields need no PyTorch, so that a command line can show them at once; `apply` loads it.
"""

# The steps follow each other in this order where the command line adds them.
# isort: off
from reconv.steps.base import Context as Context
from reconv.steps.base import Step as Step
from reconv.steps.weights import Recalibrate as Recalibrate
from reconv.steps.weights import Reinitialize as Reinitialize
from reconv.steps.weights import Repair as Repair
from reconv.steps.training import BASE as BASE
from reconv.steps.training import DEFAULT as DEFAULT
from reconv.steps.training import DEFAULT_AFTER_REPAIR as DEFAULT_AFTER_REPAIR
from reconv.steps.training import FINETUNING as FINETUNING
from reconv.steps.training import Finetune as Finetune
from reconv.steps.training import TrainConfig as TrainConfig
from reconv.steps.deployment import PARITY_IMAGES as PARITY_IMAGES
from reconv.steps.deployment import Export as Export
from reconv.steps.deployment import Quantize as Quantize
