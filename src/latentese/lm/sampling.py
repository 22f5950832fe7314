"""One answer being written: which token comes next, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from latentese.errors import AnswerError
from latentese.lm.guides import Guide
from latentese.lm.protocol import Finish, Request
from latentese.store.files import sha256_json


class Answer:
    """The answer to one request, token by token.

    Sampling draws from softmax(logits / temperature) with a generator seeded by the hash of the request. Under a guide
    only what it lets follow can be chosen.
    """

    def __init__(
        self,
        request: Request,
        end_ids: frozenset[int],
        decode: Callable[[Sequence[int]], str],
        guide: Guide | None = None,
    ) -> None:
        self._request = request
        self._guide = guide
        self._end_ids = end_ids
        self._decode = decode
        self._generator = torch.Generator().manual_seed(int(sha256_json(asdict(request))[:15], 16))
        self.ids: list[int] = []
        self.text = ""
        self.finish: Finish | None = None
        """None while the answer goes on, and where it met a problem."""
        self.problem: AnswerError | None = None
        """Why there is no answer."""

    @property
    def n_tokens(self) -> int:
        """Tokens chosen so far, the one that ended the answer included."""
        return len(self.ids)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to be written."""
        return self.finish is not None or self.problem is not None

    def append(self, logits: Tensor) -> None:
        """Choose the next token from logits [vocabulary] and see whether the answer ends.

        What is written beside it goes on when this one meets a problem.
        """
        try:
            self._append(logits)
        except AnswerError as problem:
            self.problem = problem

    def _append(self, logits: Tensor) -> None:
        token = self._choose(self._guide.mask(logits) if self._guide else logits)
        if self._guide:
            self._guide.advance(token)
        self.ids.append(token)
        ended = token in self._end_ids
        text = self._decode(self.ids[:-1] if ended else self.ids)
        stops = [at for at in (text.find(stop) for stop in self._request.stop) if at >= 0]
        self.text = text[: min(stops)] if stops else text
        if ended or stops:
            self.finish = "stop"
        elif len(self.ids) == self._request.max_tokens:
            self.finish = "length"

    def _choose(self, logits: Tensor) -> int:
        if self._request.temperature == 0:
            return int(logits.argmax())
        weights = torch.softmax(logits.double().cpu() / self._request.temperature, dim=-1)
        return int(torch.multinomial(weights, 1, generator=self._generator))
