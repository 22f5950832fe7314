"""One small instance of every dictionary, for what must hold of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from latentese.dictionaries.autoencoder import Autoencoder
from latentese.dictionaries.base import Dictionary, Trainable
from latentese.dictionaries.batch_topk import BatchTopK
from latentese.dictionaries.gated import Gated
from latentese.dictionaries.jumprelu import JumpReLU
from latentese.dictionaries.matryoshka import Matryoshka
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.pca import PCA
from latentese.dictionaries.prolu import ProLU
from latentese.dictionaries.random import RandomDirections
from latentese.dictionaries.relu import ReLU
from latentese.dictionaries.topk import TopK

D_MODEL, N_LATENTS = 12, 40
SIZES = {"d_model": D_MODEL, "n_latents": N_LATENTS}

AUTOENCODERS: Mapping[str, Callable[..., Autoencoder]] = {
    "relu": lambda **args: ReLU(**SIZES | {"target_l0": 5} | args),
    "gated": lambda **args: Gated(**SIZES | args),
    "prolu": lambda **args: ProLU(**SIZES | {"sparsity_warmup_tokens": 300} | args),
    "jumprelu": lambda **args: JumpReLU(**SIZES | {"target_l0": 5} | args),
    "batch_topk": lambda **args: BatchTopK(**SIZES | {"k": 5, "k_aux": 6} | args),
    "matryoshka": lambda **args: Matryoshka(**SIZES | {"k": 5, "k_aux": 6, "prefix_sizes": [4, 15]} | args),
}
"""What shares `autoencoder.Autoencoder`."""

DICTIONARIES: Mapping[str, Callable[..., Dictionary]] = {
    **AUTOENCODERS,
    "topk": lambda **args: TopK(**SIZES | {"k": 5, "k_aux": 6} | args),
    "pca": lambda **args: PCA(D_MODEL, 7, **args),
    "random": lambda **args: RandomDirections(D_MODEL, 7, **args),
    "neurons": lambda: Neurons(D_MODEL),
}

NONE_DEAD = torch.zeros(N_LATENTS, dtype=torch.bool)


def random_acts(n_tokens: int = 64, d_model: int = D_MODEL, seed: int = 3) -> Tensor:
    """Activations off centre."""
    return torch.randn(n_tokens, d_model, generator=torch.Generator().manual_seed(seed)) * 4 + 1


def fitted(name: str) -> Dictionary:
    """A dictionary as after some training: no weight is 0 or tied by its start."""
    dictionary = DICTIONARIES[name]()
    if isinstance(dictionary, Trainable):
        dictionary.prepare_(random_acts(500, seed=8))
    if isinstance(dictionary, Trainable) and not isinstance(dictionary, PCA):
        disturb_(dictionary)
    return dictionary.requires_grad_(False)


def disturb_(dictionary: Dictionary, size: float = 0.1) -> None:
    """Add seeded noise to every weight, so that no gradient is zero by symmetry."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def identity_(dictionary: Autoencoder) -> Autoencoder:
    """Make latent i coordinate i."""
    with torch.no_grad():
        dictionary.W_enc.copy_(torch.eye(dictionary.d_model))
        dictionary.W_dec.copy_(torch.eye(dictionary.d_model))
    return dictionary


def dense(dictionary: Dictionary, acts: Tensor) -> Tensor:
    """Encode to every unit's activation, [n_tokens, n_units]."""
    values, indices, _, _ = dictionary.encode(acts)
    return values.new_zeros(len(values), dictionary.n_units).scatter_add(1, indices, values)


def weights(dictionary: Dictionary) -> dict[str, bytes]:
    """Every weight and buffer as bytes."""
    return {name: value.contiguous().numpy().tobytes() for name, value in dictionary.state_dict().items()}


def agree(name: str, found: Tensor | None, expected: Tensor | None) -> None:
    """Assert that two gradients agree to 1e-5, and that there is something to agree on."""
    assert found is not None, name
    assert expected is not None, name
    assert expected.abs().max() > 0, f"{name}: nothing to compare"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
