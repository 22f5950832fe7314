"""What every place that models come from offers."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


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
