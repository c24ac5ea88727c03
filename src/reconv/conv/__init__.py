"""From a convolution kernel to the spectral, nuclear and Frobenius norm of its channels: pure mathematics."""

from reconv.conv.geometry import ConvGeometry as ConvGeometry
from reconv.conv.matrix import ConvMatrix as ConvMatrix
from reconv.conv.norms import NORMS as NORMS
from reconv.conv.norms import ChannelNorms as ChannelNorms
from reconv.conv.norms import ConvProblem as ConvProblem
from reconv.conv.norms import channel_norms as channel_norms
from reconv.conv.norms import channel_norms_of_layers as channel_norms_of_layers
from reconv.conv.norms import spectral_bounds as spectral_bounds
