"""A subject model in memory, its modules found by structure, so that families need no code of their own."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from latentese.errors import AssetError
from latentese.subject.shape import Shape, shape_of
from latentese.weights.devices import definite_dtype
from latentese.weights.load import DTYPES, load_causal_lm
from latentese.weights.source import ModelSource


@dataclass(frozen=True)
class Subject:
    """A loaded causal language model and its sizes."""

    name: str
    model: Any
    """A transformers causal language model, in evaluation mode."""
    shape: Shape

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    def in_dtype(self, dtype: str) -> Subject:
        """Give the subject computing in bfloat16 or float32: itself where it does, else a copy in memory."""
        wanted = DTYPES[dtype]
        return self if self.dtype == wanted else replace(self, model=deepcopy(self.model).to(wanted))

    @property
    def layers(self) -> nn.ModuleList:
        """The model's layers: its only list of modules with as many entries as the configuration says."""
        for module in self.model.modules():
            if isinstance(module, nn.ModuleList) and len(module) == self.shape.n_layers:
                return module
        raise AssetError(f"{self.name}: no list of {self.shape.n_layers} layers; this family of models is not read")

    @property
    def embedding(self) -> nn.Module:
        """The map of token ids to vectors of width d_model, alone: no positions are added in it."""
        embedding: nn.Module = self.model.get_input_embeddings()
        width = getattr(embedding, "embedding_dim", None)
        if width != self.shape.d_model:
            raise AssetError(f"{self.name}: token embeddings of width {width}, where layers have {self.shape.d_model}")
        return embedding

    def down_projection(self, layer: int) -> nn.Module:
        """Find the linear map of a layer's MLP from d_mlp back to d_model: the last map of this shape in the layer."""
        wanted = (self.shape.d_mlp, self.shape.d_model)
        found = [module for module in self.layers[layer].modules() if _linear_shape(module) == wanted]
        if not found:
            raise AssetError(
                f"{self.name}: layer {layer} has no dense MLP of {wanted[0]} neurons (a mixture of experts?)"
            )
        return found[-1]


def load_subject(source: ModelSource, dtype: str, device: str) -> Subject:
    """Load a subject; dtype is bfloat16 or float32, device as torch names it."""
    model = load_causal_lm(source.folder(), dtype, device)
    return Subject(source.name, model, shape_of(model.config.get_text_config(decoder=True)))


@dataclass(frozen=True)
class SubjectChoice:
    """Which subject is loaded, and how it computes, for what may need it or not."""

    source: ModelSource
    dtype: str
    """bfloat16 or float32; `auto` becomes one of them here."""
    device: str
    """As torch names it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", definite_dtype(self.dtype, self.device))

    def load(self) -> Subject:
        """Load it."""
        return load_subject(self.source, self.dtype, self.device)


def _linear_shape(module: nn.Module) -> tuple[int, int] | None:
    """Return (inputs, outputs) of a linear map; GPT-2's Conv1D keeps its weight transposed."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D" and isinstance(weight := module.weight, torch.Tensor):
        return weight.shape[0], weight.shape[1]
    return None
