"""Hookpoints: `layers.<i>.<site>` names where activations are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from latentese.errors import SettingError
from latentese.subject.shape import Shape

_PATTERN = re.compile(r"layers\.(?P<layer>\d+)\.(?P<site>[a-z_]+)")

WIDTHS: Mapping[str, Callable[[Shape], int]] = {
    "resid_post": lambda shape: shape.d_model,
    "mlp_act": lambda shape: shape.d_mlp,
    "mlp_out": lambda shape: shape.d_model,
}
"""Site -> width of its activations.

`resid_post` is the residual stream behind the layer, `mlp_act` the input of the MLP's down projection (of a gated MLP:
gate times up), `mlp_out` the down projection's output.
"""


@dataclass(frozen=True)
class Hookpoint:
    """A place in the model."""

    layer: int
    site: str

    def __str__(self) -> str:
        return f"layers.{self.layer}.{self.site}"


def parse_hookpoint(hookpoint: str, shape: Shape) -> Hookpoint:
    """Read a hookpoint's name; raises SettingError naming what the model allows."""
    match = _PATTERN.fullmatch(hookpoint)
    if match is None or match["site"] not in WIDTHS or int(match["layer"]) >= shape.n_layers:
        raise SettingError("hookpoint", hookpoint, f"layers.<0..{shape.n_layers - 1}>.<{'|'.join(WIDTHS)}>")
    return Hookpoint(int(match["layer"]), match["site"])


def hookpoint_width(shape: Shape, hookpoint: str) -> int:
    """Width of the activations at a hookpoint, known without the weights."""
    return WIDTHS[parse_hookpoint(hookpoint, shape).site](shape)
