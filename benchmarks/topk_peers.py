"""Who is timed by topk_step.py: our TopK, a naive dense one, and that of three libraries.

Each is stepped as its own trainer does it. Runs in .venv-bench, which holds them all.

What is equal for all: the tokens, n_latents, k, fp32, no warm-up, no decay, no latents dead yet; and for those that use
Adam its rate, 2e-4 / sqrt(n / 2^14), the default of three of them, times `lr_scale`: it is meant for billions of
tokens, and few of them need a higher one. sparsify keeps its default optimiser, schedule-free signum, at its default
rate, 5e-3 / sqrt(n / 2^14); it is its fastest too. Starting weights are each library's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import gettempdir
from typing import ClassVar
from unittest.mock import patch

import torch
from torch import Tensor, nn

from latentese.dictionaries import selection
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import LR_AT_16384, TrainSettings
from latentese.dictionaries.training import train_dictionary


@dataclass(frozen=True)
class Shape:
    """What is trained."""

    d_model: int
    n_latents: int
    k: int
    batch_tokens: int
    n_steps: int
    lr_scale: float

    @property
    def scale(self) -> float:
        """What every library's rate is multiplied by for its number of latents."""
        return float((self.n_latents / 2**14) ** -0.5)

    @property
    def lr(self) -> float:
        """Adam's rate."""
        return LR_AT_16384 * self.lr_scale * self.scale


class Contestant(ABC):
    """An autoencoder in training."""

    name: str

    @abstractmethod
    def step(self, acts: Tensor) -> None:
        """One optimiser step on a batch [batch_tokens, d_model]."""

    @abstractmethod
    def reconstruct(self, acts: Tensor) -> Tensor:
        """Reconstruct tokens that were not trained on."""


class Ours(Contestant):
    """`train_dictionary`, log and counts of silent tokens included; handed its batches one by one."""

    name = "latentese"

    start = "least_squares"

    def __init__(self, shape: Shape, sample: Tensor) -> None:
        self._sample, self._batch = sample, sample
        self._topk = TopK(shape.d_model, shape.n_latents, shape.k, start=self.start)
        # One more step than is taken: the last one would write a checkpoint.
        settings = TrainSettings(
            (shape.n_steps + 1) * shape.batch_tokens, shape.batch_tokens, lr=shape.lr, checkpoint_tokens=10**12
        )
        self._training = train_dictionary(self._topk, self, settings, Path(gettempdir()) / "never-written.safetensors")

    def batches(self, batch_tokens: int, start: int) -> Iterator[Tensor]:
        """Endless: the batch of the step."""
        while True:
            yield self._batch

    def sample(self, n_tokens: int, seed: int) -> Tensor:
        """Sample for the starting weights."""
        return self._sample

    def step(self, acts: Tensor) -> None:
        """One step."""
        self._batch = acts
        next(self._training)

    def reconstruct(self, acts: Tensor) -> Tensor:
        """Encode and decode."""
        return self._topk.decode(self._topk.encode(acts))


class OursFromNorms(Ours):
    """The same from the paper's start."""

    name = "latentese, norms"
    start = "norms"


class OursInFp32(Ours):
    """The same on a processor without bf16 products."""

    name = "latentese, no bf16"

    def step(self, acts: Tensor) -> None:
        """One step."""
        with patch.object(selection, "has_fast_bf16", return_value=False):
            super().step(acts)


class Naive(Contestant):
    """The formulas, dense, left to autograd."""

    name = "naive dense"

    def __init__(self, shape: Shape, sample: Tensor) -> None:
        start = TopK(shape.d_model, shape.n_latents, shape.k, norm="none")
        start.prepare_(sample)
        self._k = shape.k
        self._W_enc, self._b_enc, self._W_dec, self._b_dec = weights = [
            nn.Parameter(weight.detach().clone()) for weight in (start.W_enc, start.b_enc, start.W_dec, start.b_dec)
        ]
        self._adam = torch.optim.Adam(weights, lr=shape.lr)

    def reconstruct(self, acts: Tensor) -> Tensor:
        """Forward pass."""
        pre_acts = (acts - self._b_dec) @ self._W_enc + self._b_enc
        values, indices = pre_acts.topk(self._k, dim=1)
        return torch.zeros_like(pre_acts).scatter(1, indices, values.relu()) @ self._W_dec + self._b_dec

    def step(self, acts: Tensor) -> None:
        """One step."""
        (self.reconstruct(acts) - acts).square().sum(dim=1).mean().backward()
        with torch.no_grad():
            rows = self._W_dec
            rows.grad -= (rows.grad * rows).sum(dim=1, keepdim=True) * rows
            self._adam.step()
            self._adam.zero_grad()
            rows /= rows.norm(dim=1, keepdim=True)


class Sparsify(Contestant):
    """eai-sparsify: SparseCoder, stepped as its Trainer does."""

    name = "eai-sparsify"

    def __init__(self, shape: Shape, sample: Tensor) -> None:
        with redirect_stdout(StringIO()):  # it says that it has no Triton
            from sparsify import SparseCoder, SparseCoderConfig

        self._coder = SparseCoder(shape.d_model, SparseCoderConfig(num_latents=shape.n_latents, k=shape.k))
        self._coder.b_dec.data = sample.mean(dim=0)
        self._optimizer = self._make_optimizer(shape)

    def _make_optimizer(self, shape: Shape) -> torch.optim.Optimizer:
        from schedulefree import ScheduleFreeWrapper
        from sparsify.sign_sgd import SignSGD

        signum = ScheduleFreeWrapper(SignSGD(self._coder.parameters(), lr=5e-3 * shape.scale), momentum=0.95)
        signum.train()
        return signum

    def step(self, acts: Tensor) -> None:
        """One step."""
        self._coder.set_decoder_norm_to_unit_norm()
        out = self._coder(acts, total_variance=(acts - acts.mean(0)).pow(2).sum())
        fired = torch.zeros(self._coder.num_latents, dtype=torch.bool)
        fired[out.latent_indices.flatten()] = True
        (out.fvu + out.multi_topk_fvu / 8).backward()
        self._coder.remove_gradient_parallel_to_decoder_directions()
        self._optimizer.step()
        self._optimizer.zero_grad()

    def reconstruct(self, acts: Tensor) -> Tensor:
        """Forward pass with the averaged weights, as it saves them."""
        self._optimizer.eval()
        recon: Tensor = self._coder(acts).sae_out
        self._optimizer.train()
        return recon


class SparsifyAdam(Sparsify):
    """The same with its option for Adam (torch's, where it finds no 8-bit one)."""

    name = "eai-sparsify, adam"

    def _make_optimizer(self, shape: Shape) -> torch.optim.Optimizer:
        return torch.optim.Adam(self._coder.parameters(), lr=shape.lr)

    def reconstruct(self, acts: Tensor) -> Tensor:
        """Forward pass."""
        recon: Tensor = self._coder(acts).sae_out
        return recon


class SAELens(Contestant):
    """sae-lens: TopKTrainingSAE in its SAETrainer."""

    name = "sae-lens"
    options: ClassVar[dict[str, bool]] = {}

    def __init__(self, shape: Shape, sample: Tensor) -> None:
        from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        sizes = {"d_in": shape.d_model, "d_sae": shape.n_latents, "k": shape.k}
        self._sae = TopKTrainingSAE(TopKTrainingSAEConfig(**sizes, **self.options))
        n_samples = shape.n_steps * shape.batch_tokens
        config = SAETrainerConfig(n_samples, shape.batch_tokens, lr=shape.lr, lr_end=shape.lr)
        self._trainer = SAETrainer(config, self._sae, iter(()))

    def step(self, acts: Tensor) -> None:
        """One step."""
        self._trainer.step(acts)
        self._trainer.n_training_steps += 1

    def reconstruct(self, acts: Tensor) -> Tensor:
        """Forward pass."""
        return self._sae(acts)


class SAELensSparse(SAELens):
    """sae-lens with its option for sparse activations, whose gradient fails on a CPU unless the other is off."""

    name = "sae-lens, sparse"
    options: ClassVar[dict[str, bool]] = {"use_sparse_activations": True, "rescale_acts_by_decoder_norm": False}


class DictionaryLearning(Contestant):
    """dictionary-learning: TopKTrainer."""

    name = "dictionary-learning"

    def __init__(self, shape: Shape, sample: Tensor) -> None:
        from dictionary_learning.trainers.top_k import TopKTrainer

        self._trainer = TopKTrainer(
            shape.n_steps, shape.d_model, shape.n_latents, shape.k, layer=0, lm_name="",
            lr=shape.lr, warmup_steps=0, device="cpu",
        )  # fmt: skip
        self._n_steps = 0

    def step(self, acts: Tensor) -> None:
        """One step."""
        self._trainer.update(self._n_steps, acts)
        self._n_steps += 1

    def reconstruct(self, acts: Tensor) -> Tensor:
        """Forward pass."""
        recon: Tensor = self._trainer.ae(acts)
        return recon


CONTESTANTS = (
    Ours,
    OursFromNorms,
    OursInFp32,
    Sparsify,
    SparsifyAdam,
    SAELens,
    SAELensSparse,
    DictionaryLearning,
    Naive,
)
