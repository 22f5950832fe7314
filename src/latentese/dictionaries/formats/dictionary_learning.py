"""Checkpoints of dictionary_learning, release 0.1: `ae.pt` and `config.json`.

What they mean there, and here:

- norm: none. Its trainer may divide activations by one number, and multiplies that into the biases before it saves.
- bias: `b_dec` (`bias`, `decoder_bias`) is subtracted before encoding and added after decoding; but `AutoEncoderNew`
  and `JumpReluAutoEncoder` only add it, so what our encoder subtracts is added to its bias.
- threshold: `AutoEncoder` and `AutoEncoderNew` have 0, `GatedAutoEncoder` a gate, `JumpReluAutoEncoder` one per latent,
  `BatchTopKSAE` and `MatryoshkaBatchTopKSAE` one for all. `AutoEncoderTopK` takes the k largest of each token, and
  stores a threshold that is used on request only: it is put aside.
- decoder rows: its loader brings those of `AutoEncoder` to unit norm, the encoder taking up the factor; so do we. All
  others are kept as they are.

Refused: other classes, and folders without `config.json`, which names the class. `.pt` files are read by torch's
restricted reader: tensors and plain values, nothing that runs.

Tensors there: `encoder.weight [n_latents, d_model]`, `encoder.bias`, `decoder.weight [d_model, n_latents]`, `b_dec`,
`k`, `threshold`; JumpReLU and Matryoshka `W_enc [d_model, n_latents]`, `b_enc`, `W_dec`, `b_dec`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.formats import base as said
from latentese.dictionaries.formats.base import Imported, Meaning
from latentese.dictionaries.formats.building import (
    build_batch_topk,
    build_gated,
    build_jumprelu,
    build_matryoshka,
    build_relu,
    build_topk,
)
from latentese.dictionaries.formats.files import Tensors, read_cfg, read_pt
from latentese.dictionaries.formats.weights import Weights, weights_of
from latentese.dictionaries.gated import Gated
from latentese.dictionaries.jumprelu import JumpReLU
from latentese.dictionaries.matryoshka import Matryoshka
from latentese.dictionaries.relu import ReLU
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError, SettingError
from latentese.store.files import sha256_file, whole_file, write_json

CFG, WEIGHTS = "config.json", "ae.pt"


@dataclass(frozen=True)
class _Read:
    """Files that were read, before it is known what they mean."""

    tensors: Tensors
    trainer: Mapping[str, Any]
    cfg: Path

    def k(self) -> object:
        """Take k from the weights, or from config.json, and stop if they say different things."""
        told = self.trainer.get("k")
        k = int(self.tensors.take("k").item()) if "k" in self.tensors else told
        if told not in (None, k):
            raise ArtifactError(self.cfg, f"says k={told!r}, the weights beside it say {k}")
        return k

    def linear(self, encoder_bias: str, decoder_bias: str) -> Weights:
        """Take the weights of classes that hold linear layers."""
        rows = self.tensors.take("encoder.weight", None, None)
        n, d = rows.shape
        W_dec = self.tensors.take("decoder.weight", d, n).t()
        return Weights(rows.t(), self.tensors.take(encoder_bias, n), W_dec, self.tensors.take(decoder_bias, d))

    def plain(self) -> Weights:
        """Take the weights of classes that hold matrices."""
        W_enc = self.tensors.take("W_enc", None, None)
        d, n = W_enc.shape
        take = self.tensors.take
        return Weights(W_enc, take("b_enc", n), take("W_dec", n, d), take("b_dec", d))


class _Built(NamedTuple):
    dictionary: Dictionary
    threshold: str
    bias: str = said.SUBTRACTED
    latents: str = said.SAME


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
    built = build(_Read(tensors, trainer, path / CFG))
    tensors.finish()
    told = {"model": trainer.get("lm_name"), "layer": trainer.get("layer"), "submodule": trainer.get("submodule_name")}
    meaning = Meaning(
        format="dictionary_learning",
        architecture=trainer["dict_class"],
        norm=said.NO_NORM,
        bias=built.bias,
        threshold=built.threshold,
        latents=built.latents,
        dtype=tensors.dtype,
        trained_on={key: value for key, value in told.items() if value is not None},
        files={name: sha256_file(path / name) for name in (CFG, WEIGHTS)},
    )
    return Imported(built.dictionary, meaning)


def _topk(read: _Read) -> _Built:
    weights, k = read.linear("encoder.bias", "b_dec"), read.k()
    read.tensors.drop(["threshold"])
    return _Built(build_topk(weights, k, "none", read.cfg), said.TOPK)


def _batch_topk(read: _Read) -> _Built:
    weights = read.linear("encoder.bias", "b_dec")
    return _Built(build_batch_topk(weights, read.k(), read.tensors.take("threshold"), read.cfg), said.ONE_THRESHOLD)


def _matryoshka(read: _Read) -> _Built:
    weights, groups = read.plain(), [int(size) for size in read.tensors.take("group_sizes", None)]
    dictionary = build_matryoshka(weights, read.k(), read.tensors.take("threshold"), groups, read.cfg)
    return _Built(dictionary, said.ONE_THRESHOLD)


def _jumprelu(read: _Read) -> _Built:
    weights = read.plain().subtracting()
    threshold = read.tensors.take("threshold", weights.n_latents)
    return _Built(build_jumprelu(weights, threshold, "none"), said.OWN_THRESHOLD, said.FOLDED)


def _gated(read: _Read) -> _Built:
    weights = read.linear("gate_bias", "decoder_bias")
    r_mag, b_mag = (read.tensors.take(name, weights.n_latents) for name in ("r_mag", "mag_bias"))
    return _Built(build_gated(weights, r_mag, b_mag, "none"), said.GATE)


def _relu(read: _Read) -> _Built:
    weights, _ = read.linear("encoder.bias", "bias").with_unit_rows()
    latents = "the same as there once loaded: both bring decoder rows to unit norm"
    return _Built(build_relu(weights, "none"), said.ABOVE_ZERO, latents=latents)


def _relu_new(read: _Read) -> _Built:
    weights = read.linear("encoder.bias", "decoder.bias").subtracting()
    return _Built(build_relu(weights, "none"), said.ABOVE_ZERO, said.FOLDED)


CLASSES = {
    "AutoEncoder": _relu,
    "AutoEncoderNew": _relu_new,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jumprelu,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}


class _Written(NamedTuple):
    dict_class: str
    state: Mapping[str, Tensor]
    trainer: Mapping[str, Any]
    """What config.json says beside the class and its sizes."""


def write(dictionary: Dictionary, path: Path) -> None:
    """Write a dictionary for dictionary_learning to load with `load_dictionary`.

    It must have no input norm, which cannot be said in this format. ReLU must have decoder rows of unit norm, as
    training leaves them: the loader would bring others there.
    """
    written = _written(dictionary)
    norm = getattr(dictionary, "norm", "none")
    if norm != "none":
        raise SettingError("dictionary.norm", norm, "none: dictionary_learning has no input norm")
    with whole_file(path / WEIGHTS) as part:
        torch.save({name: tensor.contiguous() for name, tensor in written.state.items()}, part)
    sizes = {"activation_dim": dictionary.d_model, "dict_size": dictionary.n_units}
    write_json({"trainer": {"dict_class": written.dict_class, **sizes, **written.trainer}}, path / CFG)


@singledispatch
def _written(dictionary: Dictionary) -> _Written:
    allowed = "TopK, ReLU, Gated, JumpReLU, BatchTopK or Matryoshka, to be written for dictionary_learning"
    raise SettingError("dictionary", type(dictionary).__name__, allowed)


@_written.register
def _(dictionary: TopK) -> _Written:
    state = _linear(weights_of(dictionary), "encoder.bias", "b_dec") | _counts(dictionary.k, torch.tensor(-1.0))
    return _Written("AutoEncoderTopK", state, {"k": dictionary.k})


@_written.register
def _(dictionary: BatchTopK) -> _Written:
    state = _linear(weights_of(dictionary), "encoder.bias", "b_dec") | _counts(dictionary.k, dictionary.threshold)
    return _Written("BatchTopKSAE", state, {"k": dictionary.k})


@_written.register
def _(dictionary: Matryoshka) -> _Written:
    groups = [stop - start for start, stop in pairwise([0, *dictionary.prefix_sizes, dictionary.n_units])]
    state = vars(weights_of(dictionary)) | _counts(dictionary.k, dictionary.threshold)
    return _Written(
        "MatryoshkaBatchTopKSAE",
        state | {"group_sizes": torch.tensor(groups)},
        {"k": dictionary.k, "group_sizes": groups},
    )


@_written.register
def _(dictionary: ReLU) -> _Written:
    weights = weights_of(dictionary)
    norms = torch.linalg.vector_norm(weights.W_dec, dim=1)
    if not torch.allclose(norms, torch.ones_like(norms)):
        raise SettingError(
            "dictionary", "ReLU", "one whose decoder rows have unit norm: the loader would change others"
        )
    return _Written("AutoEncoder", _linear(weights, "encoder.bias", "bias"), {})


@_written.register
def _(dictionary: JumpReLU) -> _Written:
    weights = weights_of(dictionary).not_subtracting()
    return _Written("JumpReluAutoEncoder", vars(weights) | {"threshold": dictionary.threshold.detach()}, {})


@_written.register
def _(dictionary: Gated) -> _Written:
    own = {"r_mag": dictionary.r_mag.detach(), "mag_bias": dictionary.b_mag.detach()}
    return _Written("GatedAutoEncoder", _linear(weights_of(dictionary), "gate_bias", "decoder_bias") | own, {})


def _linear(weights: Weights, encoder_bias: str, decoder_bias: str) -> dict[str, Tensor]:
    shared = {"encoder.weight": weights.W_enc.t(), "decoder.weight": weights.W_dec.t()}
    return {**shared, encoder_bias: weights.b_enc, decoder_bias: weights.b_dec}


def _counts(k: int, threshold: Tensor) -> dict[str, Tensor]:
    return {"k": torch.tensor(k, dtype=torch.int32), "threshold": threshold.detach()}
