"""Where models and dictionaries may be put."""

from __future__ import annotations

import torch

from latentese.errors import SettingError


def check_device(setting: str, device: str) -> None:
    """Refuse a device, as torch names it, that torch does not know or does not find here."""
    try:
        found = torch.get_device_module(torch.device(device)).is_available()
    except RuntimeError:  # no such kind of device, or one that computes nothing
        found = False
    if not found:
        raise SettingError(setting, device, "a device that torch finds here, such as cpu")
