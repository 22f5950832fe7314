"""Checkpoints of dictionary_learning, release 0.1: `ae.pt` and `config.json`.

What they mean there, and here:

- norm: none. Its trainer may divide activations by one number, and multiplies that into the biases before it saves.
- bias: `b_dec` is subtracted before encoding and added after decoding.
- threshold: `AutoEncoderTopK` takes the k largest of relu(pre-activations) of each token. It also stores a `threshold`
  that is used on request only; it is put aside.
- decoder columns have unit norm, as training leaves them; they are kept as they are.

Refused: other classes. `.pt` files are read by torch's restricted reader: tensors and plain values, nothing that runs.

Tensors there: `encoder.weight [n_latents, d_model]`, `encoder.bias`, `decoder.weight [d_model, n_latents]`, `b_dec`,
`k`, `threshold`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.formats.base import NO_NORM, SAME, SUBTRACTED, TOPK, Imported, Meaning
from latentese.dictionaries.formats.building import build_topk
from latentese.dictionaries.formats.files import Tensors, read_cfg, read_pt
from latentese.dictionaries.formats.weights import Weights, weights_of
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError, SettingError
from latentese.store.files import sha256_file, whole_file, write_json

CFG, WEIGHTS = "config.json", "ae.pt"


def read(path: Path) -> Imported:
    """Read the folder of one trainer."""
    trainer = read_cfg(path / CFG).get("trainer")
    if not isinstance(trainer, Mapping) or "dict_class" not in trainer:
        raise ArtifactError(path / CFG, "names no trainer.dict_class, so what the weights mean is unknown")
    build = CLASSES.get(trainer["dict_class"])
    if build is None:
        known = ", ".join(CLASSES)
        raise ArtifactError(path / CFG, f"dict_class {trainer['dict_class']!r} cannot be represented; only {known} can")
    tensors, _ = read_pt(path / WEIGHTS)
    dictionary, threshold = build(tensors, trainer, path / CFG)
    tensors.finish()
    told = {"model": trainer.get("lm_name"), "layer": trainer.get("layer"), "submodule": trainer.get("submodule_name")}
    meaning = Meaning(
        format="dictionary_learning",
        architecture=trainer["dict_class"],
        norm=NO_NORM,
        bias=SUBTRACTED,
        threshold=threshold,
        latents=SAME,
        dtype=tensors.dtype,
        trained_on={key: value for key, value in told.items() if value is not None},
        files={name: sha256_file(path / name) for name in (CFG, WEIGHTS)},
    )
    return Imported(dictionary, meaning)


def write(dictionary: Dictionary, path: Path) -> None:
    """Write a TopK dictionary without an input norm; the other norms cannot be said in this format."""
    if not isinstance(dictionary, TopK):
        raise SettingError("dictionary", type(dictionary).__name__, "TopK, to be written for dictionary_learning")
    if dictionary.norm != "none":
        raise SettingError("dictionary.norm", dictionary.norm, "none: dictionary_learning has no input norm")
    weights = weights_of(dictionary)
    state = {
        "b_dec": weights.b_dec,
        "k": torch.tensor(dictionary.k, dtype=torch.int32),
        "threshold": torch.tensor(-1.0),
        "decoder.weight": weights.W_dec.t().contiguous(),
        "encoder.weight": weights.W_enc.t().contiguous(),
        "encoder.bias": weights.b_enc,
    }
    with whole_file(path / WEIGHTS) as part:
        torch.save(state, part)
    sizes = {"activation_dim": weights.d_model, "dict_size": weights.n_latents, "k": dictionary.k}
    write_json({"trainer": {"dict_class": "AutoEncoderTopK", **sizes}}, path / CFG)


def _topk(tensors: Tensors, trainer: Mapping[str, Any], cfg: Path) -> tuple[Dictionary, str]:
    weights = _linear(tensors)
    tensors.drop(["threshold"])
    k = int(tensors.take("k").item()) if "k" in tensors else trainer.get("k")
    if k != trainer.get("k", k):
        raise ArtifactError(cfg, f"says k={trainer['k']!r}, the weights beside it say {k}")
    return build_topk(weights, k, "none", cfg), TOPK


CLASSES = {"AutoEncoderTopK": _topk}


def _linear(tensors: Tensors) -> Weights:
    rows = tensors.take("encoder.weight", None, None)
    n_latents, d_model = rows.shape
    W_dec = tensors.take("decoder.weight", d_model, n_latents).t()
    return Weights(rows.t(), tensors.take("encoder.bias", n_latents), W_dec, tensors.take("b_dec", d_model))
