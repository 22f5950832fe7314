"""Checkpoints of Gao et al. 2024, as OpenAI released them: one `.pt` file per autoencoder. Read only.

What they mean there, and here:

- norm: with `activation: TopK`, layernorm_std (minus the mean, divided by the unbiased standard deviation plus 1e-5);
  with `ReLU`, none.
- bias: `pre_bias` is subtracted before encoding and added after decoding; `latent_bias` is added to pre-activations.
- threshold: with `TopK`, the k largest pre-activations of each token, those below 0 as 0 (`postact_fn: ReLU`;
  `Identity` would keep negative ones, and is refused); with `ReLU`, 0.
- decoder columns have unit norm or nearly so; they are kept as they are. A tied decoder is the encoder's transpose.

Tensors there: `pre_bias`, `latent_bias`, `encoder.weight [n_latents, d_model]`, `decoder.weight [d_model, n_latents]`;
`stats_last_nonzero`, `latents_activation_frequency` and `latents_mean_square` count in training and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.formats.base import ABOVE_ZERO, NO_NORM, SAME, SUBTRACTED, TOPK, Imported, Meaning
from latentese.dictionaries.formats.building import build_relu, build_topk
from latentese.dictionaries.formats.files import Tensors, read_pt
from latentese.dictionaries.formats.weights import Weights
from latentese.errors import ArtifactError
from latentese.store.files import sha256_file

COUNTERS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")


def read(path: Path) -> Imported:
    """Read one `.pt` file."""
    tensors, values = read_pt(path)
    weights = _weights(tensors)
    activation = values.get("activation", "ReLU")
    build = ACTIVATIONS.get(activation)
    if build is None:
        raise ArtifactError(path, f"activation {activation!r} cannot be represented; only {', '.join(ACTIVATIONS)} can")
    dictionary, norm, threshold = build(weights, values.get("activation_state_dict", {}), path)
    files = {path.name: sha256_file(path)}
    return Imported(
        dictionary, Meaning("openai", activation, norm, SUBTRACTED, threshold, SAME, tensors.dtype, {}, files)
    )


def _topk(weights: Weights, chosen: Any, path: Path) -> tuple[Dictionary, str, str]:
    if not isinstance(chosen, Mapping) or chosen.get("postact_fn", "ReLU") != "ReLU":
        raise ArtifactError(path, "postact_fn: only ReLU after top-k can be represented")
    norm = "layernorm_std (as Gao et al. 2024 released it)"
    return build_topk(weights, _whole(chosen.get("k")), "layernorm_std", path), norm, TOPK


def _relu(weights: Weights, chosen: Any, path: Path) -> tuple[Dictionary, str, str]:
    return build_relu(weights, "none"), NO_NORM, ABOVE_ZERO


ACTIVATIONS = {"TopK": _topk, "ReLU": _relu}


def _weights(tensors: Tensors) -> Weights:
    tensors.drop(COUNTERS)
    rows = tensors.take("encoder.weight", None, None)
    n_latents, d_model = rows.shape
    tied = "decoder.linear.weight" in tensors
    W_dec = (
        tensors.take("decoder.linear.weight", n_latents, d_model)
        if tied
        else tensors.take("decoder.weight", d_model, n_latents).t()
    )
    weights = Weights(rows.t(), tensors.take("latent_bias", n_latents), W_dec, tensors.take("pre_bias", d_model))
    tensors.finish()
    return weights


def _whole(k: Any) -> Any:
    """Give k as a plain number: some files hold it as a tensor."""
    return k.item() if hasattr(k, "item") else k
