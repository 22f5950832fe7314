"""Every document belongs to one split, by a hash of its text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import accumulate


def text_sha256(text: str) -> str:
    """Identity of a document: SHA-256 of its text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def split_of(text_sha256: str, shares: Mapping[str, float]) -> str:
    """Name the split of a document from its hash: the same after any reordering or growth of the corpus.

    shares: split -> share of the documents, summing to 1. The hash read as a number in [0, 1) falls into one of the
    intervals that the shares cut. Its *last* digits are read: documents are taken in the order of their first
    digits, and where a budget ends should say nothing about splits.
    """
    position = int(text_sha256[-13:], 16) / 2**52  # as many bits as a float holds exactly
    for split, upper in zip(shares, accumulate(shares.values()), strict=True):
        if position < upper:
            return split
    return [split for split, share in shares.items() if share > 0][-1]  # rounding: the shares may sum to 1 - 1e-16
