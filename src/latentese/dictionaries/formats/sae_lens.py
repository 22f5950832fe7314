"""Checkpoints of SAELens, releases 1 to 6: `cfg.json` and `sae_weights.safetensors`.

What they mean there, and here:

- norm: `normalize_activations`. `none`; `layer_norm` is our layernorm_std (unbiased standard deviation plus 1e-5);
  `constant_norm_rescale` is our rms. `expected_average_only_in` multiplies every activation by one number, which
  training usually folds into the weights before it saves; where it did not, the number must lie beside the weights in
  `activation_scaler.json` and is folded here. `covariance_whitening` is refused unless folded.
- bias: `b_dec` is added after decoding, and subtracted before encoding if `apply_b_dec_to_input`; where it is not, what
  our encoder subtracts is added to `b_enc`.
- threshold: `topk` takes the k largest pre-activations, those below 0 as 0.
- decoder rows have any norm. With `rescale_acts_by_decoder_norm`, top-k chooses by pre-activation times row norm: rows
  are brought to unit norm and the encoder takes up the factor, so latents are theirs in that unit. Otherwise rows are
  kept as they are.
- `reshape_activations: hook_z` only flattens heads: our activations are flat already.

Refused: every other architecture (transcoders, `temporal`, `matching_pursuit`, `abstopk`, and checkpoints of training
such as `batchtopk`, which SAELens saves for inference as `jumprelu`), other activation functions (`tanh-relu`), and
`finetuning_scaling_factor` unless it is all ones.

Tensors there: `W_enc [d_model, n_latents]`, `b_enc`, `W_dec [n_latents, d_model]`, `b_dec`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.formats.base import FOLDED, NO_NORM, SAME, SUBTRACTED, TOPK, Imported, Meaning
from latentese.dictionaries.formats.building import build_topk
from latentese.dictionaries.formats.files import Tensors, read_cfg, read_safetensors
from latentese.dictionaries.formats.weights import Weights, weights_of
from latentese.dictionaries.norm import Norm
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError, SettingError
from latentese.store.files import sha256_file, write_json
from latentese.store.shards import write_shard

CFG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"
LAYOUT = "6.0.0"
"""Release whose layout of cfg.json we write; SAELens takes a file without one for an older layout."""

NORMS: Mapping[str, Norm] = {
    "none": "none",
    "layer_norm": "layernorm_std",
    "constant_norm_rescale": "rms",
    "expected_average_only_in": "none",
}
"""Our norm for each of theirs; the last is a factor on top."""
WRITTEN_NORMS: Mapping[Norm, str] = {
    "none": "none",
    "layernorm_std": "layer_norm",
    "unit_norm": "layer_norm",
    "rms": "constant_norm_rescale",
}
TRAINED_ON = ("model_name", "hook_name", "hook_layer", "hook_head_index", "context_size", "prepend_bos", "dataset_path")


@dataclass(frozen=True)
class _Read:
    """A checkpoint whose shared tensors were read."""

    cfg: Mapping[str, Any]
    path: Path
    tensors: Tensors
    weights: Weights
    norm: Norm


def read(path: Path) -> Imported:
    """Read the folder of one autoencoder."""
    cfg = _current(read_cfg(path / CFG))
    build = ARCHITECTURES.get(cfg["architecture"])
    if build is None:
        known = ", ".join(ARCHITECTURES)
        raise ArtifactError(path / CFG, f"architecture {cfg['architecture']!r} cannot be represented; only {known} can")
    tensors = read_safetensors(path / WEIGHTS)
    _drop_ones(tensors, cfg)
    weights, norm, said = _normed(_weights(tensors, cfg), cfg, path)
    folded = not cfg.get("apply_b_dec_to_input", True)
    read_ = _Read(cfg, path, tensors, weights.subtracting() if folded else weights, norm)
    dictionary, threshold, latents = build(read_)
    tensors.finish()
    used = [name for name in (CFG, WEIGHTS, SCALER) if (path / name).is_file()]
    meaning = Meaning(
        format="sae_lens",
        architecture=cfg["architecture"],
        norm=said,
        bias=FOLDED if folded else SUBTRACTED,
        threshold=threshold,
        latents=latents,
        dtype=tensors.dtype,
        trained_on={key: cfg["metadata"][key] for key in TRAINED_ON if cfg["metadata"].get(key) is not None},
        files={name: sha256_file(path / name) for name in used},
    )
    return Imported(dictionary, meaning)


def write(dictionary: Dictionary, path: Path) -> None:
    """Write a dictionary for SAELens to load with `SAE.load_from_disk`.

    norm: unit_norm is written as `layer_norm`, which is sqrt(d_model - 1) times as large; the factor is folded into the
    weights, so that latents stay the same.
    """
    if not isinstance(dictionary, TopK):
        raise SettingError("dictionary", type(dictionary).__name__, "TopK, to be written for sae_lens")
    weights = weights_of(dictionary)
    if dictionary.norm == "unit_norm":
        weights = weights.reading(1 / (weights.d_model - 1) ** 0.5)
    write_shard(vars(weights), path / WEIGHTS)
    cfg = {
        "architecture": "topk",
        "d_in": weights.d_model,
        "d_sae": weights.n_latents,
        "k": dictionary.k,
        "rescale_acts_by_decoder_norm": False,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": WRITTEN_NORMS[dictionary.norm],
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": LAYOUT},
    }
    write_json(cfg, path / CFG)


def _topk(read: _Read) -> tuple[Dictionary, str, str]:
    """TopK, its rows at unit norm if those were what top-k compared by."""
    weights, latents = read.weights, SAME
    if read.cfg.get("rescale_acts_by_decoder_norm"):
        weights, _ = weights.with_unit_rows()
        latents = "the same as there (which chose by, and gave, pre-activations times row norms; rows now have norm 1)"
    return build_topk(weights, read.cfg.get("k"), read.norm, read.path / CFG), TOPK, latents


ARCHITECTURES = {"topk": _topk}


def _current(cfg: dict[str, Any]) -> dict[str, Any]:
    """Bring a configuration into the layout of release 6, from that or an older one.

    Older releases had everything on one level, an activation function beside the architecture, and booleans for norms.
    """
    metadata = cfg.get("metadata")
    version = cfg.get("sae_lens_version") or (metadata or {}).get("sae_lens_version")
    if version and int(str(version).partition(".")[0]) >= 6:
        return {"architecture": "standard", **cfg, "metadata": metadata or {}}
    activation = cfg.get("activation_fn", cfg.get("activation_fn_str", "relu"))
    architecture = cfg.get("architecture", "standard")
    if activation not in ("relu", "topk"):
        architecture = f"{architecture} with activation {activation}"
    elif activation == "topk":
        architecture = "topk"
    norm = cfg.get("normalize_activations")
    norm = "expected_average_only_in" if norm is True else norm or "none"
    told = {"architecture": architecture, "normalize_activations": norm, "metadata": cfg}
    return cfg | told | {"k": (cfg.get("activation_fn_kwargs") or {}).get("k", cfg.get("k"))}


def _drop_ones(tensors: Tensors, cfg: Mapping[str, Any]) -> None:
    """Put aside a scaling of latents that scales nothing: older releases stored one always."""
    names = [name for name in ("scaling_factor", "finetuning_scaling_factor") if name in tensors]
    for name in names:
        if not torch.allclose(tensors.take(name, None), torch.ones(())):
            raise ArtifactError(tensors.path, f"{name} rescales latents after finetuning; it cannot be represented")
    if cfg.get("finetuning_scaling_factor") and not names:
        raise ArtifactError(tensors.path, "finetuning_scaling_factor is set in cfg.json, but the factors are missing")


def _weights(tensors: Tensors, cfg: Mapping[str, Any]) -> Weights:
    """Take the shared tensors, in shapes that agree with cfg.json and each other."""
    W_dec = tensors.take("W_dec", cfg.get("d_sae"), cfg.get("d_in"))
    n_latents, d_model = W_dec.shape
    W_enc, b_dec = tensors.take("W_enc", d_model, n_latents), tensors.take("b_dec", d_model)
    return Weights(W_enc, tensors.take("b_enc", n_latents), W_dec, b_dec)


def _normed(weights: Weights, cfg: Mapping[str, Any], path: Path) -> tuple[Weights, Norm, str]:
    """Give the weights for our norm, our norm, and both in words."""
    theirs = cfg.get("normalize_activations", "none")
    norm = NORMS.get(theirs)
    if norm is None:
        problem = f"normalize_activations {theirs!r} cannot be represented; fold it into the weights with SAELens first"
        raise ArtifactError(path / CFG, problem)
    if theirs != "expected_average_only_in":
        return weights, norm, NO_NORM if norm == "none" else f"{norm} ({theirs})"
    factor = read_cfg(path / SCALER).get("scaling_factor") if (path / SCALER).is_file() else None
    if not isinstance(factor, float) or not factor > 0:
        problem = f"normalize_activations {theirs!r} needs its scaling_factor, which is not in {SCALER} beside it"
        raise ArtifactError(path / CFG, f"{problem}; fold it into the weights with SAELens first")
    return weights.reading(factor), norm, f"none: the factor {factor:g} on activations ({theirs}) is in the weights"
