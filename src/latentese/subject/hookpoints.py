"""Hookpoints name where activations are read: `embed`, or `layers.<i>.<site>`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from latentese.errors import SettingError
from latentese.subject.shape import Shape

EMBED = "embed"
"""The input embedding's output: one vector per token of the vocabulary, whatever stands around it.

It is what the first layer reads, but for positions in families that add them there (GPT-2).
"""

_PATTERN = re.compile(r"layers\.(?P<layer>\d+)\.(?P<site>[a-z_]+)")

WIDTHS: Mapping[str, Callable[[Shape], int]] = {
    "resid_post": lambda shape: shape.d_model,
    "mlp_act": lambda shape: shape.d_mlp,
    "mlp_out": lambda shape: shape.d_model,
}
"""Site of a layer -> width of its activations.

`resid_post` is the residual stream behind the layer, `mlp_act` the input of the MLP's down projection (of a gated MLP:
gate times up), `mlp_out` the down projection's output.
"""


@dataclass(frozen=True)
class Hookpoint:
    """A place in the model."""

    layer: int
    """Layers before this one run whole before the place is reached; 0 for `embed`."""
    site: str

    def __str__(self) -> str:
        return EMBED if self.site == EMBED else f"layers.{self.layer}.{self.site}"

    @property
    def n_layers(self) -> int:
        """Layers that run, whole or in part, until the place is reached."""
        return 0 if self.site == EMBED else self.layer + 1


def parse_hookpoint(hookpoint: str, shape: Shape) -> Hookpoint:
    """Read a hookpoint's name; raises SettingError naming what the model allows."""
    if hookpoint == EMBED:
        return Hookpoint(0, EMBED)
    match = _PATTERN.fullmatch(hookpoint)
    if match is None or match["site"] not in WIDTHS or int(match["layer"]) >= shape.n_layers:
        allowed = f"layers.<0..{shape.n_layers - 1}>.<{'|'.join(WIDTHS)}> or {EMBED}"
        raise SettingError("hookpoint", hookpoint, allowed)
    return Hookpoint(int(match["layer"]), match["site"])


def hookpoint_width(shape: Shape, hookpoint: str) -> int:
    """Width of the activations at a hookpoint, known without the weights."""
    site = parse_hookpoint(hookpoint, shape).site
    return shape.d_model if site == EMBED else WIDTHS[site](shape)
