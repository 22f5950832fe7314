"""What a loopback server serves: a model in a folder whose every log-probability is computed in whole passes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from latentese.lm.local import Loaded, load_local


@dataclass(frozen=True)
class Completed:
    """A prompt and what a model wrote after it, token by token."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    answer: str
    finish: str
    logprobs: np.ndarray
    """[n_prompt + n_answer, n_vocabulary]: of each token given those before it; the first row holds nothing."""


class Completions(Protocol):
    """A model that continues prompts."""

    def complete(self, prompt: str | Sequence[int], max_tokens: int) -> Completed:
        """Continue a prompt with the likeliest tokens."""
        ...

    def text_of(self, token: int) -> str:
        """Text of one token; a part of a character is the replacement character."""
        ...


class FolderModel:
    """A causal language model in a folder, in float32."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def complete(self, prompt: str | Sequence[int], max_tokens: int) -> Completed:
        """Continue a prompt, reading all of it again for every token: simple, and slow but for tiny models."""
        with self._lock:
            loaded = self._loaded
            prompt_ids = tuple(loaded.format.encode_text(prompt) if isinstance(prompt, str) else prompt)
            ids, finish = list(prompt_ids), "length"
            while True:
                rows = _logprobs(loaded, ids)
                ids.append(int(rows[-1].argmax()))
                if ids[-1] in loaded.end_ids:
                    finish = "stop"
                if finish == "stop" or len(ids) == len(prompt_ids) + max_tokens:
                    break
            answer_ids = tuple(ids[len(prompt_ids) :])
            nothing = np.full((1, rows.shape[1]), -np.inf, rows.dtype)
            return Completed(
                prompt_ids,
                answer_ids,
                loaded.format.decode([token for token in answer_ids if token not in loaded.end_ids]),
                finish,
                np.concatenate([nothing, rows]),
            )

    def text_of(self, token: int) -> str:
        """Text of one token."""
        return self._loaded.format.decode([token])

    @property
    def _loaded(self) -> Loaded:
        return load_local(str(self._folder), "float32", "cpu")


def _logprobs(loaded: Loaded, ids: Sequence[int]) -> np.ndarray:
    """Log-probabilities [n_tokens, n_vocabulary] of what follows each token, in one whole pass."""
    engine = loaded.engine
    hidden = engine.read(engine.prefix(), ids).hidden
    return np.asarray(engine.logits(hidden).log_softmax(-1).numpy())
