"""Answers held to a JSON schema while they are written: only such tokens may follow as can still make it valid."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from torch import Tensor

from latentese.errors import AnswerError, SettingError
from latentese.lm.protocol import JsonRequest, Request


class Guide:
    """Follows one answer through its schema."""

    def __init__(self, vocabulary: LLTokenizer, schema: str) -> None:
        try:
            # Without blanks an answer takes fewer tokens, and there is one way to write a value.
            grammar = LLMatcher.grammar_from_json_schema(
                schema, overrides={"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
            )
        except ValueError as error:
            raise _refused(schema, str(error)) from error
        self._matcher = LLMatcher(vocabulary, grammar, log_level=0)
        if self._matcher.is_error():
            raise _refused(schema, self._matcher.get_error())

    def mask(self, logits: Tensor) -> Tensor:
        """Make every token impossible, in logits [vocabulary], that cannot follow; raises AnswerError as `advance`."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        may_follow = np.unpackbits(bits, bitorder="little")[: len(logits)].astype(bool)
        return logits.masked_fill(~torch.from_numpy(may_follow).to(logits.device), -torch.inf)

    def advance(self, token: int) -> None:
        """Note the token that was chosen; raises AnswerError where the schema is too much to be followed on."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        """In the state of an error a matcher lets the answer end, as if it were whole."""
        if self._matcher.is_error():
            raise AnswerError(f"the answer's schema cannot be followed: {_first_line(self._matcher.get_error())}")


class Guides:
    """Guides through the vocabulary of one model."""

    def __init__(self, tokenizer: Any, end_ids: frozenset[int], n_vocab: int) -> None:
        self._tokenizer, self._end_ids, self._n_vocab = tokenizer, end_ids, n_vocab

    def of(self, request: Request) -> Guide | None:
        """Begin to follow the answer to a request; None where it is free.

        Raises SettingError for a schema that answers cannot be held to, and for a tokenizer that allows it for none.
        """
        return Guide(self._vocabulary, request.json_schema) if isinstance(request, JsonRequest) else None

    @cached_property
    def _vocabulary(self) -> LLTokenizer:
        """Takes a second or two, so it is made where a schema is asked for."""
        try:
            return from_tokenizer(self._tokenizer, n_vocab=self._n_vocab, eos_token=sorted(self._end_ids))
        except ValueError as error:
            allowed = f"one by which JSON can be written token by token ({_first_line(str(error))})"
            raise SettingError("tokenizer", type(self._tokenizer).__name__, allowed) from error


def _refused(schema: str, problem: str) -> SettingError:
    return SettingError("json_schema", schema[:60], f"a schema that answers can be held to ({_first_line(problem)})")


def _first_line(problem: str) -> str:
    return problem.strip().split("\n")[0]
