"""From weights to our classes, with a line about the checkpoint when its numbers make no dictionary."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.formats.weights import Weights, fill_
from latentese.dictionaries.gated import Gated
from latentese.dictionaries.jumprelu import LOG_UNIT, JumpReLU
from latentese.dictionaries.matryoshka import Matryoshka
from latentese.dictionaries.norm import Norm
from latentese.dictionaries.relu import ReLU
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError


def build_topk(weights: Weights, k: object, norm: Norm, cfg: Path) -> TopK:
    """TopK with these weights; `k` as it was read from the file `cfg`."""
    dictionary = TopK(weights.d_model, weights.n_latents, _whole(k, weights, cfg), norm)
    fill_(dictionary, weights)
    return dictionary


def build_relu(weights: Weights, norm: Norm) -> ReLU:
    """ReLU with these weights."""
    dictionary = ReLU(weights.d_model, weights.n_latents, norm)
    fill_(dictionary, weights)
    return dictionary


def build_gated(weights: Weights, r_mag: Tensor, b_mag: Tensor, norm: Norm) -> Gated:
    """Gated with these weights, `b_enc` being the gate's bias; r_mag, b_mag [n_latents]."""
    dictionary = Gated(weights.d_model, weights.n_latents, norm)
    fill_(dictionary, weights, r_mag=r_mag, b_mag=b_mag)
    return dictionary


def build_jumprelu(weights: Weights, threshold: Tensor, norm: Norm) -> JumpReLU:
    """JumpReLU with these weights and thresholds [n_latents] on relu(pre-activations).

    A threshold below 0 is the same as one of 0. Ours are stored as logarithms: 0 is minus infinity, and the others come
    back to within 1e-6 of themselves, which decides nothing unless a pre-activation is that close to its threshold.
    """
    dictionary = JumpReLU(weights.d_model, weights.n_latents, norm)
    fill_(dictionary, weights, log_threshold=threshold.double().clamp_min(0).log() / LOG_UNIT)
    return dictionary


def build_batch_topk(weights: Weights, k: object, threshold: Tensor, cfg: Path) -> BatchTopK:
    """BatchTopK with these weights and one threshold [], on relu(pre-activations)."""
    dictionary = BatchTopK(weights.d_model, weights.n_latents, _whole(k, weights, cfg), "none")
    fill_(dictionary, weights, threshold=threshold.clamp_min(0), n_averaged=torch.ones(()))
    return dictionary


def build_matryoshka(weights: Weights, k: object, threshold: Tensor, groups: list[int], cfg: Path) -> Matryoshka:
    """Matryoshka with these weights, one threshold [], and the sizes of its groups of latents."""
    if min(groups) < 1 or sum(groups) != weights.n_latents:
        raise ArtifactError(
            cfg, f"group_sizes {groups} must be positive and add up to {weights.n_latents}, its latents"
        )
    prefixes = list(accumulate(groups))[:-1]
    dictionary = Matryoshka(weights.d_model, weights.n_latents, _whole(k, weights, cfg), prefixes, "none")
    fill_(dictionary, weights, threshold=threshold.clamp_min(0), n_averaged=torch.ones(()))
    return dictionary


def _whole(k: object, weights: Weights, cfg: Path) -> int:
    if not isinstance(k, int) or not 1 <= k <= weights.n_latents:
        raise ArtifactError(cfg, f"k must be a whole number from 1 to {weights.n_latents}, its latents; found {k!r}")
    return k
