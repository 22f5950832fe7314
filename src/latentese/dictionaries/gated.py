"""The gated autoencoder: which latents are active, and how strongly, are decided apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentese.dictionaries.autoencoder import Encoded
from latentese.dictionaries.norm import Norm
from latentese.dictionaries.penalised import Coded, Penalised


class Gated(Penalised):
    """Sparse autoencoder whose penalty weighs on a gate, not on the latents' size (Rajamanoharan et al. 2024a).

        x       = acts after the input norm
        gate    = (x - b_dec) @ W_enc + b_enc
        mag     = exp(r_mag) * ((x - b_dec) @ W_enc) + b_mag
        latents = [gate > 0] * relu(mag)
        recon   = latents @ W_dec + b_dec
        loss    = |x - recon|^2 / |x - mean|^2  +  coef * |relu(gate)|_1 / |x - mean|
                  + |x - relu(gate) @ stop(W_dec) - stop(b_dec)|^2 / |x - mean|^2

    with |x - mean| over the fixed sample. The step [gate > 0] has no gradient: the gate learns from the penalty and
    from the last term, in which the decoder is a constant; it is logged as aux. The paper's W_gate and b_gate are W_enc
    and b_enc. Pre-activations are mag, which rises and falls with the gate. Rows of W_dec have unit norm. Shapes: W_enc
    [d_model, n_latents], r_mag, b_mag [n_latents], W_dec [n_latents, d_model].

    coef: see `penalised.Penalised`. norm: see `norm.apply_norm`.
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
        super().__init__(d_model, n_latents, norm, sparsity_coef, target_l0, sparsity_warmup_tokens, start, seed)
        self.r_mag = nn.Parameter(torch.zeros(n_latents))
        self.b_mag = nn.Parameter(torch.zeros(n_latents))

    def _paths(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gates and magnitudes, from one product."""
        linear = (x - self.b_dec) @ self.W_enc
        return linear + self.b_enc, torch.exp(self.r_mag) * linear + self.b_mag

    def _encode(self, x: Tensor) -> Encoded:
        gate, mag = self._paths(x)
        return Encoded(mag, (gate > 0) * mag.relu())

    def _code(self, x: Tensor) -> Coded:
        gate, mag = self._paths(x)
        opened = gate.relu()
        seen_by_gate = opened @ self.W_dec.detach() + self.b_dec.detach()
        return Coded((gate > 0) * mag.relu(), self._l1(opened), self._fvu(x, seen_by_gate))
