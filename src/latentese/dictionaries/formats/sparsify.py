"""Checkpoints of sparsify (package eai-sparsify), up to its release 1.3: `cfg.json` and `sae.safetensors`.

What they mean there, and here:

- norm: none. Activations are read as they are.
- bias: `b_dec` is subtracted before encoding and added after decoding.
- threshold: none. The k largest of relu(pre-activations) are active. `activation: groupmax` (one latent of each of k
  groups), `signed: true` (the largest by absolute value) and `activation: relu` are not TopK, and are refused.
- decoder rows have any norm; top-k compares activations alone. They are kept as they are.

Refused as well: `skip_connection` (the reconstruction has a linear part that no latent explains) and `transcode` (it
predicts another place in the model than it reads).

Tensors there: `encoder.weight [n_latents, d_model]`, `encoder.bias`, `W_dec [n_latents, d_model]`, `b_dec`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.formats.base import NO_NORM, SAME, SUBTRACTED, TOPK, Imported, Meaning
from latentese.dictionaries.formats.building import build_topk
from latentese.dictionaries.formats.files import read_cfg, read_safetensors
from latentese.dictionaries.formats.weights import Weights, weights_of
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError, SettingError
from latentese.store.files import sha256_file, write_json
from latentese.store.shards import write_shard

CFG, WEIGHTS = "cfg.json", "sae.safetensors"


def read(path: Path) -> Imported:
    """Read the folder of one hookpoint."""
    if not (path / CFG).is_file() and (found := sorted(file.parent.name for file in path.glob(f"*/{CFG}"))):
        raise ArtifactError(path, f"holds several hookpoints, name the folder of one: {', '.join(found)}")
    cfg = read_cfg(path / CFG)
    _check(cfg, path / CFG)
    tensors = read_safetensors(path / WEIGHTS)
    W_dec = tensors.take("W_dec", None, None)
    n_latents, d_model = W_dec.shape
    W_enc = tensors.take("encoder.weight", n_latents, d_model).t()
    weights = Weights(W_enc, tensors.take("encoder.bias", n_latents), W_dec, tensors.take("b_dec", d_model))
    tensors.finish()
    files = {name: sha256_file(path / name) for name in (CFG, WEIGHTS)}
    meaning = Meaning("sparsify", "topk", NO_NORM, SUBTRACTED, TOPK, SAME, tensors.dtype, {"folder": path.name}, files)
    return Imported(build_topk(weights, cfg.get("k"), "none", path / CFG), meaning)


def write(dictionary: Dictionary, path: Path) -> None:
    """Write a TopK dictionary without an input norm; the other norms cannot be said in this format."""
    if not isinstance(dictionary, TopK):
        raise SettingError("dictionary", type(dictionary).__name__, "TopK: sparsify stores nothing else")
    if dictionary.norm != "none":
        raise SettingError("dictionary.norm", dictionary.norm, "none: sparsify has no input norm")
    weights = weights_of(dictionary)
    tensors = {"encoder.weight": weights.W_enc.t(), "encoder.bias": weights.b_enc}
    write_shard(tensors | {"W_dec": weights.W_dec, "b_dec": weights.b_dec}, path / WEIGHTS)
    sizes = {"d_in": weights.d_model, "num_latents": weights.n_latents, "k": dictionary.k}
    choices = {"activation": "topk", "normalize_decoder": True, "skip_connection": False, "transcode": False}
    write_json({**sizes, **choices, "expansion_factor": 0, "multi_topk": False}, path / CFG)


def _check(cfg: dict[str, Any], path: Path) -> None:
    """Refuse what is not a plain TopK autoencoder."""
    if cfg.get("activation", "topk") != "topk":
        raise ArtifactError(path, f"activation {cfg['activation']!r} cannot be represented; only topk can")
    for key, what in {
        "signed": "top-k by absolute value",
        "skip_connection": "a linear skip connection beside the latents",
        "transcode": "a transcoder, which predicts another place than it reads,",
    }.items():
        if cfg.get(key):
            raise ArtifactError(path, f"{key}: {what} cannot be represented")
