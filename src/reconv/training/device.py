"""A device by name."""

from __future__ import annotations

import torch

from reconv.errors import ConfigError, first_line


def device_named(name: str) -> torch.device:
    """The device that a user names.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", or "auto", the fastest there is.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        if reason.startswith("Expected one of"):  # PyTorch lists all of its kinds, most of which it was not built for
            reason = "no kind of device"
        raise ConfigError(f"device {name!r}: {reason}; give cpu, cuda, cuda:1, mps, or auto.") from None
    return device
