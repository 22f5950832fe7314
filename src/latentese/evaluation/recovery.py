"""How much of a planted truth a dictionary has found, in directions and in activations.

A planted direction's *match* is the latent whose decoder row has the largest |cosine| with it; where that is at least
`RECOVERED`, the direction is recovered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from latentese.dictionaries.base import Dictionary
from latentese.evaluation.planted import PlantedTokens

RECOVERED = 0.9
"""|cosine| from which a direction counts as recovered; in 32 dimensions the nearest of 192 random ones has about .5."""
CHUNK = 1024
"""Directions compared with all latents at once."""


class Nearest(NamedTuple):
    """Nearest neighbours between two sets of directions, by |cosine|."""

    truth_cosine: Tensor  # [n_directions]
    truth_match: Tensor
    """[n_directions] int64: the nearest latent."""
    latent_cosine: Tensor  # [n_latents]
    latent_match: Tensor
    """[n_latents] int64: the nearest direction."""


@dataclass(frozen=True)
class Recovery:
    """Figures of one dictionary on one truth. Those of latents are over live ones: a dead row points anywhere."""

    truth_cosine: float
    """Mean over planted directions of the |cosine| with the nearest latent: is everything found?"""
    latent_cosine: float
    """Mean over latents of the |cosine| with the nearest direction: is everything found true?"""
    recovered: float
    """Share of planted directions recovered."""
    recovered_rare: float
    """The same of the quarter that is active least often."""
    uniqueness: float
    """Number of directions that are some latent's nearest, per latent: 1 if no two latents share theirs."""
    dead_share: float
    """Share of latents that fire on no test token."""
    slope: float
    """Shrinkage: least squares slope, through 0, of recovered on true coefficients, over all tokens on which a
    recovered direction is active and its match fires. Below 1, latents are too small. NaN if nothing is recovered."""
    f1: float
    """Mean over recovered directions of the F1 of firing: does the latent fire where the direction is active?"""
    fvu: float
    l0: float
    n_tokens: int


@torch.no_grad()
def measure_recovery(
    dictionary: Dictionary, W_dec: Tensor, directions: Tensor, tokens: Iterable[PlantedTokens]
) -> Recovery:
    """Compare a dictionary with the truth behind `tokens`, one batch of them in memory at a time.

    W_dec [n_latents, d_model]; directions [n_directions, d_model], the most often active first. Coefficients are those
    of `directions` in the subject's own space: the dictionary must have no input norm.
    """
    near = nearest(directions, W_dec)
    match = near.truth_match
    sums = _Sums(len(directions), dictionary.n_units, directions.shape[1])
    # One unit of a latent adds a row of this length, negative where it points away from the direction.
    worth = torch.linalg.vector_norm(W_dec, dim=1)[match] * (directions * W_dec[match]).sum(dim=1).sign()
    for acts, coefs in tokens:
        code = dictionary.encode(acts)
        latents = acts.new_zeros(len(acts), dictionary.n_units).scatter_add(1, code.indices, code.values)
        sums.add_errors_(acts, dictionary.decode(code), latents)
        sums.add_pairs_(coefs, latents[:, match], worth)
    return _figures(near, sums)


def nearest(directions: Tensor, W_dec: Tensor) -> Nearest:
    """Nearest latent of every direction [n_directions, d_model], and nearest direction of every latent."""
    rows = F.normalize(W_dec, dim=1)
    truth_best, latent_best = [], []
    for chunk in torch.split(F.normalize(directions, dim=1), CHUNK):
        cosines = (chunk @ rows.t()).abs()
        truth_best.append(cosines.max(dim=1))
        latent_best.append(cosines.max(dim=0))
    latent_cosine, chunk_number = torch.stack([values for values, _ in latent_best]).max(dim=0)
    within = torch.stack([indices for _, indices in latent_best])
    latent_match = chunk_number * CHUNK + within.gather(0, chunk_number[None])[0]
    truth_cosine = torch.cat([values for values, _ in truth_best])
    return Nearest(truth_cosine, torch.cat([indices for _, indices in truth_best]), latent_cosine, latent_match)


class _Sums:
    """What is added up over tokens, in double precision."""

    def __init__(self, n_directions: int, n_latents: int, d_model: int) -> None:
        zeros = partial(torch.zeros, dtype=torch.float64)
        self.active, self.fires = zeros(n_directions), zeros(n_directions)
        """Tokens where the direction is active, and where its match fires."""
        self.both = zeros(n_directions)
        self.product, self.square = zeros(n_directions), zeros(n_directions)
        """Recovered times true coefficient, and the true one squared, where both."""
        self.n_fires, self.acts = zeros(n_latents), zeros(d_model)
        self.acts_square = self.error = 0.0
        self.n_tokens = 0

    def add_errors_(self, acts: Tensor, recon: Tensor, latents: Tensor) -> None:
        """Take in a batch's reconstruction, and which latents fired."""
        self.acts += acts.double().sum(dim=0)
        self.acts_square += acts.double().square().sum().item()
        self.error += (acts - recon).double().square().sum().item()
        self.n_fires += (latents > 0).sum(dim=0)
        self.n_tokens += len(acts)

    def add_pairs_(self, coefs: Tensor, values: Tensor, worth: Tensor) -> None:
        """Take in true coefficients and the matches' activations, both [n_tokens, n_directions]."""
        active, fires = coefs > 0, values > 0
        both = active & fires
        self.active += active.sum(dim=0)
        self.fires += fires.sum(dim=0)
        self.both += both.sum(dim=0)
        self.product += (values * worth * coefs * both).double().sum(dim=0)
        self.square += (coefs.square() * both).double().sum(dim=0)


def _figures(near: Nearest, sums: _Sums) -> Recovery:
    live = sums.n_fires > 0
    recovered = near.truth_cosine >= RECOVERED
    rarest = recovered[-max(1, len(recovered) // 4) :]
    f1 = 2 * sums.both / (sums.active + sums.fires).clamp_min(1)
    variance = sums.acts_square - sums.acts.square().sum().item() / sums.n_tokens
    return Recovery(
        truth_cosine=near.truth_cosine.mean().item(),
        latent_cosine=near.latent_cosine[live].mean().item(),
        recovered=recovered.double().mean().item(),
        recovered_rare=rarest.double().mean().item(),
        uniqueness=len(set(near.latent_match[live].tolist())) / max(1, int(live.sum())),
        dead_share=(~live).double().mean().item(),
        slope=(sums.product[recovered].sum() / sums.square[recovered].sum()).item(),
        f1=f1[recovered].mean().item(),
        fvu=sums.error / variance,
        l0=sums.n_fires.sum().item() / sums.n_tokens,
        n_tokens=sums.n_tokens,
    )
