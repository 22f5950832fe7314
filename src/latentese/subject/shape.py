"""A model's sizes, from its configuration alone: settings are refused before weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentese.errors import AssetError


@dataclass(frozen=True)
class Shape:
    """Sizes of a causal language model."""

    n_layers: int
    d_model: int
    d_mlp: int
    """Width between the MLP's projections."""
    max_ctx_len: int


def read_shape(folder: Path) -> Shape:
    """Read the sizes from a model folder's config.json; raises AssetError when it says none."""
    from transformers import AutoConfig  # takes seconds; see weights.load

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config(decoder=True)
        return shape_of(config)
    except (OSError, ValueError, AttributeError) as error:
        raise AssetError(
            f"{folder}: not a causal language model's config.json ({str(error).splitlines()[0]})"
        ) from error


def shape_of(config: Any) -> Shape:
    """Sizes that a transformers configuration names, under any of the names that families use for them."""
    d_model = int(config.hidden_size)
    names = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
    widths = [width for name in names if isinstance(width := getattr(config, name, None), int)]
    return Shape(
        n_layers=int(config.num_hidden_layers),
        d_model=d_model,
        d_mlp=widths[0] if widths else 4 * d_model,  # GPT-2 and its kin leave it out when it is 4 d_model
        max_ctx_len=int(config.max_position_embeddings),
    )
