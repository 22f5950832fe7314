"""What training a dictionary costs, counted the same for every dictionary."""

from __future__ import annotations


def training_flops(d_model: int, n_latents: int, n_tokens: int) -> float:
    """Floating-point operations of an autoencoder that is dense throughout: 12 * d_model * n_latents per token.

    Encoder and decoder are a product each, of 2 * d_model * n_latents operations per token; backwards there are two for
    each. Products that a sparse kernel skips are counted too, so that compute says how much was trained and not how
    well it was programmed.
    """
    return 12.0 * d_model * n_latents * n_tokens
