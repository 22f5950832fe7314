"""Compiled loops over rows, for the CPU: each works on rows first..last-1, so threads can share a batch.

A row's results depend on that row alone and are summed in a fixed order: the same bytes for any number of threads. The
functions take numpy views of tensors and write into arrays they are given. They are compiled at their first call, in a
second or two each, and kept in `__pycache__` until their file changes: so none calls a compiled function of another
file. Importing this loads the compiler: do so where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile without the interpreter's lock; sums may be reordered into vector lanes, always in the same way."""
    made: Function = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})(
        function
    )
    return made


class Chosen(NamedTuple):
    """Where the chosen latents go, in the order of their indices; after them, if fewer than k, others with value 0."""

    values: Array  # [n_tokens, k] fp32
    indices: Array  # [n_tokens, k] int64


@compiled
def dot(left: Array, right: Array) -> np.float32:
    """Dot product of two vectors."""
    total = np.float32(0)
    for i in range(left.shape[0]):
        total += left[i] * right[i]
    return total


@compiled
def add_weighted(total: Array, weights: Array, rows: Array, indices: Array) -> None:
    """Add the weighted sum of the rows at `indices` to a vector, four at a time: it is read and written less often."""
    n, n_whole = indices.shape[0], indices.shape[0] // 4 * 4
    for j in range(0, n_whole, 4):
        a, b, c, d = rows[indices[j]], rows[indices[j + 1]], rows[indices[j + 2]], rows[indices[j + 3]]
        for i in range(total.shape[0]):
            total[i] += weights[j] * a[i] + weights[j + 1] * b[i] + weights[j + 2] * c[i] + weights[j + 3] * d[i]
    for j in range(n_whole, n):
        row = rows[indices[j]]
        for i in range(total.shape[0]):
            total[i] += weights[j] * row[i]


@compiled
def add_rows(chosen: Chosen, rows: Array, out: Array, first: int, last: int) -> None:
    """Add to each row of `out` the weighted sum of its chosen rows."""
    for token in range(first, last):
        add_weighted(out[token], chosen.values[token], rows, chosen.indices[token])


@compiled
def dot_chosen(tokens: Array, rows: Array, chosen: Chosen, first: int, last: int) -> None:
    """Write the dot products of each token with its chosen rows to `chosen.values`."""
    for token in range(first, last):
        for j in range(chosen.values.shape[1]):
            chosen.values[token, j] = dot(tokens[token], rows[chosen.indices[token, j]])


class Groups(NamedTuple):
    """The entries of every latent: which tokens chose it, and how much each weighs."""

    starts: Array  # [n_latents + 1]
    tokens: Array  # [n_entries]
    weights: Array  # [n_entries]


@compiled
def group_by_latent(chosen: Chosen, groups: Groups) -> None:
    """Sort the entries that are not 0 by latent, in the order of tokens; starts must be 0."""
    starts, (n_tokens, k) = groups.starts, chosen.values.shape
    for token in range(n_tokens):
        for j in range(k):
            starts[chosen.indices[token, j] + 1] += chosen.values[token, j] != 0
    for latent in range(starts.shape[0] - 1):
        starts[latent + 1] += starts[latent]
    ends = starts[:-1].copy()
    for token in range(n_tokens):
        for j in range(k):
            if chosen.values[token, j] != 0:
                latent = chosen.indices[token, j]
                groups.tokens[ends[latent]], groups.weights[ends[latent]] = token, chosen.values[token, j]
                ends[latent] += 1


@compiled
def sum_groups(groups: Groups, tokens: Array, out: Array, first: int, last: int) -> None:
    """Write the weighted sum of each latent's tokens, 0 where there are none."""
    for latent in range(first, last):
        members = slice(groups.starts[latent], groups.starts[latent + 1])
        out[latent] = 0
        add_weighted(out[latent], groups.weights[members], tokens, groups.tokens[members])


@compiled
def take_out_along(grads: Array, rows: Array, first: int, last: int) -> None:
    """Take out of each gradient row its part along the row, which has unit norm."""
    for r in range(first, last):
        grad, row = grads[r], rows[r]
        along = dot(grad, row)
        for i in range(row.shape[0]):
            grad[i] -= along * row[i]
