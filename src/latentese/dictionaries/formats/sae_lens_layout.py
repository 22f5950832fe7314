"""The configuration of a SAELens checkpoint, whichever release wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from latentese.dictionaries.formats.files import Tensors
from latentese.errors import ArtifactError

LAYOUT = "6.0.0"
"""Release whose layout of cfg.json we write; SAELens takes a file without one for an older layout."""


def current_layout(cfg: dict[str, Any]) -> dict[str, Any]:
    """Bring a configuration into the layout of release 6, from that or an older one.

    Older releases had everything on one level, an activation function beside the architecture, and booleans for norms.
    """
    metadata = cfg.get("metadata") or {}
    version = str(cfg.get("sae_lens_version") or metadata.get("sae_lens_version") or 0)
    major = version.partition(".")[0]
    if major.isdigit() and int(major) >= int(LAYOUT[0]):
        return {"architecture": "standard", **cfg, "metadata": metadata}
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


def drop_scaling_of_ones(tensors: Tensors, cfg: Mapping[str, Any]) -> None:
    """Put aside a scaling of latents that scales nothing, as older releases always stored one; refuse another."""
    names = [name for name in ("scaling_factor", "finetuning_scaling_factor") if name in tensors]
    for name in names:
        if not torch.allclose(tensors.take(name, None), torch.ones(())):
            raise ArtifactError(tensors.path, f"{name} rescales latents after finetuning; it cannot be represented")
    if cfg.get("finetuning_scaling_factor") and not names:
        raise ArtifactError(tensors.path, "finetuning_scaling_factor is set in cfg.json, but the factors are missing")
