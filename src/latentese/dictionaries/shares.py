"""Rows of a batch shared among threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from os import register_at_fork

import torch

LEAST_ROWS = 32
"""A share of fewer rows is not worth the call."""
SHARES_PER_THREAD = 4
"""More shares than threads, so that a thread that is held up does not hold up the batch."""


def in_shares(work: Callable[[int, int], object], n_rows: int) -> None:
    """Call work(first, last) on shares of 0..n_rows, in as many threads as torch uses; it must not touch other rows."""
    n_threads = torch.get_num_threads()
    n_shares = min(n_threads * SHARES_PER_THREAD, n_rows // LEAST_ROWS)
    if n_threads == 1 or n_shares < 2:
        work(0, n_rows)
        return
    edges = [n_rows * share // n_shares for share in range(n_shares + 1)]
    for _ in _pool(n_threads).map(lambda edge: work(*edge), pairwise(edges)):
        pass


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="rows")


# Threads do not survive a fork, but the pool's belief in them would.
register_at_fork(after_in_child=_pool.cache_clear)
