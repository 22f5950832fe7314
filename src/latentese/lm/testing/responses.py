"""Bodies of responses, in the forms that servers use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np

from latentese.lm.protocol import Reply
from latentese.lm.testing.models import Completed, Completions

Offers = Literal["logprobs", "logprobs_as_content", "echo", "prompt_logprobs"]
"""What a server can do: log-probabilities of its answer (in OpenAI's lists, or as a list of tokens like llama.cpp),
of an echoed prompt, or of a prompt like vLLM."""


class NotOfferedError(Exception):
    """A request asks for what this server cannot do."""


def chat_response(reply: Reply) -> dict[str, Any]:
    """Answer of `/chat/completions`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": reply.text}, "finish_reason": reply.finish}
    return _response("chat.completion", choice, reply.usage.prompt_tokens, reply.usage.completion_tokens)


def completion_response(
    model: Completions, done: Completed, fields: Mapping[str, Any], offers: Collection[Offers]
) -> dict[str, Any]:
    """Answer of `/completions`; raises NotOfferedError for log-probabilities that the server does not offer."""
    n_prompt, n_all = len(done.prompt_ids), len(done.prompt_ids) + len(done.answer_ids)
    choice: dict[str, Any] = {"index": 0, "text": done.answer, "finish_reason": done.finish, "logprobs": None}
    for name in ("echo", "prompt_logprobs"):
        if fields.get(name) and name not in offers:
            raise NotOfferedError(f"{name} is not supported")
    if n_listed := fields.get("logprobs"):
        begin = 0 if fields.get("echo") else n_prompt
        if "logprobs_as_content" in offers:
            choice["logprobs"] = {"content": [_item(model, done, i, n_listed) for i in range(begin, n_all)]}
        elif "logprobs" in offers:
            choice["logprobs"] = _lists(model, done, range(begin, n_all), n_listed)
    if n_listed := fields.get("prompt_logprobs"):
        choice["prompt_logprobs"] = [None, *(_by_id(model, done, i, n_listed) for i in range(1, n_prompt))]
    return _response("text_completion", choice, n_prompt, len(done.answer_ids))


def _response(kind: str, choice: Mapping[str, Any], n_prompt: int, n_completion: int) -> dict[str, Any]:
    usage = {"prompt_tokens": n_prompt, "completion_tokens": n_completion, "total_tokens": n_prompt + n_completion}
    return {"id": "loopback", "object": kind, "model": "loopback", "choices": [choice], "usage": usage}


def _lists(model: Completions, done: Completed, places: range, n_listed: int) -> dict[str, Any]:
    """One list per field: tokens, their log-probabilities, the likeliest at each place, offsets."""
    ids = (*done.prompt_ids, *done.answer_ids)
    tokens = [model.text_of(ids[i]) for i in places]
    tops = [
        {model.text_of(token): float(done.logprobs[i, token]) for token in reversed(_listed(done, i, n_listed))}
        for i in places
    ]
    own = [float(done.logprobs[i, ids[i]]) for i in places]
    offsets = np.cumsum([0, *map(len, tokens)])[:-1].tolist()
    first = [None] if places.start == 0 else []
    return {
        "tokens": tokens,
        "token_logprobs": first + own[len(first) :],
        "top_logprobs": first + tops[len(first) :],
        "text_offset": offsets,
    }


def _item(model: Completions, done: Completed, i: int, n_listed: int) -> dict[str, Any]:
    """One token as llama.cpp lists it."""
    token = (*done.prompt_ids, *done.answer_ids)[i]
    likeliest = [_entry(model, done, i, other) for other in _likeliest(done, i, n_listed)]
    return _entry(model, done, i, token) | {"top_logprobs": likeliest}


def _entry(model: Completions, done: Completed, i: int, token: int) -> dict[str, Any]:
    return {"id": token, "token": model.text_of(token), "logprob": float(done.logprobs[i, token])}


def _by_id(model: Completions, done: Completed, i: int, n_listed: int) -> dict[str, Any]:
    """One token of a prompt as vLLM lists it: itself first, then the likeliest."""
    return {
        str(token): {"logprob": float(done.logprobs[i, token]), "decoded_token": model.text_of(token)}
        for token in _listed(done, i, n_listed)
    }


def _listed(done: Completed, i: int, n_listed: int) -> list[int]:
    """Token at a place, and the likeliest there, as OpenAI and vLLM list them."""
    token = (*done.prompt_ids, *done.answer_ids)[i]
    return list(dict.fromkeys([token, *_likeliest(done, i, n_listed)]))


def _likeliest(done: Completed, i: int, n_listed: int) -> list[int]:
    return [int(token) for token in np.argsort(-done.logprobs[i], kind="stable")[:n_listed]]
