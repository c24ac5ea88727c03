"""What may be left of a network: kinds of budget, amounts, limits of layers, and the names of schemes. No torch."""

from reconv.budget.amounts import Budget as Budget
from reconv.budget.kinds import BYTES as BYTES
from reconv.budget.kinds import COUNT as COUNT
from reconv.budget.kinds import MICROSECONDS as MICROSECONDS
from reconv.budget.kinds import Cost as Cost
from reconv.budget.kinds import Product as Product
from reconv.budget.kinds import Unit as Unit
from reconv.budget.limits import Limits as Limits
from reconv.budget.runtimes import LatencyConfig as LatencyConfig
from reconv.budget.schemes import ALLOCATED as ALLOCATED
from reconv.budget.schemes import SCHEMES as SCHEMES
from reconv.budget.schemes import Rescale as Rescale
from reconv.budget.schemes import Scheme as Scheme
