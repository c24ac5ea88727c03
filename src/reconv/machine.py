"""What figures are measured with and on: versions of the software, and what computes."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from reconv import __version__


def versions() -> dict[str, str]:
    """Software and hardware by name: what is installed, which is not always what was used (see `device_name`)."""
    threads = torch.get_num_threads()
    libraries = {name: _version(name) for name in ("torch", "torchvision", "timm", "accelerate")}
    return {
        "reconv": __version__,
        **libraries,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": f"{processor()}, {os.cpu_count()} cores, {threads} thread{'s' * (threads != 1)}",
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's name; "unknown" where the system does not say."""
    return _of_processor("model name") or platform.processor() or "unknown"


def processor_features() -> frozenset[str]:
    """The processor's instruction sets, as Linux names them; nothing elsewhere."""
    return frozenset(_of_processor("flags").split())


def _of_processor(key: str) -> str:
    """What Linux says of the first processor; "" elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
    except OSError:
        return ""


def device_name(device: torch.device) -> str:
    """What computes on a device: the GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor() if device.type == "cpu" else device.type
