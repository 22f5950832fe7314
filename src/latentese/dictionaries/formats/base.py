"""What reading somebody else's checkpoint gives: one of our dictionaries, and in words how the checkpoint was meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from latentese.dictionaries.base import Dictionary


@dataclass(frozen=True)
class Meaning:
    """How a checkpoint is to be read, as its files say, and what was folded into weights to say it in our classes."""

    format: str
    architecture: str
    """The format's own name for what was trained."""
    norm: str
    """What is done to each activation first: a norm of `norm.apply_norm`, and what was folded."""
    bias: str
    """Whether the encoder subtracts b_dec, and what was folded."""
    threshold: str
    """Which latents are active."""
    latents: str
    """How our latent activations relate to those that the format's own library gives."""
    dtype: str
    """Of the stored weights; ours are fp32."""
    trained_on: Mapping[str, Any]
    """What the checkpoint says of its subject and hookpoint, in its own words; often nothing."""
    files: Mapping[str, str]
    """SHA-256 of each file that was read."""


class Imported(NamedTuple):
    """A dictionary as it was read, and what it meant where it was written."""

    dictionary: Dictionary
    meaning: Meaning


SUBTRACTED = "b_dec is subtracted before encoding and added after decoding"
FOLDED = "the encoder did not subtract b_dec; ours does, so b_dec @ W_enc was added to b_enc"
NO_NORM = "none: activations are read as they are"
TOPK = "none: the k largest pre-activations of each token are active, those below 0 as 0"
ABOVE_ZERO = "0: a latent is active where its pre-activation is above it"
OWN_THRESHOLD = "one per latent: it is active where relu(pre-activation) is above it; below 0 counts as 0"
ONE_THRESHOLD = "one for all latents, which are active where relu(pre-activation) is above it; below 0 counts as 0"
GATE = "0, for a gate of its own: a latent is active where its gate and its magnitude are above it"
SAME = "the same as there"
