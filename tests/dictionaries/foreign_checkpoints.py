"""Checkpoints written by hand, key by key as the other libraries lay them out, and what those libraries compute."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from latentese.dictionaries.base import Dictionary

D_MODEL, N_LATENTS, K = 6, 10, 3


@dataclass(frozen=True)
class Toy:
    """Random weights [as in our layout] with decoder rows of different norms and biases that matter."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor

    def encode(self, x: Tensor, subtract: bool = True) -> Tensor:
        """Pre-activations [n_tokens, n_latents]."""
        return (x - self.b_dec if subtract else x) @ self.W_enc + self.b_enc

    def decode(self, latents: Tensor) -> Tensor:
        return latents @ self.W_dec + self.b_dec


def toy(seed: int = 0) -> Toy:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return Toy(draw(D_MODEL, N_LATENTS), 0.3 * draw(N_LATENTS), draw(N_LATENTS, D_MODEL), draw(D_MODEL))


def toy_acts(n_tokens: int = 40) -> Tensor:
    """Activations with a mean and a size of their own, so that a norm forgotten shows."""
    return 3 * torch.randn(n_tokens, D_MODEL, generator=torch.Generator().manual_seed(1)) + 2


def keep_largest(pre_acts: Tensor, k: int = K) -> Tensor:
    """Dense top-k: all but each row's k largest set to 0, negative ones too."""
    kth = pre_acts.sort(dim=1, descending=True).values[:, k - 1 : k]
    return torch.where(pre_acts >= kth, pre_acts, 0.0).clamp_min(0.0)


def dense(dictionary: Dictionary, acts: Tensor) -> Tensor:
    """Our sparse code, with every latent in its place [n_tokens, n_latents]."""
    code = dictionary.encode(acts)
    return torch.zeros(len(acts), dictionary.n_units).scatter_add(1, code.indices, code.values)


def recon(dictionary: Dictionary, acts: Tensor) -> Tensor:
    return dictionary.decode(dictionary.encode(acts))


def assert_says(dictionary: Dictionary, acts: Tensor, latents: Tensor, reconstruction: Tensor) -> None:
    torch.testing.assert_close(dense(dictionary, acts), latents, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(recon(dictionary, acts), reconstruction, rtol=1e-5, atol=1e-5)


def write_sparsify(folder: Path, weights: Toy, /, **cfg: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"encoder.weight": weights.W_enc.t().contiguous(), "encoder.bias": weights.b_enc}
    save_file({**tensors, "W_dec": weights.W_dec, "b_dec": weights.b_dec}, folder / "sae.safetensors")
    write_cfg(folder / "cfg.json", {"d_in": D_MODEL, "num_latents": N_LATENTS, "k": K, "activation": "topk"}, cfg)
    return folder


def write_sae_lens(folder: Path, weights: Toy, /, **cfg: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in vars(weights).items()}, folder / "sae_weights.safetensors")
    usual = {"architecture": "topk", "d_in": D_MODEL, "d_sae": N_LATENTS, "k": K, "dtype": "float32"}
    usual |= {"apply_b_dec_to_input": True, "normalize_activations": "none", "rescale_acts_by_decoder_norm": False}
    metadata = {"sae_lens_version": "6.1.0", "model_name": "gpt2", "hook_name": "blocks.8.hook_resid_pre"}
    write_cfg(folder / "cfg.json", {**usual, "metadata": metadata}, cfg)
    return folder


def linear_state(weights: Toy) -> dict[str, Tensor]:
    """Tensors as dictionary_learning names them for its classes with linear layers."""
    state = {"encoder.weight": weights.W_enc.t().contiguous(), "encoder.bias": weights.b_enc}
    return {**state, "decoder.weight": weights.W_dec.t().contiguous(), "b_dec": weights.b_dec}


def write_dictionary_learning(folder: Path, state: dict[str, Tensor], dict_class: str, /, **trainer: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "ae.pt")
    usual = {"dict_class": dict_class, "activation_dim": D_MODEL, "dict_size": N_LATENTS, "lm_name": "pythia"}
    write_cfg(folder / "config.json", {"trainer": {**usual, **trainer}, "buffer": {}}, {})
    return folder


def write_openai(path: Path, weights: Toy, /, **changed: Any) -> Path:
    state = {
        "pre_bias": weights.b_dec,
        "latent_bias": weights.b_enc,
        "stats_last_nonzero": torch.zeros(N_LATENTS, dtype=torch.long),
        "encoder.weight": weights.W_enc.t().contiguous(),
        "decoder.weight": weights.W_dec.t().contiguous(),
        "activation": "TopK",
        "activation_state_dict": {"k": K, "postact_fn": "ReLU"},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: value for name, value in {**state, **changed}.items() if value is not None}, path)
    return path


def write_cfg(path: Path, usual: dict[str, Any], changed: dict[str, Any]) -> None:
    """Write JSON; a changed value of None takes its key out."""
    cfg = {name: value for name, value in {**usual, **changed}.items() if value is not None}
    path.write_text(json.dumps(cfg), encoding="utf-8")
