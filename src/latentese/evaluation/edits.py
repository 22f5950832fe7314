"""What a dictionary puts into the subject: its reconstruction, or more or less of one unit.

Decoders are affine in the unit activations, so a unit's part of a token is its activation times a fixed direction,
scaled by what the input norm took off. What the dictionary does not explain stays in the stream.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.subject.intervene import Edit


def reconstruct(dictionary: Dictionary) -> Edit:
    """Replace activations by their reconstruction."""
    return lambda acts: dictionary.decode(dictionary.encode(acts.cpu()))


def reconstructs_exactly(dictionary: Dictionary, acts: Tensor) -> bool:
    """Whether a sample [n_tokens, d_model] comes back bit for bit: then there is no effect to measure."""
    return torch.equal(dictionary.decode(dictionary.encode(acts)), acts)


def unit_directions(dictionary: Dictionary, units: Tensor) -> Tensor:
    """Give what 1 of each unit adds to the reconstruction, in the space after the input norm: [n_units, d_model]."""
    ones = torch.ones(len(units), 1)
    with_unit = dictionary.decode(UnitActs(ones, units[:, None], torch.zeros_like(ones), ones))
    without = dictionary.decode(UnitActs(torch.zeros_like(ones), units[:, None], torch.zeros_like(ones), ones))
    return with_unit - without


def add(part: Tensor) -> Edit:
    """Add to each activation its row of `part` [n_tokens, d_model]."""
    return lambda acts: acts.float() + part.to(acts.device)


class ActiveUnits(NamedTuple):
    """One unit of each token, and what it puts into the activation."""

    unit: Tensor  # [n_tokens]; -1 where none is active
    value: Tensor  # [n_tokens]
    part: Tensor  # [n_tokens, d_model], in the subject's space; 0 where none is active


def pick_active(dictionary: Dictionary, acts: Tensor, chance: Tensor) -> ActiveUnits:
    """Pick one active unit of each token of acts [n_tokens, d_model], all of a token's alike likely.

    chance [n_tokens]: uniform in [0, 1).
    """
    unit_acts = dictionary.encode(acts)
    active = unit_acts.values != 0
    n_active = active.sum(dim=1)
    rank = (chance * n_active).long()
    column = ((active.cumsum(dim=1) == rank[:, None] + 1) & active).int().argmax(dim=1, keepdim=True)
    unit = unit_acts.indices.gather(1, column)[:, 0]
    value = unit_acts.values.gather(1, column)[:, 0] * (n_active > 0)
    part = value[:, None] * unit_acts.norm * unit_directions(dictionary, unit)
    return ActiveUnits(torch.where(n_active > 0, unit, -1), value, part)
