"""The contexts that may become a unit's examples: the best so far by some key, for all units at once.

One structure serves three kinds. Its size is set by the settings, not by the tokens that pass:

    top        the key is the context's largest activation
    near miss  the key is its largest pre-activation, where the unit is silent
    reservoir  the key is a random number that depends on (seed, unit, context) alone, so the best n are a uniform
               sample of the firing contexts, whatever the order they come in
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor

from latentese.examples.settings import SampleSettings
from latentese.examples.stream import Batch, BatchFirings
from latentese.schemas import CONTEXT, UNIT

CANDIDATES = pl.Schema({"unit": UNIT, "context": CONTEXT, "max_act": pl.Float32()})


class Best:
    """For each unit, the n contexts with the largest keys."""

    def __init__(self, n_units: int, n: int) -> None:
        self.keys = torch.full((n_units, n), -torch.inf, dtype=torch.float64)
        self.contexts = torch.full((n_units, n), -1, dtype=torch.int32)
        self.max_act = torch.zeros(n_units, n)

    def add_(self, keys: Tensor, contexts: Tensor, max_act: Tensor) -> None:
        """Add contexts [n_contexts] with keys and max_act [n_contexts, n_units]; a key of -inf does not take part."""
        n = self.keys.shape[1]
        all_keys = torch.cat([self.keys, keys.double().t()], dim=1)
        # Stable: among equal keys the earlier context stays, whatever the batch size.
        order = torch.argsort(all_keys, dim=1, descending=True, stable=True)[:, :n]
        new_contexts = contexts.to(torch.int32).expand(len(self.contexts), -1)
        self.keys = all_keys.gather(1, order)
        self.contexts = torch.cat([self.contexts, new_contexts], dim=1).gather(1, order)
        self.max_act = torch.cat([self.max_act, max_act.t()], dim=1).gather(1, order)

    def table(self, units: np.ndarray) -> pl.DataFrame:
        """List, under schema `CANDIDATES`, the kept contexts of these units, best first within a unit."""
        rows = torch.from_numpy(units)
        unit, column = (self.keys[rows] > -torch.inf).nonzero(as_tuple=True)
        return pl.DataFrame(
            {
                "unit": units[unit.numpy()],
                "context": self.contexts[rows][unit, column].numpy(),
                "max_act": self.max_act[rows][unit, column].numpy(),
            }
        ).cast(CANDIDATES)


class Candidates:
    """All candidates of one split."""

    def __init__(self, n_units: int, settings: SampleSettings) -> None:
        self.top = Best(n_units, settings.n_top)
        self.near_miss = Best(n_units, settings.n_near_miss)
        self.reservoir = Best(n_units, settings.reservoir)
        self._units = np.arange(n_units, dtype=np.uint64)
        self._seed = settings.seed

    def add_(self, batch: Batch, firings: BatchFirings) -> None:
        """Add the contexts of a batch."""
        contexts, max_act = torch.from_numpy(batch.contexts), firings.max_act
        self.top.add_(max_act, contexts, max_act)
        self.near_miss.add_(firings.near, contexts, max_act)
        keys = torch.from_numpy(random_keys(self._seed, self._units, batch.contexts))
        self.reservoir.add_(keys.masked_fill_(max_act == -torch.inf, -torch.inf), contexts, max_act)


def random_keys(seed: int, units: np.ndarray, contexts: np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1), [n_contexts, n_units]: a hash of (seed, unit, context), the same in any order."""
    of_unit = _mix(_mix(np.array([seed], dtype=np.uint64)) + units.astype(np.uint64))
    cells = _mix(of_unit[None, :] ^ _mix(contexts.astype(np.uint64))[:, None])
    shares: np.ndarray = (cells >> np.uint64(11)).astype(np.float64) / 2.0**53
    return shares


def _mix(x: np.ndarray) -> np.ndarray:
    """Scatter 64-bit numbers: the finaliser of splitmix64 (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
