"""From weights to our classes, with a line about the checkpoint when its numbers make no dictionary."""

from __future__ import annotations

from pathlib import Path

from latentese.dictionaries.formats.weights import Weights, fill_
from latentese.dictionaries.norm import Norm
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError


def build_topk(weights: Weights, k: object, norm: Norm, cfg: Path) -> TopK:
    """TopK with these weights; `k` as it was read from the file `cfg`."""
    if not isinstance(k, int) or not 1 <= k <= weights.n_latents:
        raise ArtifactError(cfg, f"k must be a whole number from 1 to {weights.n_latents}, its latents; found {k!r}")
    dictionary = TopK(weights.d_model, weights.n_latents, k, norm)
    fill_(dictionary, weights)
    return dictionary
