"""reconv: make trained convolutional networks smaller and faster by removing channels, and prove what was done."""

__version__ = "0.1.0"
