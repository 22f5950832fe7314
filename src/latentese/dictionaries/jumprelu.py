"""The JumpReLU autoencoder: learned thresholds, and a penalty on the number of active latents itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from latentese.dictionaries.autoencoder import Encoded, smallest_kept
from latentese.dictionaries.norm import Norm
from latentese.dictionaries.penalised import Coded, Penalised
from latentese.dictionaries.sparsity import check_target_l0
from latentese.errors import SettingError

LOG_UNIT = 10.0
"""E-folds of a threshold per unit of its parameter."""


class JumpReLU(Penalised):
    """Sparse autoencoder with a learned threshold per latent and an L0 penalty (Rajamanoharan et al. 2024b).

        x         = acts after the input norm
        pre_acts  = (x - b_dec) @ W_enc + b_enc
        threshold = exp(10 * log_threshold)
        latents   = pre_acts where pre_acts > threshold, else 0
        recon     = latents @ W_dec + b_dec
        loss      = |x - recon|^2 / |x - mean|^2  +  coef * L0                       without target_l0
                    |x - recon|^2 / |x - mean|^2  +  coef * (L0 / target_l0 - 1)^2   with it

    with L0 the batch's mean number of active latents per token and |x - mean| over the fixed sample. Thresholds have no
    gradient of their own. Their substitute is the paper's: a rectangle as wide as `bandwidth` stands for the derivative
    of the step,

        d latents / d threshold = -threshold / bandwidth   where |pre_acts - threshold| < bandwidth / 2, else 0
        d L0 / d threshold      = -1 / bandwidth           there, summed over latents, averaged over tokens

    and the penalty reaches nothing but thresholds. They are learned on a logarithmic scale, as in the paper. Its unit
    is ten e-folds because all weights share one learning rate, at which single e-folds would take thousands of steps.

    `start_threshold` and `bandwidth` count in units of |x - mean|. A target has the form that the paper proposes for a
    wished sparsity: unlike a steered coefficient, it also pulls thresholds down where L0 is too small. With one,
    thresholds start where the sample's L0 is the target. Rows of W_dec have unit norm. Shapes: W_enc [d_model,
    n_latents], log_threshold [n_latents].

    coef: `sparsity_coef`, reached after `sparsity_warmup_tokens`. norm: see `norm.apply_norm`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (the settings of the YAML, flat)
        self,
        d_model: int,
        n_latents: int,
        norm: Norm = "unit_norm",
        start_threshold: float = 0.1,
        bandwidth: float = 0.03,
        sparsity_coef: float = 1.0,
        target_l0: float | None = None,
        sparsity_warmup_tokens: int = 0,
        start: str = "norms",
        seed: int = 0,
    ) -> None:
        super().__init__(d_model, n_latents, norm, sparsity_coef, None, sparsity_warmup_tokens, start, seed)
        check_target_l0(target_l0, n_latents)
        for name, value in (("start_threshold", start_threshold), ("bandwidth", bandwidth)):
            if not value > 0:
                raise SettingError(f"dictionary.{name}", value, "above 0")
        self.start_threshold, self.bandwidth, self.target_l0 = start_threshold, bandwidth, target_l0
        self.log_threshold = nn.Parameter(torch.zeros(n_latents))
        self._set_thresholds_(torch.tensor(start_threshold))

    @property
    def args(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"start_threshold": self.start_threshold, "bandwidth": self.bandwidth, "target_l0": self.target_l0}
        return super().args | own

    @property
    def threshold(self) -> Tensor:
        """What each latent's pre-activation must exceed, [n_latents]."""
        return torch.exp(LOG_UNIT * self.log_threshold)

    def _encode(self, x: Tensor) -> Encoded:
        pre_acts = self._affine(x)
        return Encoded(pre_acts, pre_acts * (pre_acts > self.threshold))

    def _code(self, x: Tensor) -> Coded:
        bandwidth = self.bandwidth * torch.sqrt(self.variance)
        latents, l0 = jumprelu(self._affine(x), self.threshold, bandwidth)
        penalty = l0 if self.target_l0 is None else (l0 / self.target_l0 - 1).square()
        return Coded(latents, penalty, x.new_zeros(()))

    def _start_selection_(self, x: Tensor) -> None:
        none = torch.zeros(self.n_units)  # everything positive is active while the scale is found
        self._set_thresholds_(none if self.target_l0 is None else smallest_kept(self._affine(x), self.target_l0))

    def _scale_encoder_(self, factor: Tensor) -> None:
        super()._scale_encoder_(factor)
        if self.target_l0 is None:
            self._set_thresholds_(self.start_threshold * torch.sqrt(self.variance))
        else:
            self._set_thresholds_(self.threshold * factor)

    @torch.no_grad()
    def _set_thresholds_(self, threshold: Tensor) -> None:
        self.log_threshold.copy_(threshold.clamp_min(1e-8).log() / LOG_UNIT)


def jumprelu(pre_acts: Tensor, threshold: Tensor, bandwidth: Tensor) -> tuple[Tensor, Tensor]:
    """Keep pre_acts [n_tokens, n_latents] above threshold [n_latents]; also the mean number of those per token, L0.

    See `JumpReLU` for the gradients to the threshold.
    """
    latents, l0 = _JumpReLU.apply(pre_acts, threshold, bandwidth)  # type: ignore[no-untyped-call]
    return latents, l0


class _JumpReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre_acts: Tensor, threshold: Tensor, bandwidth: Tensor) -> tuple[Tensor, Tensor]:
        """See `jumprelu`."""
        active = pre_acts > threshold
        near = (pre_acts - threshold).abs() < bandwidth / 2
        ctx.save_for_backward(active, near, threshold, bandwidth)
        return pre_acts * active, active.sum() / len(pre_acts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_latents: Tensor, grad_l0: Tensor) -> tuple[Tensor, Tensor, None]:
        """Pass the latents' gradient where they are active; let thresholds hear of what is near them."""
        active, near, threshold, bandwidth = ctx.saved_tensors
        heard = (near * grad_latents).sum(dim=0) * threshold + near.sum(dim=0) * (grad_l0 / len(near))
        return grad_latents * active, -heard / bandwidth, None
