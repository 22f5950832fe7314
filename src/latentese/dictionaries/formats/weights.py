"""The four tensors that all these autoencoders share, and exact ways to say the same with others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Weights:
    """Encoder and decoder, reading x: pre_acts = (x - b_dec) @ W_enc + b_enc, recon = latents @ W_dec + b_dec."""

    W_enc: Tensor  # [d_model, n_latents]
    b_enc: Tensor  # [n_latents]
    W_dec: Tensor  # [n_latents, d_model]
    b_dec: Tensor  # [d_model]

    @property
    def d_model(self) -> int:
        """Width of x."""
        return self.W_dec.shape[1]

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        return self.W_dec.shape[0]

    def subtracting(self) -> Weights:
        """Keep the pre-activations of weights whose encoder did not subtract b_dec, now that it does.

        x @ W_enc + b_enc = (x - b_dec) @ W_enc + (b_enc + b_dec @ W_enc); the product in double precision.
        """
        return replace(self, b_enc=(self.b_enc.double() + self._shift()).float())

    def not_subtracting(self) -> Weights:
        """Keep the pre-activations for an encoder that does not subtract b_dec: undoes `subtracting`."""
        return replace(self, b_enc=(self.b_enc.double() - self._shift()).float())

    def reading(self, factor: float) -> Weights:
        """Keep the latents of weights that were made for factor * x, now that they read x, and give recon / factor.

        With y = factor * x: (y - b) @ W = (x - b / factor) @ (factor * W). Biases of latents stay.
        """
        return replace(self, W_enc=self.W_enc * factor, W_dec=self.W_dec / factor, b_dec=self.b_dec / factor)

    def with_unit_rows(self) -> tuple[Weights, Tensor]:
        """Rows of W_dec at unit norm, what they lost in W_enc and b_enc; and the lost factors [n_latents].

        Pre-activations grow by their row's norm, so the reconstruction stays the same wherever the same latents are
        active: under relu always, under top-k when it chose by activation times row norm. A row of zeros is left.
        """
        norms = torch.linalg.vector_norm(self.W_dec, dim=1)
        norms = torch.where(norms > 0, norms, torch.ones_like(norms))
        return Weights(self.W_enc * norms, self.b_enc * norms, self.W_dec / norms[:, None], self.b_dec), norms

    def _shift(self) -> Tensor:
        return self.b_dec.double() @ self.W_enc.double()


class _HasWeights(Protocol):
    @property
    def W_enc(self) -> Tensor: ...  # noqa: N802
    @property
    def b_enc(self) -> Tensor: ...
    @property
    def W_dec(self) -> Tensor: ...  # noqa: N802
    @property
    def b_dec(self) -> Tensor: ...


def weights_of(dictionary: _HasWeights) -> Weights:
    """Look at the weights of one of our dictionaries, as they are."""
    return Weights(
        dictionary.W_enc.detach(), dictionary.b_enc.detach(), dictionary.W_dec.detach(), dictionary.b_dec.detach()
    )


@torch.no_grad()
def fill_(dictionary: nn.Module, weights: Weights, **others: Tensor) -> None:
    """Put weights, and other parameters or buffers by name, into one of our dictionaries."""
    own = dictionary.state_dict()
    for name, tensor in {**vars(weights), **others}.items():
        own[name].copy_(tensor)
