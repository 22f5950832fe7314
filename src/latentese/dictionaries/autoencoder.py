"""What the sparse autoencoders have in common that are dense while they train: all but TopK."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from latentese.dictionaries.base import Loss, Trainable, UnitActs
from latentese.dictionaries.kernels import sum_rows, take_out_along_
from latentese.dictionaries.losses import geometric_median, squared_error
from latentese.dictionaries.norm import Norm, apply_norm, undo_norm
from latentese.dictionaries.packing import pack_active
from latentese.dictionaries.starting import check_sizes, draw_directions, variance_of
from latentese.dictionaries.topk import STARTS
from latentese.errors import SettingError

N_START_TOKENS = 2048
"""Tokens of the sample on which the encoder's starting scale is fitted, all latents of each at once."""


class Encoded(NamedTuple):
    """Dense codes of tokens."""

    pre_acts: Tensor  # [n_tokens, n_latents], before selection
    latents: Tensor  # [n_tokens, n_latents], at least 0: pre_acts where active, else 0


class Autoencoder(Trainable):
    """Linear encoder, a nonlinearity that leaves few latents active, linear decoder.

        x       = acts after the input norm
        latents = select((x - b_dec) @ W_enc, b_enc)
        recon   = latents @ W_dec + b_dec

    Rows of W_dec have unit norm. All start as TopK does: b_dec at the geometric median of a sample, seeded random
    decoder rows, W_enc their transpose, scaled as `start` says (see `topk.TopK`).

    A subclass says what `select` is and what a batch costs. Shapes: W_enc [d_model, n_latents], W_dec [n_latents,
    d_model]. norm: see `norm.apply_norm`.
    """

    def __init__(self, d_model: int, n_latents: int, norm: Norm, start: str, seed: int) -> None:
        super().__init__()
        check_sizes(d_model, n_latents, norm)
        if start not in STARTS:
            raise SettingError("dictionary.start", start, f"one of {list(STARTS)}")
        self.d_model, self.n_units, self.norm = d_model, n_latents, norm
        self.start, self.seed = start, seed
        directions = draw_directions(n_latents, d_model, torch.Generator().manual_seed(seed))
        self.W_dec = nn.Parameter(directions)
        # A transposed view: a latent is one contiguous row here too, as in TopK.
        self.W_enc = nn.Parameter(directions.clone().t())
        self.b_enc = nn.Parameter(torch.zeros(n_latents))
        self.b_dec = nn.Parameter(torch.zeros(d_model))
        self.register_buffer("variance", torch.ones(()))
        self.variance: Tensor
        """Of the fixed sample, see `starting.variance_of`."""

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        sizes = {"d_model": self.d_model, "n_latents": self.n_units}
        return sizes | {"norm": self.norm, "start": self.start, "seed": self.seed}

    @abstractmethod
    def _encode(self, x: Tensor) -> Encoded:
        """Encode x [n_tokens, d_model], after the input norm, each token by itself."""

    @torch.no_grad()
    def encode(self, acts: Tensor) -> UnitActs:
        """Map activations [n_tokens, d_model] to their active latents: as many columns as the busiest token has."""
        x, mean, norm = apply_norm(acts, self.norm)
        return UnitActs(*pack_active(x, lambda rows: self._encode(rows).latents, self.n_units), mean, norm)

    @torch.no_grad()
    def decode(self, unit_acts: UnitActs) -> Tensor:
        """Reconstruct activations [n_tokens, d_model]."""
        recon = sum_rows(unit_acts.values, unit_acts.indices, self.W_dec) + self.b_dec
        return undo_norm(recon, unit_acts.mean, unit_acts.norm)

    @torch.no_grad()
    def pre_acts(self, acts: Tensor) -> Tensor:
        """All latents before selection, [n_tokens, n_latents]."""
        return self._encode(apply_norm(acts, self.norm).acts).pre_acts

    @torch.no_grad()
    def encode_with_pre_acts(self, acts: Tensor) -> tuple[UnitActs, Tensor]:
        """`encode` and `pre_acts`, from one product."""
        x, mean, norm = apply_norm(acts, self.norm)
        pre_acts, latents = self._encode(x)
        return UnitActs(*pack_active(latents, lambda rows: rows, self.n_units), mean, norm), pre_acts

    def _affine(self, x: Tensor) -> Tensor:
        """Compute (x - b_dec) @ W_enc + b_enc, [n_tokens, n_latents]."""
        return torch.addmm(self.b_enc, x - self.b_dec, self.W_enc)

    @torch.no_grad()
    def prepare_(self, sample: Tensor) -> None:
        """Start b_dec at the sample's geometric median and scale the encoder as `start` says."""
        x = apply_norm(sample, self.norm).acts
        self.variance.copy_(variance_of(x, self.norm))
        self.b_dec.copy_(geometric_median(x))
        few = x[:N_START_TOKENS]
        self._start_selection_(few)
        self._scale_encoder_(STARTS[self.start](few - self.b_dec, self._encode(few).latents @ self.W_dec))

    def _start_selection_(self, x: Tensor) -> None:
        """Set what selection needs to know, from a sample and the encoder's directions; b_enc is 0."""

    def _scale_encoder_(self, factor: Tensor) -> None:
        """Multiply all latents' activations, and with them what selection compares them to; b_enc is 0."""
        self.W_enc.mul_(factor)

    def _decode(self, latents: Tensor) -> Tensor:
        """Reconstruct from a dense code, in the space after the input norm."""
        return latents @ self.W_dec + self.b_dec

    def _fvu(self, x: Tensor, recon: Tensor) -> Tensor:
        fvu: Tensor = squared_error(x, recon) / self.variance
        return fvu

    @torch.no_grad()
    def before_step_(self) -> None:
        """Keep each decoder row's gradient from changing the row's norm."""
        if self.W_dec.grad is not None:
            take_out_along_(self.W_dec.grad, self.W_dec)

    @torch.no_grad()
    def after_step_(self) -> None:
        """Bring decoder rows back to unit norm."""
        self.W_dec.div_(torch.linalg.vector_norm(self.W_dec, dim=1, keepdim=True))


def loss_of(total: Tensor, fvu: Tensor, aux: Tensor, latents: Tensor) -> Loss:
    """Gather what a batch with this dense code [n_tokens, n_latents] costs, and count what was active in it."""
    active = latents.detach() > 0
    return Loss(total, fvu.detach(), aux.detach(), active.sum() / len(latents), active.any(dim=0))


def smallest_kept(pre_acts: Tensor, per_token: float) -> Tensor:
    """Find the smallest of the n_tokens * per_token largest of pre_acts [n_tokens, n_latents]; 0 if it is negative."""
    # numpy selects several times faster than torch, whose topk and kthvalue cost as much as the encoder's product.
    flat = pre_acts.flatten().numpy(force=True)
    rank = len(flat) - max(1, round(per_token * len(pre_acts)))
    return pre_acts.new_tensor(np.partition(flat, rank)[rank]).clamp_min(0.0)
