"""Tokens straight from the subject: a dictionary is trained on activations that are never kept.

For hookpoints whose cache would not fit on the disk, or is used once only. The subject reads the `train` contexts anew
in every epoch; what is saved in space is paid in time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentese.corpus.contexts import Contexts
from latentese.dictionaries.token_order import BlockedTokens, OrderSettings, TokenSource
from latentese.errors import ArtifactError, SettingError
from latentese.stages.collect import check_contexts
from latentese.store.artifact import Artifact
from latentese.subject.capture import Capture, capture_at
from latentese.subject.model import SubjectChoice


@dataclass(frozen=True)
class SubjectTokens:
    """The subject's activations on the `train` contexts, see `train.TrainTokens`."""

    contexts: Contexts
    subject: SubjectChoice
    hookpoint: str
    batch_contexts: int
    """Contexts per forward pass."""

    @property
    def inputs(self) -> Mapping[str, Artifact]:
        """The contexts."""
        return {"contexts": self.contexts.artifact}

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the cache would say of itself."""
        subject = {"subject": self.subject.source.name, "hookpoint": self.hookpoint}
        return {**subject, "dtype": self.subject.dtype, "batch_contexts": self.batch_contexts}

    @property
    def width(self) -> int:
        """Width of the hookpoint; raises SettingError for one that the subject has not, or for foreign contexts."""
        return check_contexts(self.contexts, self.subject.source, self.hookpoint)

    def shuffled(self, order: OrderSettings) -> TokenSource:
        """Load the subject."""
        return StreamedTokens(
            capture_at(self.subject.load(), self.hookpoint), self.contexts, order, self.batch_contexts
        )


class StreamedTokens(BlockedTokens):
    """The activations of the `train` contexts in shuffled order, computed buffer by buffer.

    A block is a context, so a buffer mixes more places than one of a cache does. The order, and which contexts go
    through the subject together, are functions of the seed and of the position alone: a run that goes on in the middle
    of a buffer computes this buffer again, the same bytes.
    """

    def __init__(self, capture: Capture, contexts: Contexts, order: OrderSettings, batch_contexts: int) -> None:
        self._capture, self._contexts, self._batch_contexts = capture, contexts, batch_contexts
        self._numbers = contexts.of_split("train")
        if len(self._numbers) == 0:
            raise SettingError("split", "train", f"{contexts.artifact.path} has no context in it")
        sizes = contexts.keep[torch.from_numpy(self._numbers)].sum(dim=1).numpy()
        # Position 0 counts nowhere: no context has more tokens than this.
        super().__init__(sizes, max(1, order.buffer_tokens // (contexts.ctx_len - 1)), order.seed)

    def sample(self, n_tokens: int, seed: int) -> Tensor:
        """Draw a seeded sample of whole contexts, in their own order, and the last one's first tokens.

        Single tokens from all over would take a pass over all contexts.
        """
        drawn = np.random.default_rng(seed).permutation(len(self._numbers))
        n_drawn = int(np.searchsorted(self._sizes[drawn].cumsum(), n_tokens)) + 1
        acts = torch.cat(list(self._read(np.sort(drawn[:n_drawn]))))[:n_tokens].float()
        if bool((acts == acts[0]).all()):
            raise self._unusable("all sampled activations are equal, so there is nothing to learn")
        return acts

    def _read(self, blocks: np.ndarray) -> Iterator[Tensor]:
        """Run the subject on some contexts."""
        for first in range(0, len(blocks), self._batch_contexts):
            numbers = torch.from_numpy(self._numbers[blocks[first : first + self._batch_contexts]])
            keep = self._contexts.keep[numbers].bool()
            acts = self._capture(self._contexts.token_ids[numbers])[keep.to(self._capture.subject.device)].cpu()
            # One NaN or infinity makes the sum one too.
            if not bool(torch.isfinite(acts.sum(dtype=torch.float64))):
                raise self._unusable("NaN or infinite activations; capture.dtype float32 helps if bfloat16 overflowed")
            yield acts

    def _unusable(self, problem: str) -> ArtifactError:
        subject, hookpoint = self._capture.subject.name, self._capture.hookpoint
        return ArtifactError(self._contexts.artifact.path, f"read by {subject} at {hookpoint}: {problem}")
