"""The TopK sparse autoencoder of Gao et al. 2024, with AuxK against dead latents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from latentese.dictionaries.auxk import build_auxk, encode_some
from latentese.dictionaries.base import Loss, Trainable, UnitActs
from latentese.dictionaries.kernels import (
    decode_error,
    encode_centred,
    mean_square,
    select_topk,
    select_with_pre_acts,
    sum_rows,
    take_out_along_,
)
from latentese.dictionaries.losses import geometric_median
from latentese.dictionaries.norm import Norm, apply_norm, undo_norm
from latentese.dictionaries.starting import check_k, check_sizes, draw_directions, variance_of
from latentese.errors import SettingError

MULTI = 4
"""Multi-TopK adds the loss at this many times k latents (Gao et al. 2024, appendix)."""
N_SCALE_TOKENS = 4096
"""Tokens of the sample on which the encoder's starting scale is fitted."""


def match_norms(acts: Tensor, recon: Tensor) -> Tensor:
    """Factor that makes reconstructions as long as activations, on average."""
    size = torch.linalg.vector_norm(recon, dim=1).mean()
    factor: Tensor = torch.linalg.vector_norm(acts, dim=1).mean() / size.clamp_min(1e-8)
    return factor


def fit_least_squares(acts: Tensor, recon: Tensor) -> Tensor:
    """Factor of the reconstructions with the least squared error."""
    return (recon * acts).sum() / recon.square().sum().clamp_min(1e-16)


STARTS = {"norms": match_norms, "least_squares": fit_least_squares}


class TopK(Trainable):
    """Sparse autoencoder that keeps the k largest latents of each token.

        x      = acts after the input norm
        values = topk(relu((x - b_dec) @ W_enc + b_enc))
        recon  = values @ W_dec + b_dec
        loss   = |x - recon|^2 / |x - mean|^2  +  aux_coef * |e - e_hat|^2 / |e - mean(e)|^2

    with e = x - recon, constant, and e_hat the same reconstruction (without b_dec) from the k_aux largest *dead*
    latents. Rows of W_dec have unit norm. Shapes: W_enc [d_model, n_latents], W_dec [n_latents, d_model].

    k_aux: null takes the power of two nearest to d_model / 2. norm: see `norm.apply_norm`. multi_coef: with
    Multi-TopK, the weight of a third term, the first one at 4k latents instead of k (the paper's is 1/8): the
    dictionary then reconstructs well from more latents than k too.

    start: the encoder starts as the decoder's transpose, scaled so that reconstructions are as long as activations
    ("norms", the paper's), or so that their error is least ("least_squares"): smaller, and far better in short runs.
    tied_start: if false it starts, scaled alike, at random directions of its own; more latents then die.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (the settings of the YAML, flat)
        self,
        d_model: int,
        n_latents: int,
        k: int,
        norm: Norm = "unit_norm",
        k_aux: int | None = None,
        aux_coef: float = 1 / 32,
        multi_coef: float = 0.0,
        start: str = "norms",
        tied_start: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(d_model, n_latents, norm)
        check_k(k, n_latents)
        _check_multi_coef(multi_coef, n_latents, k)
        if start not in STARTS:
            raise SettingError("dictionary.start", start, f"one of {list(STARTS)}")
        if not tied_start and start != "norms":
            raise SettingError("dictionary.start", start, "norms, unless tied_start: else the best scale may be 0")
        self.d_model, self.n_units, self.k, self.norm, self.seed = d_model, n_latents, k, norm, seed
        self.multi_coef, self.start, self.tied_start = multi_coef, start, tied_start
        self.aux = build_auxk(d_model, n_latents, k_aux, aux_coef)
        generator = torch.Generator().manual_seed(seed)
        directions = draw_directions(n_latents, d_model, generator)
        self.W_dec = nn.Parameter(directions)
        # A transposed view, so that a latent is one contiguous row here too (see kernels).
        read = directions.clone() if tied_start else draw_directions(n_latents, d_model, generator)
        self.W_enc = nn.Parameter(read.t())
        self.b_enc = nn.Parameter(torch.zeros(n_latents))
        self.b_dec = nn.Parameter(torch.zeros(d_model))
        self.register_buffer("variance", torch.ones(()))
        self.variance: Tensor
        """Of the fixed sample, see `starting.variance_of`."""

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        sizes = {"d_model": self.d_model, "n_latents": self.n_units, "k": self.k}
        coefs = {"k_aux": self.aux.k, "aux_coef": self.aux.coef, "multi_coef": self.multi_coef}
        starts = {"start": self.start, "tied_start": self.tied_start}
        return sizes | {"norm": self.norm} | coefs | starts | {"seed": self.seed}

    @torch.no_grad()
    def encode(self, acts: Tensor) -> UnitActs:
        """Map activations [n_tokens, d_model] to their k largest latents; values below 0 are 0."""
        x, mean, norm = apply_norm(acts, self.norm)
        return UnitActs(*select_topk(x - self.b_dec, self.W_enc, self.b_enc, self.k), mean, norm)

    @torch.no_grad()
    def decode(self, unit_acts: UnitActs) -> Tensor:
        """Reconstruct activations [n_tokens, d_model]."""
        recon = sum_rows(unit_acts.values, unit_acts.indices, self.W_dec) + self.b_dec
        return undo_norm(recon, unit_acts.mean, unit_acts.norm)

    @torch.no_grad()
    def pre_acts(self, acts: Tensor) -> Tensor:
        """All latents before topk and relu, [n_tokens, n_latents]."""
        return self._pre_acts(apply_norm(acts, self.norm).acts)

    @torch.no_grad()
    def encode_with_pre_acts(self, acts: Tensor) -> tuple[UnitActs, Tensor]:
        """`encode` and `pre_acts`, from one product."""
        x, mean, norm = apply_norm(acts, self.norm)
        latents, pre_acts = select_with_pre_acts(x - self.b_dec, self.W_enc, self.b_enc, self.k)
        return UnitActs(*latents, mean, norm), pre_acts

    def _pre_acts(self, x: Tensor) -> Tensor:
        return torch.addmm(self.b_enc, x - self.b_dec, self.W_enc)

    @torch.no_grad()
    def prepare_(self, sample: Tensor) -> None:
        """Start b_dec at the sample's geometric median and scale the encoder as `start` says."""
        x = apply_norm(sample, self.norm).acts
        self.variance.copy_(variance_of(x, self.norm))
        self.b_dec.copy_(geometric_median(x))
        centred = x[:N_SCALE_TOKENS] - self.b_dec
        recon = sum_rows(*select_topk(centred, self.W_enc, self.b_enc, self.k), self.W_dec)
        self.W_enc.mul_(STARTS[self.start](centred, recon))

    def loss(self, acts: Tensor, dead: Tensor) -> Loss:
        """Loss of a batch [n_tokens, d_model]; dead [n_latents] bool."""
        x = apply_norm(acts, self.norm).acts
        centred = x - self.b_dec.detach()
        latents, more = self._encode_to_train(centred)
        error = decode_error(latents, self.W_dec, self.b_dec, centred)
        fvu = mean_square(error) / self.variance
        aux = self.aux(error, lambda idx: encode_some(x - self.b_dec, self.W_enc, self.b_enc, idx), self.W_dec, dead)
        total = fvu + self.aux.coef * aux
        if self.multi_coef > 0:
            at_more = mean_square(decode_error(more, self.W_dec, self.b_dec, centred))
            total = total + self.multi_coef * at_more / self.variance
        active = latents[0].detach() > 0
        fired = torch.zeros_like(dead).index_fill_(0, latents[1][active], True)
        return Loss(total, fvu.detach(), aux.detach(), active.sum() / len(active), fired)

    def _encode_to_train(self, centred: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Latents of the first term and of Multi-TopK's, from one selection; the same ones where there is none."""
        k = self.k * MULTI if self.multi_coef > 0 else self.k
        more = encode_centred(centred, self.W_enc, self.b_enc, self.b_dec, k)
        if k == self.k:
            return more, more
        # Stable: of equal values the one of lower index, as everywhere.
        first = more[0].detach().sort(dim=1, descending=True, stable=True).indices[:, : self.k].sort(dim=1).values
        return (more[0].gather(1, first), more[1].gather(1, first)), more

    @torch.no_grad()
    def before_step_(self) -> None:
        """Keep each decoder row's gradient from changing the row's norm."""
        if self.W_dec.grad is not None:
            take_out_along_(self.W_dec.grad, self.W_dec)

    @torch.no_grad()
    def after_step_(self) -> None:
        """Bring decoder rows back to unit norm."""
        self.W_dec.div_(torch.linalg.vector_norm(self.W_dec, dim=1, keepdim=True))


def _check_multi_coef(multi_coef: float, n_latents: int, k: int) -> None:
    if not multi_coef >= 0:
        raise SettingError("dictionary.multi_coef", multi_coef, "at least 0; 0 switches Multi-TopK off")
    if multi_coef > 0 and k * MULTI > n_latents:
        raise SettingError("dictionary.multi_coef", multi_coef, f"0, since {MULTI} x k is more than {n_latents=}")
