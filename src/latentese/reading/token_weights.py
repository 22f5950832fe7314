"""What a unit's weights say of the vocabulary: which tokens drive it by themselves, and which it makes likelier.

Input weight, on the direct path, past all other layers:

    acts(t)      = what the hookpoint would hold if the residual stream held the embedding W_E[t] alone
    input[t, n]  = pre_acts(acts(t))[n] - its mean over the vocabulary
    output[n, t] = (final norm's gain * what unit n adds to the residual stream) . W_U[:, t]

At `embed` and `resid_post` acts(t) is the embedding itself, so that the input weight of a latent is W_E[t] .
W_enc[:, n] behind the dictionary's input norm. At `mlp_act` it is what the layer's own MLP makes of the embedding
behind its norm: of a plain MLP the nonlinearity of W_E[t] . (gain * W_in[:, n]), so in that order; of a gated one gate
times up, since neither projection alone says when the neuron is active. `mlp_out` is the MLP's output for the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.errors import AssetError
from latentese.reading.base import Loaded
from latentese.subject.hookpoints import EMBED, parse_hookpoint
from latentese.subject.model import Subject

MLP_NORMS = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2")
"""What families call the norm in front of a layer's MLP."""
BEHIND_MLP = "post_feedforward_layernorm"
"""What families call a norm behind it."""
FINAL_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")
BATCH_TOKENS = 2048


@dataclass(frozen=True)
class Strongest:
    """Tokens with the largest weights, strongest first."""

    token_ids: np.ndarray
    """[n_units, n] int64."""
    weights: np.ndarray
    """[n_units, n] fp32; input weights are relative to the mean over the vocabulary."""


@torch.no_grad()
def strongest_inputs(loaded: Loaded, n: int) -> Strongest:
    """Find, of every unit, the n tokens with the largest input weights; memory does not grow with the vocabulary."""
    embedding: Any = loaded.subject.embedding
    n_vocab = len(embedding.weight)
    best, ids = torch.full((loaded.dictionary.n_units, 0), 0.0), torch.zeros(loaded.dictionary.n_units, 0).long()
    total = torch.zeros(loaded.dictionary.n_units)
    for start in range(0, n_vocab, BATCH_TOKENS):
        numbers = torch.arange(start, min(start + BATCH_TOKENS, n_vocab))
        rows = embedding(numbers.to(loaded.subject.device))  # some families scale what their table holds
        pre_acts = loaded.dictionary.pre_acts(direct_acts(loaded.subject, loaded.hookpoint, rows).cpu()).t()
        total += pre_acts.sum(dim=1)
        numbers = numbers.expand(len(pre_acts), -1)
        all_acts, all_ids = torch.cat([best, pre_acts], dim=1), torch.cat([ids, numbers], dim=1)
        best, order = all_acts.topk(min(n, all_acts.shape[1]), dim=1)
        ids = all_ids.gather(1, order)
    return Strongest(ids.numpy(), (best - total[:, None] / n_vocab).numpy())


@torch.no_grad()
def strongest_outputs(loaded: Loaded, units: np.ndarray, n: int) -> Strongest:
    """Find, of some units, the n tokens whose logits they raise most through the final norm's gain."""
    subject = loaded.subject
    written = written_to_stream(subject, loaded.hookpoint, directions(loaded.dictionary, units))
    gain = _gain(_named(subject.model.base_model, FINAL_NORMS, subject.name), subject)
    unembedding = subject.model.get_output_embeddings().weight.float().cpu()
    weights, ids = ((written * gain) @ unembedding.t()).topk(min(n, len(unembedding)), dim=1)
    return Strongest(ids.numpy(), weights.numpy())


def direct_acts(subject: Subject, hookpoint: str, rows: Tensor) -> Tensor:
    """Give what the hookpoint would hold if the stream held these embeddings [n_tokens, d_model] alone; fp32."""
    place = parse_hookpoint(hookpoint, subject.shape)
    if place.site in (EMBED, "resid_post"):
        return rows.float()
    layer = subject.layers[place.layer]
    down = subject.down_projection(place.layer)
    mlp = next((child for child in layer.children() if any(module is down for module in child.modules())), None)
    if mlp is None or mlp is down:
        raise AssetError(f"{subject.name}: layer {place.layer} has no MLP of its own; this family is not read")
    held: list[Tensor] = []
    hook = down.register_forward_hook(lambda _, given, out: held.append(given[0] if place.site == "mlp_act" else out))
    try:
        mlp(rows if _is_normed_behind(layer) else _named(layer, MLP_NORMS, subject.name)(rows))
    finally:
        hook.remove()
    return held[0].float()


def written_to_stream(subject: Subject, hookpoint: str, at_hookpoint: Tensor) -> Tensor:
    """Give what directions at the hookpoint [n_units, width] add to the residual stream: [n_units, d_model].

    Where a norm stands behind the MLP, its gain is all of it that is taken, as of the final norm.
    """
    place = parse_hookpoint(hookpoint, subject.shape)
    if place.site in (EMBED, "resid_post"):
        return at_hookpoint
    made = at_hookpoint
    if place.site == "mlp_act":
        down: Any = subject.down_projection(place.layer)
        given = at_hookpoint.to(subject.device, subject.dtype)
        made = (down(given) - down(torch.zeros_like(given[:1]))).float().cpu()  # without the bias
    behind = getattr(subject.layers[place.layer], BEHIND_MLP, None)
    return made if behind is None else made * _gain(behind, subject)


def directions(dictionary: Dictionary, units: np.ndarray) -> Tensor:
    """Give what a unit's activation of 1 adds at the hookpoint, before the input norm is undone: [n_units, width]."""
    indices = torch.from_numpy(np.asarray(units, dtype=np.int64))[:, None]
    none, one = torch.zeros(len(indices), 1), torch.ones(len(indices), 1)
    with_unit = dictionary.decode(UnitActs(one, indices, none, one))
    return with_unit - dictionary.decode(UnitActs(none, indices, none, one))


def _is_normed_behind(layer: nn.Module) -> bool:
    """Whether the layer's MLP reads the stream as it is and is normed behind alone, as in OLMo 2."""
    return hasattr(layer, BEHIND_MLP) and not hasattr(layer, MLP_NORMS[0])


def _gain(norm: Any, subject: Subject) -> Tensor:
    """Give what a norm multiplies each direction by: its weight, or 1 and its weight (Gemma); fp32 [d_model].

    Read off what it makes of a vector of ones and minus ones, whose mean is 0 and whose deviation is 1, and of its
    opposite, which takes a bias away.
    """
    probe = torch.ones(1, subject.shape.d_model, device=subject.device, dtype=subject.dtype)
    probe[:, 1::2] = -1
    made: Tensor = (norm(probe) - norm(-probe)) / 2 * probe
    return made[0].float().cpu()


def _named(module: nn.Module, names: tuple[str, ...], subject: str) -> Any:
    found = next((getattr(module, name) for name in names if hasattr(module, name)), None)
    if found is None:
        raise AssetError(f"{subject}: no {' or '.join(names)}; this family of models is not read")
    return found
