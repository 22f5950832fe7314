"""The ReLU autoencoder with an L1 penalty, the baseline that later forms are measured against."""

from __future__ import annotations

from torch import Tensor

from latentese.dictionaries.autoencoder import Encoded
from latentese.dictionaries.penalised import Coded, Penalised


class ReLU(Penalised):
    """Sparse autoencoder kept sparse by an L1 penalty (Cunningham et al. 2023; Bricken et al. 2023).

        x       = acts after the input norm
        latents = relu((x - b_dec) @ W_enc + b_enc)
        recon   = latents @ W_dec + b_dec
        loss    = |x - recon|^2 / |x - mean|^2  +  coef * |latents|_1 / |x - mean|

    with |x - mean| over the fixed sample. Rows of W_dec have unit norm, so that latents cannot hide from the penalty
    behind long rows. Shapes: W_enc [d_model, n_latents], W_dec [n_latents, d_model].

    coef: see `penalised.Penalised`. norm: see `norm.apply_norm`.
    """

    def _encode(self, x: Tensor) -> Encoded:
        pre_acts = self._affine(x)
        return Encoded(pre_acts, pre_acts.relu())

    def _code(self, x: Tensor) -> Coded:
        latents = self._encode(x).latents
        return Coded(latents, self._l1(latents), x.new_zeros(()))
