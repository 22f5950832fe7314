"""One streaming pass: statistics and examples of all units at once, with memory that does not grow with the tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from torch import Tensor

from latentese.errors import SettingError
from latentese.examples.candidates import Candidates
from latentese.examples.firings import firings_in, firings_table, join_acts, write_firings
from latentese.examples.selection import choose_examples
from latentese.examples.settings import SampleSettings
from latentese.examples.statistics import UnitStatistics, draw_units
from latentese.examples.stream import SAMPLED_SPLITS, ContextIndex, Encoder, batches_of, find_firings
from latentese.examples.thresholds import fire_thresholds
from latentese.records import KINDS
from latentese.schemas import EXAMPLES, POOL_CONTEXTS
from latentese.store.shards import Activations


@dataclass(frozen=True)
class Sampled:
    """What a pass leaves: the tables of the examples artifact."""

    units: pl.DataFrame
    examples: pl.DataFrame
    pool: pl.DataFrame
    pool_contexts: pl.DataFrame
    n_tokens: dict[str, int]
    """Counted tokens of each split."""


@dataclass(frozen=True)
class Sampler:
    """Reads activations through a dictionary and chooses examples."""

    encoder: Encoder
    activations: Activations
    index: ContextIndex
    settings: SampleSettings
    scratch: Path
    """Folder for firings; may be deleted afterwards."""

    def run(self, advance: Callable[[int], object]) -> Sampled:
        """Make the pass; `advance` hears of every batch how many tokens it had."""
        threshold = fire_thresholds(self.encoder, self.activations, self.settings)
        statistics = UnitStatistics(self.encoder.n_units)
        candidates, files = {}, {}
        for split in SAMPLED_SPLITS:
            candidates[split] = Candidates(self.encoder.n_units, self.settings)
            counted = statistics if split == "explain" else None
            files[split] = self._pass_over(split, threshold, candidates[split], counted, advance)
        live = statistics.live_units(self.settings.min_documents)
        if len(live) == 0:
            allowed = "fewer: no unit fires in so many explain documents, so none can be explained"
            raise SettingError("examples.min_documents", self.settings.min_documents, allowed)
        chosen = [self._choose(split, candidates[split], live, files[split]) for split in SAMPLED_SPLITS]
        pool_contexts = self._draw_pool()
        return Sampled(
            units=statistics.table(threshold, draw_units(live, self.encoder.n_units, self.settings.seed)),
            examples=_ordered(pl.concat(chosen)),
            pool=firings_in(pool_contexts["context"], files["explain"]),
            pool_contexts=pool_contexts,
            n_tokens={split: len(self.activations.rows_of(split)) for split in SAMPLED_SPLITS},
        )

    def _pass_over(
        self,
        split: str,
        threshold: Tensor,
        candidates: Candidates,
        statistics: UnitStatistics | None,
        advance: Callable[[int], object],
    ) -> list[Path]:
        """Read one split once; returns the files with its firings."""
        files = []
        for span in self.activations.spans_of(split):
            tables = []
            for batch in batches_of(self.activations, span, self.settings.batch_contexts):
                firings = find_firings(self.encoder, batch, threshold)
                candidates.add_(batch, firings)
                if statistics is not None:
                    statistics.add_(batch, firings, self.index.document[batch.contexts])
                tables.append(firings_table(batch, firings))
                advance(len(batch.acts))
            files.append(write_firings(tables, self.scratch / f"{split}-{span.shard:05d}.parquet"))
        return files

    def _choose(self, split: str, candidates: Candidates, live: np.ndarray, files: list[Path]) -> pl.DataFrame:
        # Another seed per split, or the same places would be drawn in each.
        seed = self.settings.seed * len(SAMPLED_SPLITS) + SAMPLED_SPLITS.index(split)
        chosen = choose_examples(candidates, self.index.splits[split], live, self.settings, seed)
        return join_acts(chosen, files).with_columns(split=pl.lit(split))

    def _draw_pool(self) -> pl.DataFrame:
        contexts = np.asarray(self.index.splits["explain"])
        n = min(self.settings.n_pool_contexts, len(contexts))
        drawn = np.random.default_rng([self.settings.seed, 2]).choice(contexts, n, replace=False)
        return pl.DataFrame({"context": np.sort(drawn)}).cast(POOL_CONTEXTS)


def _ordered(examples: pl.DataFrame) -> pl.DataFrame:
    """Order by unit, split, kind and band, and within these by preference; schema `schemas.EXAMPLES`."""
    return (
        examples.with_columns(
            max_act=pl.col("acts").list.max().fill_null(0.0),
            split=pl.col("split").cast(pl.Enum(SAMPLED_SPLITS)),
            kind=pl.col("kind").cast(pl.Enum(KINDS)),
        )
        .sort("unit", "split", "kind", "band", maintain_order=True)
        .with_columns(pl.col("split", "kind").cast(pl.String))
        .select(EXAMPLES.names())
    )
