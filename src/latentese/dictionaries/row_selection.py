"""Compiled selection of each token's k largest latents from upper bounds on all of them; see `selection`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from latentese.dictionaries.row_kernels import Array, Chosen, compiled

BLOCK = 32
"""Keys that share a maximum, and the bits of the mask that says which of them are large enough."""
ONE, HIGH, HALF, EXPONENT = np.uint32(1), np.uint32(16), np.uint32(0x7FFF), np.uint32(0x7F80)
ALL = np.int32(0x7FFFFFFF)
DE_BRUIJN = np.uint32(0x077CB531)
"""Its five highest bits, after a shift by i, differ for every i: a product by 1 << i, looked up, gives i."""
BIT_OF = np.argsort([(0x077CB531 << i & 0xFFFFFFFF) >> 27 for i in range(32)])


class Scores(NamedTuple):
    """Upper bounds on the pre-activations of a chunk of tokens."""

    keys: Array
    """[n_tokens, n_latents], the bits of bf16 (int16) or fp32 (int32): above 0 they are in the order of the numbers."""
    shift: int
    """Bits by which an fp32 number is longer than a key."""
    slack: Array
    """[n_tokens] fp32: by how much a pre-activation may be above its key's number."""


class Encoder(NamedTuple):
    """What the exact pre-activation of a token and a latent is computed from, in fp32."""

    tokens: Array  # [n_tokens, d_model]
    rows: Array  # [n_latents, d_model]
    bias: Array  # [n_latents]


@compiled
def count_from(keys: Array, least: np.int32) -> np.int32:
    """How many keys are at least `least`."""
    count = np.int32(0)
    for i in range(keys.shape[0]):
        count = np.int32(count + np.int32(keys[i] >= least))
    return count


@compiled
def kth_largest(keys: Array, k: Any) -> np.int32:
    """Return the k-th largest of int32 keys, bit by bit from the top; 0 if fewer than k are above 0."""
    found = np.int32(0)
    for bit in range(30, -1, -1):
        trial = np.int32(found | np.int32(1 << bit))
        if count_from(keys, trial) >= k:
            found = trial
    return found


@compiled
def block_maxima(keys: Array, maxima: Array) -> None:
    """Largest key of every block."""
    for j in range(maxima.shape[0]):
        block = keys[j * BLOCK : (j + 1) * BLOCK]
        top = block[0]
        for i in range(block.shape[0]):
            key = block[i]
            top = key if key > top else top
        maxima[j] = top


@compiled
def collect(keys: Array, maxima: Array, limits: Array, found: Array) -> int:
    """Write the positions of the keys from limits[0] to below limits[1] to `found`, in order; return their number."""
    least, below = limits[0], limits[1]
    n_found = 0
    for j in range(maxima.shape[0]):
        if maxima[j] >= least:
            block = keys[j * BLOCK : (j + 1) * BLOCK]
            mask = np.uint32(0)
            for i in range(block.shape[0]):
                mask |= np.uint32((block[i] >= least) & (block[i] < below)) << np.uint32(i)
            while mask:
                lowest = mask & (~mask + ONE)
                mask ^= lowest
                found[n_found] = j * BLOCK + BIT_OF[np.uint32(lowest * DE_BRUIJN) >> np.uint32(27)]
                n_found += 1
    return n_found


@compiled
def keep_from(keys: Array, least: np.int32, positions: Array, n: int) -> int:
    """Keep those of the first n positions whose key is at least `least`; return their number."""
    n_kept = 0
    for i in range(n):
        positions[n_kept] = positions[i]
        n_kept += keys[positions[i]] >= least
    return n_kept


@compiled
def score(encoder: Encoder, token: int, positions: Array, values: Array) -> None:
    """Exact pre-activations of a token and the latents at `positions`."""
    acts = encoder.tokens[token]
    for j in range(positions.shape[0]):
        row, total = encoder.rows[positions[j]], np.float32(0)
        for i in range(acts.shape[0]):
            total += acts[i] * row[i]
        values[j] = total + encoder.bias[positions[j]]


@compiled
def tie_limit(bits: Array, positions: Array, kth: np.int32, k: int, ranks: Array) -> int:
    """Last position among values equal to the k-th largest that still belongs to the k; earlier positions go first."""
    n_tied = k - count_from(bits, np.int32(kth + 1))
    for i in range(bits.shape[0]):
        ranks[i] = ALL - positions[i] if bits[i] == kth else 0
    return int(ALL - kth_largest(ranks[: bits.shape[0]], n_tied))


@compiled
def fill_unused(indices: Array, n_used: int) -> None:
    """Write the lowest numbers that are not among the first n_used, which are in order, after them: none twice."""
    unused, used = 0, 0
    for i in range(n_used, indices.shape[0]):
        while used < n_used and indices[used] == unused:
            unused += 1
            used += 1
        indices[i] = unused
        unused += 1


@compiled
def write_chosen(
    scored: tuple[Array, Array], n_near: int, limit: tuple[np.int32, int], out: tuple[Array, Array]
) -> None:
    """Write what is above limit[0], or equal to it up to position limit[1], in order of position; then others, as 0.

    The positions are two runs, each in order: the first n_near, and the rest.
    """
    positions, values = scored
    out_values, out_indices = out
    bits = values.view(np.int32)
    near, far, n_out = 0, n_near, 0
    for _ in range(positions.shape[0]):
        if far == positions.shape[0] or (near < n_near and positions[near] < positions[far]):
            i = near
            near += 1
        else:
            i = far
            far += 1
        if bits[i] > limit[0] or (bits[i] == limit[0] and positions[i] <= limit[1]):
            out_values[n_out], out_indices[n_out] = values[i], positions[i]
            n_out += 1
    out_values[n_out:] = 0
    fill_unused(out_indices, n_out)


@compiled
def select_rows(scores: Scores, encoder: Encoder, chosen: Chosen, first: int, last: int) -> None:
    """Find each token's k largest exact pre-activations above 0; of equal ones, those of lower index.

    1. The k-th largest block maximum is at most the k-th largest key, so the k largest keys are all in such blocks.
    2. The k-th largest exact value among the latents of those keys is at most the k-th largest of all.
    3. A key is an upper bound, so what belongs to the k has a key of at least that value: the rest of those is scored.
    """
    n_latents, k = scores.keys.shape[1], chosen.values.shape[1]
    maxima = np.empty((n_latents + BLOCK - 1) // BLOCK, scores.keys.dtype)
    limits = np.empty(2, scores.keys.dtype)
    positions, ranks = np.empty(n_latents + BLOCK, np.int32), np.empty(n_latents + BLOCK, np.int32)
    values, least = np.empty(n_latents + BLOCK, np.float32), np.empty(1, np.float32)
    bits, least_bits = values.view(np.int32), least.view(np.int32)
    for token in range(first, last):
        keys = scores.keys[token]
        block_maxima(keys, maxima)
        limits[0], limits[1] = max(np.int32(1), kth_largest(maxima, k)), ALL >> scores.shift
        n_near = collect(keys, maxima, limits, positions)
        for i in range(n_near):
            ranks[i] = keys[positions[i]]
        limits[1] = max(np.int32(1), kth_largest(ranks[:n_near], k))
        n_near = keep_from(keys, limits[1], positions, n_near)
        score(encoder, token, positions[:n_near], values[:n_near])
        kth = kth_largest(bits[:n_near], k)
        least_bits[0] = kth
        least[0] = max(np.float32(0), least[0] - scores.slack[token])
        limits[0] = max(np.int32(1), least_bits[0] >> scores.shift)
        n = n_near + collect(keys, maxima, limits, positions[n_near:])
        score(encoder, token, positions[n_near:n], values[n_near:n])
        kth = max(np.int32(1), kth_largest(bits[:n], k))
        limit = (kth, tie_limit(bits[:n], positions, kth, k, ranks))
        write_chosen((positions[:n], values[:n]), n_near, limit, (chosen.values[token], chosen.indices[token]))


@compiled
def round_rows(rows: Array, rounded: Array, norms: Array, first: int, last: int) -> None:
    """Round fp32 rows to bf16 (subnormal numbers to 0), into the first columns of `rounded`.

    norms [n_rows, 2] fp64: the Euclidean norms of the row and of what rounding took from it.
    """
    width = rows.shape[1]
    back = np.empty(width, np.uint32)
    kept = back.view(np.float32)
    for r in range(first, last):
        row, bits, out = rows[r], rows[r].view(np.uint32), rounded[r]
        for i in range(width):
            high = (bits[i] + HALF + ((bits[i] >> HIGH) & ONE)) >> HIGH
            high = high if high & EXPONENT else np.uint32(0)
            out[i] = np.int16(high)
            back[i] = high << HIGH
        size, lost = 0.0, 0.0
        for i in range(width):
            exact = np.float64(row[i])
            rest = exact - np.float64(kept[i])
            size += exact * exact
            lost += rest * rest
        norms[r, 0], norms[r, 1] = np.sqrt(size), np.sqrt(lost)
