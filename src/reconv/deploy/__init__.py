"""From a network to a file that runs elsewhere, compared with the network before it counts as written."""

from reconv.deploy.compared_file import Exported as Exported
from reconv.deploy.compared_file import export as export
from reconv.deploy.exporter import Exporter as Exporter
