"""Models and tokenizers from a local folder, without the network and without noise.

transformers is imported where it is used: that takes longer than all else that a stage without a model starts with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from latentese.errors import AssetError, SettingError
from latentese.weights.devices import check_device

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}

UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)
"""What transformers raises for a folder without what is asked for; RuntimeError for tensors of other shapes than the
configuration says, SafetensorError for a file that is cut off or damaged."""


def load_causal_lm(folder: Path, dtype: str, device: str) -> Any:
    """Load a causal language model for inference: evaluation mode, no gradients.

    dtype: bfloat16 or float32; device: as torch names it. Raises SettingError for a device that is not here, and
    AssetError when the folder holds no such model, or a damaged one.
    """
    from transformers import AutoModelForCausalLM

    if dtype not in DTYPES:
        raise SettingError("dtype", dtype, f"one of {', '.join(DTYPES)}")
    check_device("device", device)
    with _quiet():
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype], local_files_only=True)
        except UNREADABLE as error:
            raise AssetError(f"{folder}: not a causal language model ({str(error).splitlines()[0]})") from error
    return model.to(device).eval().requires_grad_(False)


def load_encoder(folder: Path) -> Any:
    """Load an encoder in float32 for inference: evaluation mode, no gradients, on the CPU.

    Raises AssetError when the folder holds no such model.
    """
    from transformers import AutoModel

    with _quiet():
        try:
            model = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        except UNREADABLE as error:
            raise AssetError(f"{folder}: not an encoder ({str(error).splitlines()[0]})") from error
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    """Load a model's fast tokenizer; raises AssetError when it has none (character offsets need a fast one)."""
    from transformers import AutoTokenizer

    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except UNREADABLE as error:
            raise AssetError(f"{folder}: no tokenizer ({str(error).splitlines()[0]})") from error
    if not tokenizer.is_fast:
        raise AssetError(f"{folder}: its tokenizer gives no character offsets; a tokenizer.json is needed")
    return tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' progress bars and advice while loading; errors still come through."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
