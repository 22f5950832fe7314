"""Activations at one hookpoint: the forward pass stops there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentese.subject.hookpoints import Hookpoint, parse_hookpoint
from latentese.subject.hooks import attach
from latentese.subject.model import Subject


class _ReachedError(Exception):
    """Leaves the forward pass, carrying the activations; never escapes this module."""

    def __init__(self, acts: Tensor) -> None:
        super().__init__()
        self.acts = acts


@dataclass(frozen=True)
class Capture:
    """Reads the activations of one hookpoint of a subject."""

    subject: Subject
    hookpoint: Hookpoint

    @torch.inference_mode()
    def __call__(self, token_ids: Tensor) -> Tensor:
        """Activations [n_contexts, ctx_len, width] of contexts [n_contexts, ctx_len], in the model's dtype.

        Nothing behind the hookpoint is computed. Padding at the end needs no mask: attention is causal.
        """
        handle = attach(self.subject, self.hookpoint, _stop)
        try:
            # The inner model: a causal model's head belongs to what is never reached.
            self.subject.model.base_model(input_ids=token_ids.to(self.subject.device), use_cache=False)
        except _ReachedError as reached:
            return reached.acts
        finally:
            handle.remove()
        raise RuntimeError(f"{self.hookpoint} was not reached by the forward pass of {self.subject.name}")


def capture_at(subject: Subject, hookpoint: str) -> Capture:
    """Prepare to read one hookpoint; raises SettingError or AssetError when the model has no such place."""
    parsed = parse_hookpoint(hookpoint, subject.shape)
    attach(subject, parsed, _stop).remove()
    return Capture(subject, parsed)


def _stop(acts: Tensor) -> None:
    raise _ReachedError(acts)
