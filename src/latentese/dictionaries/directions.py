"""What principal and random directions have in common: an orthonormal basis, read as signed units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.dictionaries.norm import Norm, apply_norm, undo_norm
from latentese.dictionaries.starting import check_sizes
from latentese.errors import SettingError


class Directions(Dictionary):
    """Orthonormal directions: a unit's activation is the coordinate along its own.

        x     = acts after the input norm
        units = (x - b_dec) @ W_dec.T
        recon = units @ W_dec + b_dec

    so recon is the point nearest to x of the plane through b_dec that the directions span, and x itself where there
    are d_model of them. Every token has every unit: k = n_units. Shapes: W_dec [n_latents, d_model], b_dec [d_model].
    """

    signed = True

    W_dec: Tensor
    b_dec: Tensor

    def __init__(self, d_model: int, n_latents: int | None, norm: Norm) -> None:
        super().__init__()
        n_units = d_model if n_latents is None else n_latents
        check_sizes(d_model, n_units, norm)
        if n_units > d_model:
            allowed = f"at most d_model={d_model}, for directions are orthogonal, or null for all of them"
            raise SettingError("dictionary.n_latents", n_latents, allowed)
        self.d_model, self.n_units, self.norm = d_model, n_units, norm

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"d_model": self.d_model, "n_latents": self.n_units, "norm": self.norm}

    @torch.no_grad()
    def encode(self, acts: Tensor) -> UnitActs:
        """Every coordinate of every token."""
        x, mean, norm = apply_norm(acts, self.norm)
        return UnitActs(self._coordinates(x), torch.arange(self.n_units).expand(len(x), -1), mean, norm)

    @torch.no_grad()
    def decode(self, unit_acts: UnitActs) -> Tensor:
        """Sum the directions, each by its coordinate."""
        values, indices, mean, norm = unit_acts
        dense = values.new_zeros(len(values), self.n_units).scatter_add(1, indices, values)
        return undo_norm(dense @ self.W_dec + self.b_dec, mean, norm)

    @torch.no_grad()
    def pre_acts(self, acts: Tensor) -> Tensor:
        """Return the coordinates themselves: nothing is selected."""
        return self._coordinates(apply_norm(acts, self.norm).acts)

    def _coordinates(self, x: Tensor) -> Tensor:
        return (x - self.b_dec) @ self.W_dec.t()
