"""Activations at one hookpoint: the forward pass stops there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latentese.subject.hookpoints import Hookpoint, parse_hookpoint
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
        handle = _ATTACH[self.hookpoint.site](self.subject, self.hookpoint.layer)
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
    _ATTACH[parsed.site](subject, parsed.layer).remove()
    return Capture(subject, parsed)


def _stop_behind(module: nn.Module) -> Any:
    """Stop when the module has its output; layers of some families return it first in a tuple."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        raise _ReachedError(output[0] if isinstance(output, tuple) else output)

    return module.register_forward_hook(hook)


def _stop_before(module: nn.Module) -> Any:
    """Stop when the module is given its input."""

    def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        raise _ReachedError(inputs[0])

    return module.register_forward_pre_hook(hook)


_ATTACH: Mapping[str, Callable[[Subject, int], Any]] = {
    "resid_post": lambda subject, layer: _stop_behind(subject.layers[layer]),
    "mlp_act": lambda subject, layer: _stop_before(subject.down_projection(layer)),
    "mlp_out": lambda subject, layer: _stop_behind(subject.down_projection(layer)),
}
