"""Checkpoints of SAELens, releases 1 to 6: `cfg.json` and `sae_weights.safetensors`.

What they mean there, and here:

- norm: `normalize_activations`. `none`; `layer_norm` is our layernorm_std (unbiased standard deviation plus 1e-5);
  `constant_norm_rescale` is our rms. `expected_average_only_in` multiplies every activation by one number, which
  training usually folds into the weights before it saves; where it did not, the number must lie beside the weights in
  `activation_scaler.json` and is folded here. `covariance_whitening` is refused unless folded.
- bias: `b_dec` is added after decoding, and subtracted before encoding if `apply_b_dec_to_input`; where it is not, what
  our encoder subtracts is added to `b_enc` (for `gated`, to both biases).
- threshold: `standard` has 0, `jumprelu` one per latent (BatchTopK and Matryoshka autoencoders are saved as that too),
  `gated` a gate, and `topk` takes the k largest pre-activations, those below 0 as 0.
- decoder rows have any norm. With `rescale_acts_by_decoder_norm`, top-k chooses by pre-activation times row norm: rows
  are brought to unit norm and the encoder takes up the factor, so latents are theirs in that unit. Otherwise rows are
  kept as they are.
- `reshape_activations: hook_z` only flattens heads: our activations are flat already.

Refused: every other architecture (transcoders, `temporal`, `matching_pursuit`, `abstopk`, and checkpoints of training
such as `batchtopk`), other activation functions (`tanh-relu`), and a `finetuning_scaling_factor` that is not all ones.

Tensors there: `W_enc [d_model, n_latents]`, `b_enc` (`b_gate`, `r_mag` and `b_mag` in its stead where gated),
`W_dec [n_latents, d_model]`, `b_dec`, `threshold`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.formats import base as said
from latentese.dictionaries.formats.base import Imported, Meaning
from latentese.dictionaries.formats.building import build_gated, build_jumprelu, build_relu, build_topk
from latentese.dictionaries.formats.files import Tensors, read_cfg, read_safetensors
from latentese.dictionaries.formats.sae_lens_layout import LAYOUT, current_layout, drop_scaling_of_ones
from latentese.dictionaries.formats.weights import Weights, weights_of
from latentese.dictionaries.gated import Gated
from latentese.dictionaries.jumprelu import JumpReLU
from latentese.dictionaries.norm import Norm
from latentese.dictionaries.relu import ReLU
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError, SettingError
from latentese.store.files import sha256_file, write_json
from latentese.store.shards import write_shard

CFG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"

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
    """`b_enc` is the gate's bias where gated."""
    shift: Tensor
    """[n_latents]: what was added to `b_enc` because our encoder subtracts b_dec."""
    norm: Norm


class _Built(NamedTuple):
    dictionary: Dictionary
    threshold: str
    latents: str = said.SAME


def read(path: Path) -> Imported:
    """Read the folder of one autoencoder."""
    cfg = current_layout(read_cfg(path / CFG))
    build = ARCHITECTURES.get(cfg["architecture"])
    if build is None:
        known = ", ".join(ARCHITECTURES)
        raise ArtifactError(path / CFG, f"architecture {cfg['architecture']!r} cannot be represented; only {known} can")
    tensors = read_safetensors(path / WEIGHTS)
    drop_scaling_of_ones(tensors, cfg)
    stored, norm, norm_said = _normed(_weights(tensors, cfg), cfg, path)
    subtracts = cfg.get("apply_b_dec_to_input", True)
    weights = stored if subtracts else stored.subtracting()
    built = build(_Read(cfg, path, tensors, weights, weights.b_enc - stored.b_enc, norm))
    tensors.finish()
    used = [name for name in (CFG, WEIGHTS, SCALER) if (path / name).is_file()]
    meaning = Meaning(
        format="sae_lens",
        architecture=cfg["architecture"],
        norm=norm_said,
        bias=said.SUBTRACTED if subtracts else said.FOLDED,
        threshold=built.threshold,
        latents=built.latents,
        dtype=tensors.dtype,
        trained_on={key: cfg["metadata"][key] for key in TRAINED_ON if cfg["metadata"].get(key) is not None},
        files={name: sha256_file(path / name) for name in used},
    )
    return Imported(built.dictionary, meaning)


def _topk(read: _Read) -> _Built:
    if not read.cfg.get("rescale_acts_by_decoder_norm"):
        return _Built(build_topk(read.weights, read.cfg.get("k"), read.norm, read.path / CFG), said.TOPK)
    weights, _ = read.weights.with_unit_rows()
    latents = "the same as there (pre-activations times row norms, which top-k chose by); our rows have norm 1"
    return _Built(build_topk(weights, read.cfg.get("k"), read.norm, read.path / CFG), said.TOPK, latents)


def _standard(read: _Read) -> _Built:
    return _Built(build_relu(read.weights, read.norm), said.ABOVE_ZERO)


def _jumprelu(read: _Read) -> _Built:
    threshold = read.tensors.take("threshold", read.weights.n_latents)
    return _Built(build_jumprelu(read.weights, threshold, read.norm), said.OWN_THRESHOLD)


def _gated(read: _Read) -> _Built:
    r_mag, b_mag = (read.tensors.take(name, read.weights.n_latents) for name in ("r_mag", "b_mag"))
    return _Built(build_gated(read.weights, r_mag, b_mag + r_mag.exp() * read.shift, read.norm), said.GATE)


ARCHITECTURES = {"standard": _standard, "topk": _topk, "jumprelu": _jumprelu, "gated": _gated}


def _weights(tensors: Tensors, cfg: Mapping[str, Any]) -> Weights:
    """Take the shared tensors, in shapes that agree with cfg.json and each other."""
    W_dec = tensors.take("W_dec", cfg.get("d_sae"), cfg.get("d_in"))
    n_latents, d_model = W_dec.shape
    W_enc, b_dec = tensors.take("W_enc", d_model, n_latents), tensors.take("b_dec", d_model)
    bias = "b_gate" if cfg["architecture"] == "gated" else "b_enc"
    return Weights(W_enc, tensors.take(bias, n_latents), W_dec, b_dec)


def _normed(weights: Weights, cfg: Mapping[str, Any], path: Path) -> tuple[Weights, Norm, str]:
    """Give the weights for our norm, our norm, and both in words."""
    theirs = cfg.get("normalize_activations", "none")
    norm = NORMS.get(theirs)
    if norm is None:
        problem = f"normalize_activations {theirs!r} cannot be represented; fold it into the weights with SAELens first"
        raise ArtifactError(path / CFG, problem)
    if theirs != "expected_average_only_in":
        return weights, norm, said.NO_NORM if norm == "none" else f"{norm} ({theirs})"
    factor = read_cfg(path / SCALER).get("scaling_factor") if (path / SCALER).is_file() else None
    if not isinstance(factor, int | float) or not factor > 0:
        problem = f"normalize_activations {theirs!r} needs its scaling_factor, which is not in {SCALER} beside it"
        raise ArtifactError(path / CFG, f"{problem}; fold it into the weights with SAELens first")
    return weights.reading(factor), norm, f"none: the factor {factor:g} on activations ({theirs}) is in the weights"


def write(dictionary: Dictionary, path: Path) -> None:
    """Write a dictionary for SAELens to load with `SAE.load_from_disk`.

    BatchTopK and Matryoshka are written with their threshold as `jumprelu`, as SAELens does with its own. norm:
    unit_norm is written as `layer_norm`, which is sqrt(d_model - 1) times as large; the factor is folded into the
    weights, so that latents stay the same but for the 1e-5 that `layer_norm` adds to the standard deviation.
    """
    written = _written(dictionary)
    weights = written.weights
    if written.norm == "unit_norm":
        weights = weights.reading(1 / (weights.d_model - 1) ** 0.5)
    cfg = {
        "architecture": written.architecture,
        "d_in": weights.d_model,
        "d_sae": weights.n_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": WRITTEN_NORMS[written.norm],
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": LAYOUT},
    }
    write_shard(_tensors(weights, written), path / WEIGHTS)
    write_json({**cfg, **written.cfg}, path / CFG)


@dataclass(frozen=True)
class _Written:
    """What SAELens calls a dictionary, and what it stores of it beside the shared tensors."""

    architecture: str
    weights: Weights
    norm: Norm
    tensors: Mapping[str, Tensor]
    cfg: Mapping[str, Any]


def _tensors(weights: Weights, written: _Written) -> dict[str, Tensor]:
    bias = "b_gate" if written.architecture == "gated" else "b_enc"
    shared = {"W_enc": weights.W_enc, bias: weights.b_enc, "W_dec": weights.W_dec, "b_dec": weights.b_dec}
    return {**shared, **written.tensors}


@singledispatch
def _written(dictionary: Dictionary) -> _Written:
    allowed = "TopK, ReLU, Gated, JumpReLU, BatchTopK or Matryoshka, to be written for sae_lens"
    raise SettingError("dictionary", type(dictionary).__name__, allowed)


@_written.register
def _(dictionary: TopK) -> _Written:
    cfg = {"k": dictionary.k, "rescale_acts_by_decoder_norm": False}
    return _Written("topk", weights_of(dictionary), dictionary.norm, {}, cfg)


@_written.register
def _(dictionary: ReLU) -> _Written:
    return _Written("standard", weights_of(dictionary), dictionary.norm, {}, {})


@_written.register
def _(dictionary: Gated) -> _Written:
    own = {"r_mag": dictionary.r_mag.detach(), "b_mag": dictionary.b_mag.detach()}
    return _Written("gated", weights_of(dictionary), dictionary.norm, own, {})


@_written.register
def _(dictionary: JumpReLU | BatchTopK) -> _Written:
    threshold = dictionary.threshold.detach() * torch.ones(dictionary.n_units)
    return _Written("jumprelu", weights_of(dictionary), dictionary.norm, {"threshold": threshold}, {})
