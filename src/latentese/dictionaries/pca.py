"""Principal directions: the linear baseline, best at reconstruction for its number of directions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentese.dictionaries.base import Loss, Trainable
from latentese.dictionaries.directions import Directions
from latentese.dictionaries.losses import squared_error
from latentese.dictionaries.norm import Norm, apply_norm
from latentese.dictionaries.starting import variance_of
from latentese.errors import SettingError


class PCA(Directions, Trainable):
    """Principal directions of a sample, largest variance first: see `directions.Directions` for how they are read.

        b_dec = mean of the sample
        W_dec = its leading principal directions, each pointing to where its coordinate's tail is longer

    Directions have no sign of their own, but a unit fires at the upper end only: the longer tail is where a rare
    property would show.

    It needs activations but no optimiser, and still takes the path of every trained dictionary: `prepare_` fits it, in
    closed form, to the trainer's fixed sample, and nothing is left to learn. Its loss has a gradient of exactly 0 (to
    b_dec, its only parameter), of which Adam makes steps of exactly 0; what training then adds is a flat curve of fvu
    over the training tokens, and checkpoints that resume as all others do.

    n_latents: null takes all d_model of them. norm: see `norm.apply_norm`.
    """

    def __init__(self, d_model: int, n_latents: int | None = None, norm: Norm = "unit_norm") -> None:
        super().__init__(d_model, n_latents, norm)
        self.register_buffer("W_dec", torch.eye(d_model)[: self.n_units].contiguous())
        self.b_dec = nn.Parameter(torch.zeros(d_model))
        self.register_buffer("variance", torch.ones(()))
        self.variance: Tensor
        """Of the fixed sample, see `starting.variance_of`."""

    @torch.no_grad()
    def prepare_(self, sample: Tensor) -> None:
        """Fit mean and directions to the sample, which must have more tokens than there are directions."""
        if len(sample) <= self.n_units:
            allowed = f"more than n_latents={self.n_units}: that many tokens do not tell as many directions"
            raise SettingError("training.sample_tokens", len(sample), allowed)
        x = apply_norm(sample, self.norm).acts
        self.variance.copy_(variance_of(x, self.norm))
        self.b_dec.copy_(x.double().mean(dim=0))
        self.W_dec.copy_(principal_directions(x - self.b_dec, self.n_units))
        tail = self._coordinates(x).pow_(3).mean(dim=0)
        self.W_dec *= torch.where(tail < 0, -1.0, 1.0).unsqueeze(1)

    def loss(self, acts: Tensor, dead: Tensor) -> Loss:
        """Measure the fvu of a batch [n_tokens, d_model]; there is nothing to minimise."""
        x = apply_norm(acts, self.norm).acts
        with torch.no_grad():
            fvu = squared_error(x, self._coordinates(x) @ self.W_dec + self.b_dec) / self.variance
        l0 = torch.tensor(float(self.n_units))
        return Loss(fvu + 0 * self.b_dec.sum(), fvu, torch.zeros(()), l0, torch.ones(self.n_units, dtype=torch.bool))


def principal_directions(centred: Tensor, n_directions: int) -> Tensor:
    """Leading eigenvectors of the covariance of centred [n_tokens, d_model], as rows, largest variance first."""
    covariance = centred.new_zeros(centred.shape[1], centred.shape[1], dtype=torch.float64)
    for rows in torch.split(centred, 4096):
        covariance.addmm_(rows.double().t(), rows.double())
    columns: Tensor = torch.linalg.eigh(covariance).eigenvectors
    return columns.flip(1)[:, :n_directions].t().float()
