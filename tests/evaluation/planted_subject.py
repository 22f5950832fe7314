"""A subject whose every logit is known by hand, its activations on toy contexts, and a dictionary of its directions.

Both layers are silenced, so the residual stream at each position is the token's embedding:

    prose tokens  e            code tokens  A * d + e            (d, e: orthogonal, unit length)

The head reads d alone: with x the stream after the final RMS norm, the logit of the i-th token is heads[i] * (d . x).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import sqrt
from pathlib import Path

import torch
from tiny_models import make_tiny_llama
from torch import Tensor
from toy_artifacts import ToyText, write_contexts

from latentese.corpus.contexts import Contexts
from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.topk import TopK
from latentese.evaluation.base import Evaluated
from latentese.stages.collect import collect
from latentese.store.shards import Activations
from latentese.subject.model import Subject, load_subject
from latentese.subject.settings import CaptureSettings
from latentese.weights.local import LocalModel

D_MODEL, A = 16, 2.0
N_PROSE = N_CODE = 12
"""Tokens 0..11 are prose, 12..23 code; the tokenizer's others are never used."""
SPLITS = ("explain", "select", "test")
HOOKPOINT = "layers.0.resid_post"


@dataclass(frozen=True)
class Study:
    """The model in a folder, contexts and activations."""

    folder: Path
    contexts: Contexts
    activations: Activations

    def evaluated(self, dictionary: Dictionary) -> Evaluated:
        """Give what an evaluation reads, with this dictionary."""
        return Evaluated(dictionary, self.activations, self.contexts, HOOKPOINT, cache(self.load))

    def load(self) -> Subject:
        """Load the model in float32."""
        return load_subject(LocalModel(self.folder), "float32", "cpu")


def make_study(root: Path, plant_: Callable[[Subject], None], ctx_len: int = 8) -> Study:
    """Make a tiny model, change its weights, and collect its activations on toy contexts of two sources."""
    folder = make_tiny_llama(root / "model", hidden_size=D_MODEL)
    subject = load_subject(LocalModel(folder), "float32", "cpu")
    with torch.no_grad():
        plant_(subject)
    subject.model.save_pretrained(folder)
    source = LocalModel(folder)  # its name is the hash of the planted weights
    text = ToyText(ctx_len=ctx_len, n_vocab=N_PROSE + N_CODE, subject=source.name, own_tokens=True)
    contexts = write_contexts(root / "contexts", {"explain": 40, "select": 8, "test": 24}, text)
    settings = CaptureSettings(SPLITS, "float32", batch_contexts=8, shard_tokens=100)
    collect(contexts, source, HOOKPOINT, settings, root / "activations")
    return Study(folder, Contexts(contexts), Activations(root / "activations"))


def leave_random_(subject: Subject) -> None:
    """Plant nothing."""


def plant_directions(heads: Tensor | None = None) -> Callable[[Subject], None]:
    """Plant the two directions; heads [n_vocab] say how each token's logit reads d, by default 1 for code tokens."""

    def plant_(subject: Subject) -> None:
        d, e = directions()
        model = subject.model
        for layer in subject.layers:
            layer.self_attn.o_proj.weight.zero_()  # type: ignore[operator, union-attr]
            layer.mlp.down_proj.weight.zero_()  # type: ignore[operator, union-attr]
        model.model.embed_tokens.weight.copy_(e.expand_as(model.model.embed_tokens.weight))
        model.model.embed_tokens.weight[N_PROSE : N_PROSE + N_CODE] += A * d
        reads = torch.zeros(model.config.vocab_size) if heads is None else heads
        if heads is None:
            reads[N_PROSE : N_PROSE + N_CODE] = 1
        model.lm_head.weight.copy_(reads[:, None] * d)

    return plant_


def directions() -> Tensor:
    """Give the directions d and e, [2, D_MODEL]: coordinates 3 and 5, so that sums are exact."""
    return torch.eye(D_MODEL)[[3, 5]]


def two_latents() -> TopK:
    """Give a dictionary that knows the stream: latent 0 is d, latent 1 is e."""
    topk = TopK(D_MODEL, 2, 2, norm="none")
    with torch.no_grad():
        topk.W_dec.copy_(directions())
        topk.W_enc.copy_(directions().T)
    return topk


def code_logit(along_d: float, along_e: float = 1.0) -> float:
    """Logit of a code token on a stream of these coordinates: the RMS norm scales it to length sqrt(D_MODEL)."""
    return sqrt(D_MODEL) * along_d / sqrt(along_d**2 + along_e**2)
