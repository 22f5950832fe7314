"""A dictionary that somebody trained before, used as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.dictionaries.checkpoints import build_described, describe


class Pretrained(Dictionary):
    """Encodes and decodes as the dictionary inside it does, and is never fitted: not a `Trainable`.

    dictionary: class and constructor arguments of the one inside, as `checkpoints.describe` gives them.
    meaning: what its checkpoint said of itself, see `formats.base.Meaning`; kept beside the weights.
    """

    def __init__(self, dictionary: Mapping[str, Any], meaning: Mapping[str, Any]) -> None:
        super().__init__()
        self.inner = build_described(dictionary)
        self.meaning = dict(meaning)
        self.d_model, self.n_units, self.signed = self.inner.d_model, self.inner.n_units, self.inner.signed
        self.requires_grad_(False)

    @classmethod
    def of(cls, dictionary: Dictionary, meaning: Mapping[str, Any]) -> Pretrained:
        """Wrap a dictionary that already has its weights."""
        made = cls(describe(dictionary), meaning)
        made.load_state_dict({f"inner.{name}": tensor for name, tensor in dictionary.state_dict().items()})
        return made

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"dictionary": describe(self.inner), "meaning": self.meaning}

    def encode(self, acts: Tensor) -> UnitActs:
        """As the dictionary inside."""
        return self.inner.encode(acts)

    def decode(self, unit_acts: UnitActs) -> Tensor:
        """As the dictionary inside."""
        return self.inner.decode(unit_acts)

    def pre_acts(self, acts: Tensor) -> Tensor:
        """As the dictionary inside."""
        return self.inner.pre_acts(acts)

    def encode_with_pre_acts(self, acts: Tensor) -> tuple[UnitActs, Tensor]:
        """As the dictionary inside."""
        return self.inner.encode_with_pre_acts(acts)
