"""Where a training runs."""

from __future__ import annotations

import torch

from serve.errors import UsageError


def device_of(wanted: str) -> torch.device:
    """`train.device` as this machine has it; `auto` is the best there is.

    Raises `UsageError` for a device that isn't here.
    """
    here = ["cpu"] + ["mps"] * torch.backends.mps.is_available() + ["cuda"] * torch.cuda.is_available()
    if wanted == "auto":
        return torch.device(here[-1])
    if wanted not in here:
        raise UsageError(f"train.device: {wanted} is not on this machine; available: {', '.join(here)}")
    return torch.device(wanted)
