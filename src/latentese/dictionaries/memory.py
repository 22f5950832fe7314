"""Large tensors in memory that was used before.

The system hands out large pieces of memory page by page, cleared, and takes longer for it than a sum takes to fill
them; a gradient is such a piece, new in every step.
"""

from __future__ import annotations

from mmap import mmap
from weakref import finalize

import torch
from torch import Tensor

LEAST_BYTES = 1 << 22
"""Smaller pieces are kept by the allocator itself."""

_unused: dict[int, list[mmap]] = {}
"""Of the last size that was asked for: other sizes are given back, so no more is kept than one dictionary needs."""


def empty_again(n_rows: int, width: int) -> Tensor:
    """Make an fp32 tensor [n_rows, width] of any content; its memory is used again after the last reference is gone."""
    n_bytes = 4 * n_rows * width
    if n_bytes < LEAST_BYTES:
        return torch.empty(n_rows, width)
    if n_bytes not in _unused:
        _unused.clear()
        _unused[n_bytes] = []
    unused = _unused[n_bytes]
    piece = unused.pop() if unused else mmap(-1, n_bytes)
    loan = memoryview(piece)  # the tensor holds it, and nothing else does
    finalize(loan, unused.append, piece)
    return torch.frombuffer(loan, dtype=torch.float32).view(n_rows, width)
