"""Where the activations of each site pass, and a way to see or replace them there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from latentese.subject.hookpoints import EMBED, Hookpoint
from latentese.subject.model import Subject

Visit = Callable[[Tensor], Tensor | None]
"""Is given the activations [n_contexts, ctx_len, width]; what it returns takes their place, None leaves them."""


def attach(subject: Subject, hookpoint: Hookpoint, visit: Visit) -> Any:
    """Let `visit` see every forward pass at a hookpoint, until the handle that is returned is removed.

    Raises AssetError when the model has no such place.
    """
    return _ATTACH[hookpoint.site](subject, hookpoint.layer, visit)


def _behind(module: nn.Module, visit: Visit) -> Any:
    """Visit the module's output; layers of some families return it first in a tuple."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        in_tuple = isinstance(output, tuple)
        replaced = visit(output[0] if in_tuple else output)
        if replaced is None:
            return None
        return (replaced, *output[1:]) if in_tuple else replaced

    return module.register_forward_hook(hook)


def _before(module: nn.Module, visit: Visit) -> Any:
    """Visit the module's input."""

    def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        replaced = visit(inputs[0])
        return None if replaced is None else (replaced, *inputs[1:])

    return module.register_forward_pre_hook(hook)


_ATTACH: Mapping[str, Callable[[Subject, int, Visit], Any]] = {
    EMBED: lambda subject, _layer, visit: _behind(subject.embedding, visit),
    "resid_post": lambda subject, layer, visit: _behind(subject.layers[layer], visit),
    "mlp_act": lambda subject, layer, visit: _before(subject.down_projection(layer), visit),
    "mlp_out": lambda subject, layer, visit: _behind(subject.down_projection(layer), visit),
}
