"""The whole subject with its activations at one hookpoint replaced: reconstructed, ablated or steered.

    intervention = intervene_at(subject, "layers.12.resid_post")
    reading = intervention.read(token_ids, keep)           # up to the hookpoint, once
    as_it_is = intervention.logits(reading)
    ablated = intervention.logits(reading, torch.zeros_like)

What lies before the hookpoint's layer is computed once per reading, however many interventions follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latentese.subject.capture import Capture, capture_at
from latentese.subject.hooks import attach
from latentese.subject.model import Subject

Edit = Callable[[Tensor], Tensor]
"""From activations [n_tokens, width], in context order and in the model's dtype, to what takes their place."""


@dataclass(frozen=True)
class Reading:
    """Contexts that were read up to a hookpoint."""

    token_ids: Tensor
    """[n_contexts, ctx_len]."""
    keep: Tensor
    """[n_contexts, ctx_len] bool: positions that count; others are never changed."""
    acts: Tensor
    """[n_contexts, ctx_len, width]: activations at the hookpoint."""
    entering: Any
    """What the layer before the hookpoint's gave, as it gave it; None at the first layer's and at `embed`."""


@dataclass(frozen=True)
class Intervention:
    """Runs a subject with changed activations at one hookpoint. Nothing is left in the model afterwards."""

    capture: Capture

    @torch.inference_mode()
    def read(self, token_ids: Tensor, keep: Tensor) -> Reading:
        """Read contexts [n_contexts, ctx_len] up to the hookpoint; keep [n_contexts, ctx_len], which positions count.

        Position 0 and padding must not count: the model needs the first token's odd activation.
        """
        layer, entering = self.capture.hookpoint.layer, []
        handle = None
        if layer:
            before = self.capture.subject.layers[layer - 1]
            handle = before.register_forward_hook(lambda _module, _inputs, output: entering.append(output))
        try:
            acts = self.capture(token_ids)
        finally:
            if handle is not None:
                handle.remove()
        device = self.capture.subject.device
        return Reading(token_ids.to(device), keep.bool().to(device), acts, entering[0] if entering else None)

    @torch.inference_mode()
    def logits(self, reading: Reading, edit: Edit | None = None, where: Tensor | None = None) -> Tensor:
        """Logits [n_contexts, ctx_len, n_vocab] of read contexts; without an edit, the model's own.

        where [n_contexts, ctx_len] bool: the positions that are edited, by default all that count. Other activations
        stay bit for bit, so an edit that changes nothing changes no logit.
        """
        if edit is None:
            return self._run(reading, None)
        chosen = reading.keep if where is None else where.to(reading.keep.device)
        if bool((chosen & ~reading.keep).any()):
            raise ValueError("position 0 and padding are never edited")
        acts = reading.acts.clone()
        acts[chosen] = edit(acts[chosen]).to(acts)
        return self._run(reading, acts)

    def _run(self, reading: Reading, acts: Tensor | None) -> Tensor:
        subject, hookpoint = self.capture.subject, self.capture.hookpoint
        handle = attach(subject, hookpoint, lambda _acts: acts)
        try:
            with _skipping(list(subject.layers[: hookpoint.layer]), reading.entering):
                logits: Tensor = subject.model(input_ids=reading.token_ids, use_cache=False).logits
        finally:
            handle.remove()
        return logits


def intervene_at(subject: Subject, hookpoint: str) -> Intervention:
    """Prepare interventions at one hookpoint; raises SettingError or AssetError when the model has no such place."""
    return Intervention(capture_at(subject, hookpoint))


@contextmanager
def _skipping(layers: Sequence[nn.Module], output: Any) -> Iterator[None]:
    """Let layers return, instead of computing, what the last of them returned when the contexts were read."""
    for layer in layers:
        vars(layer)["forward"] = lambda *_args, **_kwargs: output
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]
