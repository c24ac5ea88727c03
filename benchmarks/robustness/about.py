"""What every measurement of robustness says of itself."""

from __future__ import annotations

import time
from typing import Any

import torch

from reconv import __version__
from reconv.machine import processor


def about(start: float) -> dict[str, Any]:
    """Seconds since `start` (of `time.perf_counter`), the machine and the versions."""
    return {
        "seconds": round(time.perf_counter() - start),
        "machine": processor(),
        "reconv": __version__,
        "torch": torch.__version__,
    }
