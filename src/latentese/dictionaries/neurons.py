"""The model's own basis: each coordinate of the activation is a unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.errors import SettingError


class Neurons(Dictionary):
    """The identity: unit activations are the activations, and nothing is trained.

    At a hookpoint `mlp_act` the units are neurons; elsewhere they are channels.
    """

    signed = True

    def __init__(self, d_model: int) -> None:
        super().__init__()
        if d_model < 1:
            raise SettingError("dictionary.d_model", d_model, "at least 1")
        self.d_model = self.n_units = d_model

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"d_model": self.d_model}

    @property
    def W_dec(self) -> Tensor:  # noqa: N802 (the field's letters)
        """What one unit adds to the activation, [n_units, d_model]: the identity."""
        return torch.eye(self.d_model)

    @property
    def b_dec(self) -> Tensor:
        """What is there without any unit, [d_model]: nothing."""
        return torch.zeros(self.d_model)

    def encode(self, acts: Tensor) -> UnitActs:
        """Every coordinate of every token: k = n_units."""
        acts = acts.float()
        indices = torch.arange(self.n_units).expand(len(acts), -1)
        return UnitActs(acts, indices, acts.new_zeros(len(acts), 1), acts.new_ones(len(acts), 1))

    def decode(self, unit_acts: UnitActs) -> Tensor:
        """Put each value at its coordinate."""
        values, indices, _, _ = unit_acts
        return values.new_zeros(len(values), self.d_model).scatter(1, indices, values)

    def pre_acts(self, acts: Tensor) -> Tensor:
        """Return the activations themselves."""
        return acts.float()
