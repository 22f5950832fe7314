"""What a subject predicts at each position, and how much an intervention changes it. In nats.

One context at a time: the logits of a batch in fp32 would be the largest thing in memory by far.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentese.subject.model import Subject


@torch.inference_mode()
def read_logits(subject: Subject, token_ids: Tensor) -> Tensor:
    """Logits [n_contexts, ctx_len, n_vocab] of the subject as it is."""
    logits: Tensor = subject.model(input_ids=token_ids.to(subject.device), use_cache=False).logits
    return logits


def counted_predictions(keep: Tensor) -> Tensor:
    """Which predictions count, [n_contexts, ctx_len - 1] bool: both the position and the token it predicts do."""
    keep = keep.bool()
    return keep[:, :-1] & keep[:, 1:]


def cross_entropies(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Cross-entropy of the next token at each position but the last, [n_contexts, ctx_len - 1] fp32."""
    targets = token_ids[:, 1:].long().to(logits.device)
    rows = [
        torch.nn.functional.cross_entropy(own[:-1].float(), target, reduction="none")
        for own, target in zip(logits, targets, strict=True)
    ]
    return torch.stack(rows).cpu()


def divergences(original: Tensor, patched: Tensor) -> Tensor:
    """KL(original || patched) of the next token at each position but the last, [n_contexts, ctx_len - 1] fp32."""
    rows = []
    for first, second in zip(original, patched, strict=True):
        log_p, log_q = (logits[:-1].float().log_softmax(dim=-1) for logits in (first, second))
        rows.append((log_p.exp() * (log_p - log_q)).sum(dim=-1))
    return torch.stack(rows).cpu()


def sum_counted(values: Tensor, counted: Tensor) -> Tensor:
    """Sum of each context's counted predictions, [n_contexts] fp64."""
    return (values.double() * counted).sum(dim=1)
