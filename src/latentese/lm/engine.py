"""Forward passes of a causal language model in which no request can touch another's answer.

A matrix product may round a row differently when there are more or fewer rows beside it. So the shapes here are
functions of one request alone: prompts are read one at a time (they fill the processor by themselves), and answers
are decoded in a fixed number of rows over keys and values of a fixed length, with idle rows where there is no work.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from latentese.errors import SettingError
from latentese.lm.chat_format import Fork

N_PREFIXES = 4
"""Shared prefixes kept, what some prompts begin with behind them included: about 30 kB per token for a 1.5B model."""

N_FORKS = 64
"""Forks read in one pass: about as many tokens as keep a processor busy, however long the text is."""

_OUTPUT_SCALINGS = ("final_logit_softcapping", "logits_scaling", "logit_scale")


@dataclass(frozen=True)
class KV:
    """Keys and values of a run of tokens: per layer, [n_heads, n_tokens, d_head] each."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    n_tokens: int


@dataclass(frozen=True)
class Read:
    """A prompt that was read after a prefix."""

    hidden: Tensor
    """[n_own, d_model] after the final norm."""
    kv: KV
    """Of its own tokens, without the prefix."""


class Engine:
    """One loaded model."""

    def __init__(self, model: Any) -> None:
        for field in _OUTPUT_SCALINGS:
            if getattr(model.config, field, None) not in (None, 1.0):
                raise SettingError("lm.source", model.config.model_type, f"a model without {field}")
        self._body = model.base_model
        head = model.get_output_embeddings()
        self._head: Tensor = head.weight
        self._bias: Tensor | None = getattr(head, "bias", None)
        self.max_tokens = _longest(model.config)
        self._prefixes: OrderedDict[tuple[tuple[int, ...], ...], KV] = OrderedDict()

    @property
    def n_vocab(self) -> int:
        """Logits per token."""
        return len(self._head)

    @torch.inference_mode()
    def prefix(self, *parts: tuple[int, ...]) -> KV:
        """Keys and values of what prompts begin with, computed when it is first met: each part behind those before."""
        parts = tuple(part for part in parts if part)
        if parts not in self._prefixes:
            self._prefixes[parts] = self._extended(self.prefix(*parts[:-1]), parts[-1]) if parts else self._empty()
            if len(self._prefixes) > N_PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(parts)
        return self._prefixes[parts]

    @torch.inference_mode()
    def read(self, prefix: KV, ids: Sequence[int]) -> Read:
        """Read a prompt's own tokens after `prefix`."""
        return self._read(prefix.layers, prefix.n_tokens, ids)

    @torch.inference_mode()
    def read_forks(self, prefix: KV, ids: Sequence[int], forks: Sequence[Fork]) -> Tensor:
        """Read a prompt's own tokens after `prefix` once, and each fork after as many of them as it continues.

        Returns the hidden states [n_forks, d_model] of the forks' last tokens.
        """
        before = self._extended(prefix, ids)
        parts = [forks[start : start + N_FORKS] for start in range(0, len(forks), N_FORKS)]
        return torch.cat([self._read_forks(before, prefix.n_tokens, part) for part in parts])

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [n, vocabulary] in float32 of hidden states [n, d_model], rounded as the model's dtype does."""
        return torch.nn.functional.linear(hidden, self._head, self._bias).float()

    @torch.inference_mode()
    def logprobs_of(self, hidden: Tensor, tokens: Sequence[int]) -> Tensor:
        """Log-probabilities [n, n_tokens] of some tokens after hidden states [n, d_model].

        The tokens' own logits are computed in float32: in bfloat16 a logit near 20 moves in steps of 1/8.
        """
        chosen = torch.nn.functional.linear(hidden.float(), *self._head_of(tokens))
        return chosen - self.logits(hidden).logsumexp(-1, keepdim=True)

    @torch.inference_mode()
    def logprobs_of_each(self, hidden: Tensor, tokens: Sequence[int]) -> Tensor:
        """Log-probabilities [n] of one token after each of n hidden states [n, d_model], as `logprobs_of` does."""
        weights, bias = self._head_of(tokens)
        chosen = (hidden.float() * weights).sum(-1)
        return (chosen if bias is None else chosen + bias) - self.logits(hidden).logsumexp(-1)

    @torch.inference_mode()
    def decode_step(self, rows: Rows, tokens: Sequence[int]) -> Tensor:
        """Append one token to every row and return the logits [n_rows, vocabulary] of what follows."""
        device = self._head.device
        slots = torch.arange(rows.n_slots, device=device)
        hidden = self._body(
            input_ids=torch.tensor(tokens, device=device).unsqueeze(1),
            attention_mask=self._mask((slots <= rows.position.unsqueeze(1))[:, None, None, :]),
            position_ids=rows.position.unsqueeze(1),
            past_key_values=rows.cache,
        ).last_hidden_state
        rows.position += rows.busy
        return self.logits(hidden[:, 0])

    def _head_of(self, tokens: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Weights [n_tokens, d_model] and bias [n_tokens], if there is one, of some tokens' logits in float32."""
        rows = list(tokens)
        return self._head[rows].float(), None if self._bias is None else self._bias[rows].float()

    def _mask(self, sees: Tensor) -> Tensor:
        """Tell the model's attention what each token sees; others than sdpa add what they are given to their scores."""
        if self._body.config._attn_implementation == "sdpa":
            return sees
        dtype = self._head.dtype
        return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, torch.finfo(dtype).min)

    def _extended(self, prefix: KV, ids: Sequence[int]) -> KV:
        """Keys and values of a prefix and the tokens that follow it."""
        own = self.read(prefix, ids).kv
        layers = tuple(
            (torch.cat([keys, own_keys], dim=1), torch.cat([values, own_values], dim=1))
            for (keys, values), (own_keys, own_values) in zip(prefix.layers, own.layers, strict=True)
        )
        return KV(layers, prefix.n_tokens + own.n_tokens)

    def _empty(self) -> KV:
        layers = self._read((), 0, (0,)).kv.layers
        return KV(tuple((keys[:, :0], values[:, :0]) for keys, values in layers), 0)

    def _read(self, before: tuple[tuple[Tensor, Tensor], ...], n_before: int, ids: Sequence[int]) -> Read:
        cache = _cache_of(before)
        tokens = torch.tensor([list(ids)], device=self._head.device)
        hidden = self._body(input_ids=tokens, past_key_values=cache, use_cache=True).last_hidden_state[0]
        own = tuple((layer.keys[0, :, n_before:], layer.values[0, :, n_before:]) for layer in cache.layers)
        return Read(hidden, KV(own, len(ids)))

    def _read_forks(self, before: KV, n_shared: int, forks: Sequence[Fork]) -> Tensor:
        """Read forks side by side: each sees the tokens it continues and its own, none of another's."""
        device = self._head.device
        tokens = torch.tensor([[token for fork in forks for token in fork.ids]], device=device)
        lengths = torch.tensor([len(fork.ids) for fork in forks], device=device)
        fork_of = torch.repeat_interleave(torch.arange(len(forks), device=device), lengths)
        ends = lengths.cumsum(0)
        step = torch.arange(tokens.shape[1], device=device) - (ends - lengths)[fork_of]
        n_seen = n_shared + torch.tensor([fork.n_before for fork in forks], device=device)[fork_of]
        sees_before = torch.arange(before.n_tokens, device=device) < n_seen.unsqueeze(1)
        sees_own = (fork_of == fork_of.unsqueeze(1)) & (step <= step.unsqueeze(1))
        hidden: Tensor = self._body(
            input_ids=tokens,
            attention_mask=self._mask(torch.cat([sees_before, sees_own], dim=1)[None, None]),
            position_ids=(n_seen + step).unsqueeze(0),
            past_key_values=_cache_of(before.layers),
        ).last_hidden_state[0]
        return hidden[ends - 1]


def _longest(config: Any) -> int:
    """Give the length up to which every token sees all before it: a mask that is handed in bypasses a window."""
    longest: int = config.max_position_embeddings
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None)
    is_windowed = "sliding_attention" in layers if layers else getattr(config, "use_sliding_window", True)
    return min(longest, window) if window and is_windowed else longest


def _cache_of(layers: tuple[tuple[Tensor, Tensor], ...]) -> DynamicCache:
    cache = DynamicCache()
    for layer_idx, (keys, values) in enumerate(layers):
        cache.update(keys.unsqueeze(0), values.unsqueeze(0), layer_idx)
    return cache


class Rows:
    """Answers that are decoded side by side: `n_rows` rows of `n_slots` tokens."""

    def __init__(self, like: KV, n_rows: int, n_slots: int) -> None:
        device = like.layers[0][0].device
        self.n_slots = n_slots
        self.position = torch.zeros(n_rows, dtype=torch.long, device=device)
        """[n_rows] where the next token of each row goes."""
        self.busy = torch.zeros(n_rows, dtype=torch.long, device=device)
        """[n_rows] 1 where a row holds a request; idle rows stay where they are."""
        self.cache = Cache(layers=[_RowsLayer(keys, values, self) for keys, values in like.layers])

    def place(self, row: int, prefix: KV, own: KV) -> None:
        """Begin a request in a row, after its prompt was read behind `prefix`."""
        start = 0
        for part in (prefix, own):
            end = start + part.n_tokens
            for layer, (keys, values) in zip(self.cache.layers, part.layers, strict=True):
                layer.keys[row, :, start:end] = keys
                layer.values[row, :, start:end] = values
            start = end
        self.position[row] = start
        self.busy[row] = 1

    def free(self, row: int) -> None:
        """End a row's request."""
        self.position[row] = 0
        self.busy[row] = 0


class _RowsLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """Keys and values of one layer for all rows, written in place at each row's own position."""

    def __init__(self, keys: Tensor, values: Tensor, rows: Rows) -> None:
        super().__init__()
        self._rows = rows
        self.keys, self.values = (self._allocate(part, rows) for part in (keys, values))
        self.is_initialized = True

    @staticmethod
    def _allocate(like: Tensor, rows: Rows) -> Tensor:
        n_heads, _, d_head = like.shape
        return like.new_zeros(len(rows.position), n_heads, rows.n_slots, d_head)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write one token per row and return all slots; those past a row's position are masked."""
        every = torch.arange(len(self._rows.position), device=key_states.device)
        self.keys[every, :, self._rows.position] = key_states[:, :, 0]
        self.values[every, :, self._rows.position] = value_states[:, :, 0]
        return self.keys, self.values

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Do nothing: the slots exist from the start."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Tell length and offset that a mask covers."""
        return self._rows.n_slots, 0

    def get_seq_length(self) -> int:
        """Tell the number of slots."""
        return self._rows.n_slots

    def get_max_length(self) -> int:
        """Tell the number of slots."""
        return self._rows.n_slots
