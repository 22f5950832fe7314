"""What a user chooses about reading activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentese.errors import SettingError
from latentese.records import SPLITS

DTYPES = ("bfloat16", "float32")


@dataclass(frozen=True)
class CaptureSettings:
    """How activations are computed and stored."""

    splits: Sequence[str]
    """Which splits are read: a dictionary that needs no training needs no `train`."""
    dtype: str
    """Of the model's arithmetic and of the stored activations: bfloat16 or float32; `auto` becomes one of them here."""
    batch_contexts: int
    """Contexts per forward pass."""
    shard_tokens: int
    """A shard ends with the batch that would go past this many tokens: what is held in memory, and lost by a kill."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.dtype not in (*DTYPES, "auto"):
            raise SettingError("dtype", self.dtype, f"one of {', '.join(DTYPES)}, auto")
        if not self.splits or not set(self.splits) <= set(SPLITS):
            raise SettingError("splits", list(self.splits), f"one or more of {', '.join(SPLITS)}")
        for setting in ("batch_contexts", "shard_tokens"):
            if getattr(self, setting) < 1:
                raise SettingError(setting, getattr(self, setting), "at least 1")
