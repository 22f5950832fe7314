"""Everything one unit's page shows, gathered from the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from latentese.corpus.contexts import Contexts
from latentese.records import Context
from latentese.report.charts import Chart, act_histogram
from latentese.report.heatmap import ContextView, Peaks, at_counted, dense, view
from latentese.report.inputs import ReportSettings, Target
from latentese.report.lineage import Step, lineage
from latentese.report.sentences import SentenceView, sentences_of
from latentese.report.tables import METRIC, STATUSES, primary_scores, scores_of_unit
from latentese.report.unit_measures import Measures, measures_of
from latentese.report.visible import visible

_KIND_ORDER = ("top", "quantile", "random", "near_miss")


@dataclass(frozen=True)
class UnitPage:
    """The content of one unit's page. Every text in it is visible, none of it is escaped yet."""

    target: str
    row: Mapping[str, Any]
    text: str | None
    error: str | None
    status: str
    status_note: str
    steps: list[Step]
    scores: list[dict[str, Any]]
    """Correlations; what else was measured is in `measures`."""
    measures: list[Measures]
    histogram: Chart | None
    test: list[ContextView]
    near_misses: list[ContextView]
    shown: list[ContextView]
    """What the explainer saw."""
    counterexamples: Mapping[int, ContextView]
    """Contexts that refinement showed, by number."""
    sentences: Mapping[str, list[SentenceView]]
    """Sentences that were written for a proposal, by the proposal's id."""
    others: list[tuple[str, str]]
    """Explanations by other explainers: name and text."""


class UnitPages:
    """Builds the pages of one target's units."""

    def __init__(self, target: Target, contexts: Contexts, settings: ReportSettings) -> None:
        self.target = target
        self.contexts = contexts
        self.settings = settings
        self.scores = primary_scores(target.scores, settings).filter(pl.col("control") == "none")
        self._simulations = target.simulations.filter(
            pl.col("simulator") == settings.primary_simulator, pl.col("control") == "none"
        ).partition_by("unit", as_dict=True)
        self._examples = target.examples.partition_by("unit", as_dict=True)

    def build(self, row: dict[str, Any]) -> UnitPage:
        """Gather the page of one row of the study table."""
        unit = row["unit"]
        final = self.target.explanations[row["final"]]
        steps = lineage(self.target, row, self.scores)
        simulated = self._simulated(unit, row["final"])
        misses = [item for item in simulated if item.kind == "near miss"]
        scores = scores_of_unit(self.target, unit)
        return UnitPage(
            target=self.target.name,
            row=row,
            text=None if final.text is None else visible(final.text),
            error=None if final.error is None else visible(final.error),
            status=row["status"],
            status_note=STATUSES[row["status"]],
            steps=steps,
            scores=scores.filter(metric=METRIC).to_dicts(),
            measures=measures_of(scores, self.settings.contexts),
            histogram=self._histogram(unit),
            test=[item for item in simulated if item.kind != "near miss"] or self._plain(unit, "test", near=False),
            near_misses=misses or self._plain(unit, "test", near=True),
            shown=self._of_contexts(unit, self.target.explanations[row["first"]].examples, "explain"),
            counterexamples=self._counterexamples(unit, steps),
            sentences=sentences_of(self.target, unit),
            others=self._others(unit, {step.explanation for step in steps}),
        )

    def _rows(self, table: Mapping[tuple[object, ...], pl.DataFrame], unit: int, empty: pl.DataFrame) -> pl.DataFrame:
        return table.get((unit,), empty.clear())

    def _simulated(self, unit: int, explanation: str) -> list[ContextView]:
        """List the contexts of `test` on which this explanation was simulated: strongest first within each kind."""
        rows = self._rows(self._simulations, unit, self.target.simulations).filter(pl.col("explanation") == explanation)
        records = sorted(rows.to_dicts(), key=lambda r: (_KIND_ORDER.index(r["kind"]), -max(r["true_acts"], default=0)))
        peaks = Peaks(_peak(r["true_acts"] for r in records), _peak(r["expected_acts"] or () for r in records))
        views = []
        for record, context in zip(records, self._get([r["context"] for r in records]), strict=True):
            expected = record["expected_acts"]
            views.append(
                view(
                    context,
                    record["kind"],
                    at_counted(record["true_acts"], context.keep),
                    None if expected is None else at_counted(expected, context.keep),
                    peaks,
                    record["error"],
                )
            )
        return _spread(views, self.settings.n_examples)

    def _plain(self, unit: int, split: str, near: bool) -> list[ContextView]:
        """Show examples without a simulation, for units that have none."""
        rows = self._rows(self._examples, unit, self.target.examples).filter(pl.col("split") == split)
        wanted = rows.filter((pl.col("kind") == "near_miss") == near).sort(
            "max_act", descending=True, maintain_order=True
        )
        return self._of_contexts(unit, wanted["context"].to_list()[: self.settings.n_examples], split)

    def _of_contexts(self, unit: int, numbers: Iterable[int], split: str) -> list[ContextView]:
        """Show true activations on given contexts, as far as the examples artifact has them."""
        rows = self._rows(self._examples, unit, self.target.examples).filter(pl.col("split") == split)
        known = {record["context"]: record for record in rows.to_dicts()}
        records = [known[number] for number in numbers if number in known][: self.settings.n_examples]
        peaks = Peaks(_peak(record["acts"] for record in records), 0.0)
        contexts = self._get([record["context"] for record in records])
        return [_true_view(context, record, peaks) for context, record in zip(contexts, records, strict=True)]

    def _counterexamples(self, unit: int, steps: list[Step]) -> dict[int, ContextView]:
        numbers = sorted(
            {n for step in steps for n in (*step.false_positives, *step.false_negatives, *step.extra_examples)}
        )
        rows = self._rows(self._examples, unit, self.target.examples)
        known = {record["context"]: record for record in rows.to_dicts()}
        records = [known.get(number) or self._pooled(unit, number) for number in numbers]
        peaks = Peaks(_peak(record["acts"] for record in records), 0.0)
        contexts = self._get(numbers)
        return {c.context: _true_view(c, record, peaks) for c, record in zip(contexts, records, strict=True)}

    def _pooled(self, unit: int, context: int) -> dict[str, Any]:
        """Find a context of the refinement pool: the unit's firings there, none if it is silent."""
        rows = self.target.pool.filter(pl.col("unit") == unit, pl.col("context") == context).to_dicts()
        return {"kind": "explain", "positions": [], "acts": [], **(rows[0] if rows else {})}

    def _get(self, numbers: list[int]) -> list[Context]:
        return self.contexts.get(numbers) if numbers else []

    def _histogram(self, unit: int) -> Chart | None:
        counts = self.target.units.filter(pl.col("unit") == unit)["histogram"].item().to_list()
        edges = self.target.example_counts.get("histogram_edges", [])
        if len(edges) != len(counts) + 1 or not sum(counts):
            return None
        return act_histogram(edges, counts)

    def _others(self, unit: int, lineage_ids: set[str]) -> list[tuple[str, str]]:
        return [
            (visible(e.explainer), visible(e.text if e.text is not None else f"failed: {e.error}"))
            for e in self.target.explanations.values()
            if e.unit == unit and e.explanation not in lineage_ids
        ]


def _true_view(context: Context, record: Mapping[str, Any], peaks: Peaks) -> ContextView:
    acts = dense(record["positions"], record["acts"], len(context.tokens))
    counted = [act if kept else None for act, kept in zip(acts, context.keep, strict=True)]
    return view(context, record["kind"], counted, None, peaks)


def _peak(rows: Iterable[Iterable[float]]) -> float:
    return max((max(row, default=0.0) for row in rows), default=0.0)


def _spread(views: list[ContextView], n_examples: int) -> list[ContextView]:
    """Keep at most `n_examples` near misses, and as many of all other contexts."""
    misses = [item for item in views if item.kind == "near miss"][:n_examples]
    others = [item for item in views if item.kind != "near miss"]
    return _interleave(others, n_examples) + misses


def _interleave(views: list[ContextView], n_wanted: int) -> list[ContextView]:
    """Take the same share of each kind, in the order of kinds, so that random contexts are not crowded out."""
    kinds = sorted({item.kind for item in views}, key=lambda kind: _KIND_ORDER.index(kind.replace(" ", "_")))
    if len(views) <= n_wanted:
        return views
    chosen: list[ContextView] = []
    for i, kind in enumerate(kinds):
        room = (n_wanted - len(chosen)) // (len(kinds) - i)
        chosen += [item for item in views if item.kind == kind][:room]
    return chosen
