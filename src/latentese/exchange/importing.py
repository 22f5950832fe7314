"""From files of the 2023 release to our tables, one layer at a time.

The release tells no documents, so every excerpt counts as one of its own: intervals resample excerpts, and are too
narrow where excerpts are of one text.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from latentese import schemas
from latentese.exchange.release import Excerpt, NeuronRecord, NeuronResults, ScoredText, SimulatedExcerpt
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.scores import correlation_scores, score_table
from latentese.records import Explanation

RELEASED = "released"
"""What an explainer and a simulator are called here that the files do not name."""
STATED = "stated"
"""End of the names of scores that a file states, beside the correlation found again from its simulations."""
AGREES = 1e-2
"""How far a stated correlation may lie from the one found again."""


@dataclass
class LayerTables:
    """What files say of one layer's neurons, in tables."""

    explainer: str = RELEASED
    simulator: str = RELEASED
    explanations: list[Explanation] = field(default_factory=list)
    n_without_truth: int = 0
    """Simulations left out because a true activation is not a number."""
    _stated: list[dict[str, Any]] = field(default_factory=list)
    _simulations: list[dict[str, Any]] = field(default_factory=list)
    _examples: list[dict[str, Any]] = field(default_factory=list)
    _excerpts: dict[tuple[str, ...], int] = field(default_factory=dict)
    _random: set[tuple[int, int]] = field(default_factory=set)

    def add(self, read: NeuronRecord | NeuronResults) -> None:
        """Add what one file says."""
        if isinstance(read, NeuronRecord):
            self._add_record(read)
            return
        for i, scored in enumerate(read.explanations):
            self._add_scored(read.neuron.neuron, i, scored)

    def _add_record(self, record: NeuronRecord) -> None:
        unit = record.neuron.neuron
        self._random |= {(unit, self._number(excerpt.tokens)) for excerpt in record.random}
        groups: list[tuple[str, int | None, Iterable[Excerpt]]] = [
            ("top", None, record.top),
            ("random", None, record.random),
            *(("quantile", band, excerpts) for band, excerpts in enumerate(record.by_quantile)),
        ]
        for kind, band, excerpts in groups:
            once = dict.fromkeys(excerpts)  # our own records repeat some, for the sake of cutting
            self._examples += [self._example(unit, kind, band, excerpt) for excerpt in once]

    def _example(self, unit: int, kind: str, band: int | None, excerpt: Excerpt) -> dict[str, Any]:
        fires = [(i, act) for i, act in enumerate(excerpt.acts) if act > 0]
        context = self._number(excerpt.tokens)
        acts = [act for _, act in fires]
        known = {"unit": unit, "context": context, "split": "explain", "kind": kind, "band": band}
        return known | {"max_act": max(acts, default=0.0), "positions": [i for i, _ in fires], "acts": acts}

    def _add_scored(self, unit: int, i: int, scored: ScoredText) -> None:
        explainer = self.explainer if i == 0 else f"{self.explainer}.{i + 1}"
        name = f"{unit}.{explainer}.0"
        sha256 = hashlib.sha256(b"").hexdigest()  # the files have no prompt
        self.explanations.append(Explanation(name, unit, explainer, 0, scored.text, RELEASED, sha256, ()))
        key = {"explanation": name, "unit": unit, "simulator": self.simulator, "control": "none", "split": "test"}
        known = [excerpt for excerpt in scored.simulated if all(map(math.isfinite, excerpt.true_acts))]
        self.n_without_truth += len(scored.simulated) - len(known)
        self._simulations += [key | self._simulation(excerpt) for excerpt in known]
        self._stated += [
            key | {"metric": f"{metric}.{STATED}", "value": value}
            for metric, value in scored.scores.items()
            if value is not None
        ]

    def _simulation(self, excerpt: SimulatedExcerpt) -> dict[str, Any]:
        context = self._number(excerpt.tokens)
        known = all(map(math.isfinite, excerpt.expected_acts))
        return {
            "context": context,
            "document": context,
            "true_acts": list(excerpt.true_acts),
            "expected_acts": list(excerpt.expected_acts) if known else None,
            "error": None if known else "an expected activation in the file is not a number",
        }

    def _number(self, tokens: tuple[str, ...]) -> int:
        return self._excerpts.setdefault(tokens, len(self._excerpts))

    @property
    def excerpts(self) -> pl.DataFrame:
        """Every excerpt once (schema CONTEXTS), its number standing for the document that is not known."""
        rows = [(i, i, RELEASED, "test", list(tokens)) for tokens, i in self._excerpts.items()]
        return pl.DataFrame(rows, schema=schemas.CONTEXTS, orient="row")

    @property
    def examples(self) -> pl.DataFrame:
        """Excerpts with a unit's positive activations (schema EXAMPLES)."""
        return pl.DataFrame(self._examples, schema=schemas.EXAMPLES)

    @property
    def simulations(self) -> pl.DataFrame:
        """Schema SIMULATIONS. An excerpt is random where a record of its neuron says so, else it counts as top."""
        rows = [row | {"kind": self._kind(row)} for row in self._simulations]
        return pl.DataFrame([{c: row[c] for c in schemas.SIMULATIONS} for row in rows], schema=schemas.SIMULATIONS)

    def _kind(self, row: Mapping[str, Any]) -> str:
        return "random" if (row["unit"], row["context"]) in self._random else "top"

    def scores(self, bootstrap: Bootstrap) -> pl.DataFrame:
        """Correlations found again from simulations, with intervals over excerpts, and every stated score."""
        found = correlation_scores(self.simulations, self.explanations, bootstrap)
        unknown = {"low": None, "high": None, "n_documents": 0, "n_judged": 0, "n_failed": 0}
        stated = [row | unknown | {"contexts": "top_and_random"} for row in self._stated]
        return pl.concat([found, score_table(stated, self.explanations)])


def n_disagreeing(scores: pl.DataFrame) -> int:
    """Count explanations whose stated correlation is not the one found again from their simulations."""
    over_all = scores.filter(pl.col("contexts") == "top_and_random")
    found = over_all.filter(pl.col("metric") == "correlation").select("explanation", found="value")
    stated = over_all.filter(pl.col("metric") == f"correlation.{STATED}").select("explanation", stated="value")
    both = found.join(stated, on="explanation").drop_nulls()
    return both.filter((pl.col("found") - pl.col("stated")).abs() > AGREES).height
