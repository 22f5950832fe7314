"""How many examples of which kind are kept for each unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latentese.errors import SettingError


@dataclass(frozen=True)
class SampleSettings:
    """Examples per unit and per split (explain, calibrate, select, test)."""

    n_top: int
    """Contexts with the largest activation."""
    n_quantile: int
    """Contexts per quantile band of the firing ones."""
    n_random: int
    """Contexts drawn whether the unit fires in them or not."""
    n_near_miss: int
    """Silent contexts with the highest pre-activation."""
    n_pool_contexts: int
    """`explain` contexts of which every unit's firings are kept, for refinement to mine."""
    min_documents: int = 5
    """A unit is live if it fires in at least so many `explain` documents: fewer cannot be explained, only quoted."""
    reservoir: int = 200
    """Firing contexts kept per unit, uniformly at random, from which the quantile bands are filled."""
    bands: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """Edges of the bands, as quantiles of the context maximum over the reservoir.

    Evenly filled by default: of a few hundred contexts, none would be left for the edges .99 and .999 that were used
    with millions; the far end is what `n_top` is for.
    """
    quantile: float = 0.99
    """A signed unit fires above this quantile of its activations on `explain` tokens (and above 0)."""
    threshold_tokens: int = 16_384
    """Tokens from which that quantile is read, at most."""
    batch_contexts: int = 64
    """Contexts encoded at once."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_top", "n_quantile", "n_random", "n_near_miss", "n_pool_contexts"):
            if getattr(self, name) < 0:
                raise SettingError(f"examples.{name}", getattr(self, name), "at least 0")
        for name in ("min_documents", "reservoir", "threshold_tokens", "batch_contexts"):
            if getattr(self, name) < 1:
                raise SettingError(f"examples.{name}", getattr(self, name), "at least 1")
        edges = list(self.bands)
        if len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or edges != sorted(set(edges)):
            raise SettingError("examples.bands", edges, "rising from 0 to 1")
        if not 0 < self.quantile < 1:
            raise SettingError("examples.quantile", self.quantile, "between 0 and 1")

    @property
    def n_bands(self) -> int:
        """Number of quantile bands."""
        return len(self.bands) - 1
