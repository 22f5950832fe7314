"""What every place that models come from offers."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

MODEL_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""What a model's folder is read by, and so all that may change its answers. No pickles."""


class ModelSource(Protocol):
    """A model that can be brought to a local folder."""

    @property
    def name(self) -> str:
        """Identity, with the hash or revision that fixes its bytes: enters manifests and answer-cache keys."""
        ...

    def folder(self) -> Path:
        """Local folder with config.json, weights in safetensors and tokenizer files; fetched on the first call.

        Raises AssetError in one line when it cannot be had.
        """
        ...
