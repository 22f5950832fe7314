"""N2G: how well token patterns say on which tokens a unit fires (Gao et al. 2024, section 4.3).

For each unit of a seeded draw, patterns are found in firings of one split (see `patterns.n2g`; the subject reads the
changed texts) and tried on all tokens of another: a unit that fires where a pattern ends, and nowhere else, is said
in full by its patterns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from tqdm import tqdm

from latentese.errors import SettingError
from latentese.evaluation.base import Evaluated, Findings
from latentese.evaluation.firing_agreement import METRICS, HeldOut
from latentese.evaluation.tokens import draw_rows
from latentese.evaluation.unit_firings import UnitTokens, count_active, read_units
from latentese.metrics.intervals import Bootstrap, mean_interval
from latentese.patterns.n2g import Firing, N2GSettings, PatternTrie, build_trie, find_patterns
from latentese.patterns.padding import choose_pad, pad_candidates
from latentese.reading.on_texts import UnitOnTexts
from latentese.subject.capture import capture_at
from latentese.subject.model import Subject

N_PADS = 8
"""Frequent tokens tried as padding, beside the subject's special ones."""
N_PAD_FIRINGS = 4
"""Firings of each unit they are tried on, or a few more."""

COUNTS = ("true_positives", "false_positives", "false_negatives", "true_negatives")
TABLE = pl.Schema(
    {
        "unit": pl.Int32(),
        "threshold": pl.Float64(),
        "n_firings": pl.Int64(),
        "n_tried": pl.Int64(),
        "n_without_pattern": pl.Int64(),
        "n_patterns": pl.Int64(),
        "patterns": pl.String(),
        **dict.fromkeys(COUNTS, pl.Int64()),
        **dict.fromkeys(METRICS, pl.Float64()),
    }
)
"""One row per unit. Firings are those of the building split: all, tried, and of these without a pattern; `patterns`
are the strongest, a line each; what follows is counted on the other split."""


class Tried(NamedTuple):
    """What became of one unit."""

    unit: int
    threshold: float
    n_firings: int
    found: Sequence[Any]
    """A pattern per firing tried, or None."""
    trie: PatternTrie
    sums: np.ndarray  # [n_documents, 4], in the order of COUNTS


@dataclass(frozen=True)
class N2G:
    """Precision, recall and F1 of token patterns on held-out tokens. Intervals resample units and documents."""

    name: str = "n2g"
    n_units: int = 24
    """Drawn among those that fire often enough."""
    min_firings: int = 20
    """... which is on so many tokens of the building split."""
    n_top: int = 8
    """Strongest firings of a unit that are tried."""
    n_random: int = 8
    """Others, drawn: patterns of the strongest alone would miss most of what a unit does."""
    patterns: N2GSettings = field(default_factory=N2GSettings)
    quantile: float = 0.99
    """A signed unit fires above this quantile of its activations on the building split (and above 0)."""
    pad_id: int | None = None
    """Token that stands for nothing; None chooses the one of some that does best in that (see `padding`)."""
    build_split: str = "explain"
    test_split: str = "test"
    n_tokens: int = 100_000
    """Tokens of each split, drawn."""
    batch_tokens: int = 4096
    """Tokens encoded at once."""
    batch_texts: int = 64
    """Texts the subject reads at once."""
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_units", "min_firings", "n_tokens", "batch_tokens", "batch_texts", "n_boot"):
            if getattr(self, name) < 1:
                raise SettingError(f"evaluations.{self.name}.{name}", getattr(self, name), "at least 1")
        if self.n_top < 0 or self.n_random < 0 or self.n_top + self.n_random < 1:
            allowed = "0 or more, and one of n_top and n_random 1 or more"
            raise SettingError(f"evaluations.{self.name}.n_top", self.n_top, allowed)
        if not 0 < self.quantile < 1:
            raise SettingError(f"evaluations.{self.name}.quantile", self.quantile, "between 0 and 1")
        if self.build_split == self.test_split:
            raise SettingError(f"evaluations.{self.name}.test_split", self.test_split, "another than build_split")
        self.bootstrap  # noqa: B018  (checks its fields before anything is measured)

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)

    def measure(self, evaluated: Evaluated) -> Findings:
        """Table `units`, one row per unit, and means over units."""
        units, built, test = self._read(evaluated)
        thresholds = self._thresholds(evaluated, built.acts)
        held_out, subject = HeldOut(evaluated, test), evaluated.load_subject()
        capture = capture_at(subject, evaluated.hookpoint)
        on_texts = [
            UnitOnTexts(capture, evaluated.dictionary, unit, threshold, self.batch_texts)
            for unit, threshold in zip(units.tolist(), thresholds.tolist(), strict=True)
        ]
        firings = [self._choose(evaluated, built, place, unit.threshold) for place, unit in enumerate(on_texts)]
        pad_id = self._pad(subject, evaluated, built, list(zip(on_texts, firings, strict=True)))
        tried = []
        for place, unit in enumerate(tqdm(on_texts, desc=self.name, unit="unit", disable=None)):
            found = find_patterns(firings[place], unit, pad_id, self.patterns)
            trie = build_trie(pattern for pattern in found if pattern is not None)
            sums = held_out.compare(held_out.predict(trie), test.acts[:, place] > unit.threshold)
            n_firings = int((built.acts[:, place] > unit.threshold).sum())
            tried.append(Tried(unit.unit, unit.threshold, n_firings, found, trie, sums))
        table = pl.DataFrame([_row(unit) for unit in tried], schema=TABLE, orient="row")
        figures = _figures(tried, self.bootstrap)
        return Findings({**figures, "pad_id": pad_id}, {"units": table})

    def _read(self, evaluated: Evaluated) -> tuple[np.ndarray, UnitTokens, UnitTokens]:
        """Draw units, and read what they do on tokens of both splits."""
        build, test = (
            draw_rows(evaluated.activations, split, self.n_tokens, self.seed)
            for split in (self.build_split, self.test_split)
        )
        n_tokens = 2 * len(build) + len(test)
        with tqdm(total=n_tokens, unit="tok", unit_scale=True, desc=f"{self.name}: encode", disable=None) as bar:
            counts = count_active(evaluated, build, self.batch_tokens, bar.update)
            live = np.flatnonzero(counts >= self.min_firings)
            if len(live) == 0:
                allowed = f"at most {counts.max()}, the firings of the unit that fires most"
                raise SettingError(f"evaluations.{self.name}.min_firings", self.min_firings, allowed)
            units = np.random.default_rng([self.seed, 1]).permutation(live)[: self.n_units]
            of_both = [read_units(evaluated, rows, units, self.batch_tokens, bar.update) for rows in (build, test)]
        return units, of_both[0], of_both[1]

    def _thresholds(self, evaluated: Evaluated, acts: np.ndarray) -> np.ndarray:
        if not evaluated.dictionary.signed:
            return np.zeros(acts.shape[1])
        thresholds: np.ndarray = np.quantile(acts, self.quantile, axis=0)
        return thresholds.clip(min=0.0)

    def _pad(
        self,
        subject: Subject,
        evaluated: Evaluated,
        built: UnitTokens,
        units: Sequence[tuple[UnitOnTexts, Sequence[Firing]]],
    ) -> int:
        if self.pad_id is not None:
            return self.pad_id
        token_ids = evaluated.contexts.token_ids[built.context.tolist(), built.position.tolist()].numpy()
        config = subject.model.config.get_text_config(decoder=True)
        some = [(unit, firings[:: max(1, len(firings) // N_PAD_FIRINGS)]) for unit, firings in units]
        return choose_pad(pad_candidates(config, token_ids, N_PADS), some)

    def _choose(self, evaluated: Evaluated, built: UnitTokens, place: int, threshold: float) -> list[Firing]:
        """Take a unit's strongest firings and a draw of the others."""
        acts = built.acts[:, place]
        fired = np.flatnonzero(acts > threshold)
        fired = fired[np.argsort(-acts[fired], kind="stable")]
        others = fired[self.n_top :]
        drawn = np.random.default_rng([self.seed, 2, place]).permutation(others)[: self.n_random]
        chosen = np.concatenate([fired[: self.n_top], drawn])
        contexts, stops = built.context[chosen], (built.position[chosen] + 1).tolist()
        ids = evaluated.contexts.token_ids[contexts.tolist()].tolist()
        return [
            Firing(tuple(token_ids[:stop]), context.tokens[:stop], float(act))
            for token_ids, context, stop, act in zip(
                ids, evaluated.contexts.get(contexts), stops, acts[chosen], strict=True
            )
        ]


def _row(tried: Tried) -> tuple[Any, ...]:
    """One row of the table, in the order of `TABLE`."""
    counts = tried.sums.sum(axis=0)
    values = (float(metric(counts)) for metric in METRICS.values())
    n_without = sum(pattern is None for pattern in tried.found)
    n_patterns, text = len(tried.trie.patterns), tried.trie.text()
    kept = (tried.unit, tried.threshold, tried.n_firings, len(tried.found), n_without, n_patterns, text)
    return *kept, *counts.astype(int).tolist(), *(value if np.isfinite(value) else None for value in values)


def _figures(tried: Sequence[Tried], bootstrap: Bootstrap) -> dict[str, Any]:
    """Means over units; a unit for which a metric is not defined is left out of its mean, and counted."""
    sums = [unit.sums for unit in tried]
    means = {name: mean_interval(sums, metric, bootstrap)._asdict() for name, metric in METRICS.items()}
    n_firings = [unit[:, [0, 2]].sum() for unit in sums]
    found = [pattern for unit in tried for pattern in unit.found]
    return {
        **means,
        "n_units": len(tried),
        "n_silent": sum(int(n == 0) for n in n_firings),
        "n_without_patterns": sum(not unit.trie.patterns for unit in tried),
        "share_without_pattern": found.count(None) / len(found) if found else None,
        "n_patterns": float(np.mean([len(unit.trie.patterns) for unit in tried])),
    }
