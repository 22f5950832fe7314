"""What a user chooses about contexts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from latentese.corpus.source import check_shares
from latentese.errors import SettingError
from latentese.records import SPLITS


@dataclass(frozen=True)
class ContextSettings:
    """How documents are cut, and how many tokens each split gets."""

    ctx_len: int
    n_tokens: Mapping[str, int]
    """Split -> tokens that count (not position 0, not padding)."""
    split_shares: Mapping[str, float]
    """Split -> share of the documents, summing to 1."""
    max_contexts_per_document: int
    """Long documents give no more than this, so that many documents are read."""
    min_tokens: int
    """Shorter tails, and documents, are left out."""

    def __post_init__(self) -> None:
        if self.ctx_len < 2:
            raise SettingError("ctx_len", self.ctx_len, "at least 2, because position 0 counts nowhere")
        if not 2 <= self.min_tokens <= self.ctx_len:
            raise SettingError("min_tokens", self.min_tokens, f"in 2..ctx_len={self.ctx_len}")
        if self.max_contexts_per_document < 1:
            raise SettingError("max_contexts_per_document", self.max_contexts_per_document, "at least 1")
        for setting, values in (("n_tokens", self.n_tokens), ("split_shares", self.split_shares)):
            if set(values) != set(SPLITS):
                raise SettingError(setting, sorted(values), f"a value for each of {', '.join(SPLITS)}")
        if any(n < 0 for n in self.n_tokens.values()):
            raise SettingError("n_tokens", dict(self.n_tokens), "0 or more for each split")
        check_shares("split_shares", dict(self.split_shares))
