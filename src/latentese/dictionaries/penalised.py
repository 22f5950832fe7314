"""What the autoencoders have in common that a penalty in the loss keeps sparse: relu, gated, prolu, jumprelu."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from latentese.dictionaries.autoencoder import Autoencoder, loss_of
from latentese.dictionaries.base import Loss
from latentese.dictionaries.norm import Norm, apply_norm
from latentese.dictionaries.sparsity import SparsityCoefficient, check_target_l0


class Coded(NamedTuple):
    """A training batch as its latents, with what they cost beside the reconstruction's error."""

    latents: Tensor  # [n_tokens, n_latents]
    penalty: Tensor
    """Sparsity penalty, before its coefficient."""
    aux: Tensor
    """What is added to the loss as it is; 0 where there is nothing."""


class Penalised(Autoencoder):
    """An autoencoder whose loss is fvu + coef * penalty + aux.

    Every term is free of the size of activations: coefficients mean the same under every input norm. coef is
    `sparsity_coef`, reached after `sparsity_warmup_tokens` if there are any, or, from there, steered to `target_l0`:
    see `sparsity.SparsityCoefficient`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (the settings of the YAML, flat)
        self,
        d_model: int,
        n_latents: int,
        norm: Norm = "unit_norm",
        sparsity_coef: float = 0.02,
        target_l0: float | None = None,
        sparsity_warmup_tokens: int = 0,
        start: str = "norms",
        seed: int = 0,
    ) -> None:
        super().__init__(d_model, n_latents, norm, start, seed)
        check_target_l0(target_l0, n_latents)
        self.sparsity = SparsityCoefficient(sparsity_coef, target_l0, sparsity_warmup_tokens)
        self._seen: tuple[Tensor, int] | None = None

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().args | self.sparsity.args

    @abstractmethod
    def _code(self, x: Tensor) -> Coded:
        """Latents of a batch [n_tokens, d_model], after the input norm, and what they cost, with gradients."""

    def loss(self, acts: Tensor, dead: Tensor) -> Loss:
        """Loss of a batch [n_tokens, d_model]; nothing is done about dead latents."""
        x = apply_norm(acts, self.norm).acts
        coded = self._code(x)
        fvu = self._fvu(x, self._decode(coded.latents))
        total = fvu + self.sparsity.value() * coded.penalty + coded.aux
        loss = loss_of(total, fvu, coded.aux, coded.latents)
        self._seen = loss.l0, len(x)
        return loss

    def before_step_(self) -> None:
        """Clean gradients, and let the coefficient follow what the batch has shown."""
        super().before_step_()
        if self._seen is not None:
            self.sparsity.follow_(*self._seen)
            self._seen = None

    def _l1(self, latents: Tensor) -> Tensor:
        """Mean over tokens of the summed latents, in units of the typical distance of x from its mean."""
        l1: Tensor = latents.sum(dim=1).mean() / torch.sqrt(self.variance)
        return l1
