"""Where models and dictionaries may be put, and what they compute in there."""

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


def definite_dtype(dtype: str, device: str) -> str:
    """Say what `auto` is here: bfloat16 where the device multiplies it natively, else float32; others stay.

    A processor that has to imitate bfloat16 is five times slower with it than with float32.
    """
    if dtype != "auto":
        return dtype
    return "bfloat16" if _multiplies_bfloat16(device.partition(":")[0]) else "float32"


def _multiplies_bfloat16(kind: str) -> bool:
    if kind == "cpu":
        # torch 2.6 to 2.13 have these two; the public `get_capabilities` came later than 2.6.
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
