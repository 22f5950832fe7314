"""Sentences that a language model wrote from an explanation, with what the unit did on each of their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from latentese.records import Context
from latentese.report.heatmap import ContextView, Peaks, view
from latentese.report.inputs import Target


@dataclass(frozen=True)
class SentenceView:
    """One sentence as a heat-map."""

    view: ContextView
    fires: bool
    shown: bool
    """Whether the explainer was shown it as a counterexample."""


def sentences_of(target: Target, unit: int) -> dict[str, list[SentenceView]]:
    """List the sentences of a unit, by the id of the explanation that was proposed on seeing them.

    Full colour is the largest counted activation on the sentences of one proposal.
    """
    key = ["unit", "arm", "round", "parent"]
    own = target.decisions.filter(pl.col("unit") == unit).select(*key, "child", shown="sentences")
    written = target.sentences.filter(pl.col("unit") == unit)
    joined = written.join(own, on=key, how="inner", maintain_order="left").drop_nulls("child")
    found: dict[str, list[SentenceView]] = {}
    for (child,), rows in joined.group_by("child", maintain_order=True):
        records = rows.to_dicts()
        peaks = Peaks(max(_counted_peak(record) for record in records), 0.0)
        found[str(child)] = [_sentence(record, peaks) for record in records]
    return found


def _counted_peak(record: dict[str, Any]) -> float:
    return max((act for act, kept in zip(record["acts"], record["keep"], strict=True) if kept), default=0.0)


def _sentence(record: dict[str, Any], peaks: Peaks) -> SentenceView:
    tokens, keep = tuple(record["tokens"]), tuple(record["keep"])
    context = Context(record["sentence"], tokens, keep, -1, "written", "explain")
    counted = [act if kept else None for act, kept in zip(record["acts"], keep, strict=True)]
    shown = view(context, "written", counted, None, peaks)
    return SentenceView(shown, shown.max_true > 0, record["sentence"] in (record["shown"] or ()))
