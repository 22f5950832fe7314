"""The short table that ends a run: what was found, from `metrics.json`, and what it cost, from the timings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentese.report.numbers import estimate_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Numbers = Mapping[str, Any]

STAGES = ("tokenize", "collect", "train", "sample", "explain", "score", "refine", "evaluate", "report")

RESULTS = (
    ("mean score on test, after refinement", "score", "final"),
    ("  first explanations", "score", "initial"),
    ("  explained again (control)", "score", "re_explanation"),
    ("  another unit's explanation (control)", "score", "wrong_explanation"),
    ("  first explanations, random contexts only", "score_random_only", "initial"),
    ("gain of refinement", "gain", "refinement"),
    ("  over explaining again", "gain", "over_re_explanation"),
    ("  over random texts", "gain", "over_random"),
)
CONTROLS = ("re_explanation", "over_re_explanation", "over_random")
"""Figures that are there only where the control was run."""


def summary(metrics: Path, timings: Mapping[str, Numbers]) -> RenderableType:
    """Make what to print after a run: results per target, then cost per stage.

    metrics: the report's `metrics.json`. timings: per stage (`train@latents`), `seconds` and where known `cpu_seconds`,
    `peak_rss_mb`, `n_tokens` and `lm` {n_requests, n_cached, prompt_tokens, completion_tokens}.
    """
    from rich.console import Group

    parts: list[RenderableType] = [results_table(json.loads(metrics.read_text(encoding="utf-8")))]
    if timings:
        parts.append(timings_table(timings))
    return Group(*parts)


def results_table(metrics: Mapping[str, Numbers]) -> Table:
    """List results, one column per target."""
    table = _table("Results", ["", *metrics])
    table.add_row("units explained", *(f"{m['n_explained']} of {m['n_studied']}" for m in metrics.values()))
    for name, group, key in RESULTS:
        if key in CONTROLS and not any(key in m.get(group, {}) for m in metrics.values()):
            continue  # a control that was not run
        signed = group == "gain"
        table.add_row(name, *(estimate_text(m.get(group, {}).get(key, {}), signed) for m in metrics.values()))
    _add_baseline(table, metrics)
    table.add_row("units refined, improved", *(f"{m['n_refined']}, {m['n_improved']}" for m in metrics.values()))
    for name, key, pattern in (
        ("fvu", "fvu", "{:.3f}"),
        ("L0", "l0", "{:.1f}"),
        ("dead share", "dead_share", "{:.1%}"),
    ):
        found = [_of_dictionary(m.get("dictionary", {}), key) for m in metrics.values()]
        table.add_row(name, *("-" if value is None else pattern.format(value) for value in found))
    _add_downstream(table, metrics)
    return table


def _add_downstream(table: Table, metrics: Mapping[str, Numbers]) -> None:
    """Add what the reconstruction does to the subject's predictions, where that was measured."""
    found = [m.get("dictionary", {}).get("downstream", {}) for m in metrics.values()]
    for name, group, key in (
        ("KL with the reconstruction in the stream, nats", "kl", "reconstruction"),
        ("share of the loss by zero ablation recovered", "recovered", "zero"),
    ):
        intervals = [figures.get(group, {}).get(key, {}) for figures in found]
        if any("value" in interval for interval in intervals):
            estimates = [
                {**interval, "mean": interval["value"]} if "value" in interval else None for interval in intervals
            ]
            table.add_row(name, *("-" if estimate is None else estimate_text(estimate) for estimate in estimates))


def _add_baseline(table: Table, metrics: Mapping[str, Numbers]) -> None:
    names = [m["baseline"] for m in metrics.values() if "baseline" in m]
    if names:
        from rich.markup import escape

        estimates = [m.get("score", {}).get("baseline", {}) for m in metrics.values()]
        label = f"{names[0].replace('_', ' ')}, read in its own form (baseline)"
        table.add_row(escape(label), *(estimate_text(estimate) for estimate in estimates))


def _of_dictionary(evaluations: Mapping[str, Numbers], key: str) -> float | None:
    """Take a figure of the dictionary; of the identity, whose units are signed, none of them says anything."""
    figures = evaluations.get("reconstruction", {})
    value: float | None = None if figures.get("signed") else figures.get(key)
    return value


def timings_table(timings: Mapping[str, Numbers]) -> Table:
    """List cost, one row per stage and a row of totals."""
    table = _table(
        "Cost", ["stage", "seconds", "CPU seconds", "peak MB", "tokens", "LM tokens in / out", "answers asked / cached"]
    )
    for stage in sorted(timings, key=_place):
        table.add_row(stage, *_cost(timings[stage]))
    table.add_section()
    table.add_row("all", *_cost(_total(list(timings.values()))), style="bold")
    return table


def _place(stage: str) -> tuple[int, str]:
    """Give a stage its place in the pipeline: `train@latents` after `collect@latents`; others come last."""
    name = stage.split("@", maxsplit=1)[0]
    return (STAGES.index(name) if name in STAGES else len(STAGES), stage)


def _cost(timing: Numbers) -> list[str]:
    lm = timing.get("lm") or {}
    asked = lm.get("n_requests", 0) - lm.get("n_cached", 0)
    return [
        f"{timing['seconds']:,.1f}",
        _number(timing.get("cpu_seconds"), "{:,.1f}"),
        _number(timing.get("peak_rss_mb"), "{:,.0f}"),
        _number(timing.get("n_tokens"), "{:,.0f}"),
        f"{lm.get('prompt_tokens', 0):,} / {lm.get('completion_tokens', 0):,}" if lm else "-",
        f"{asked:,} / {lm.get('n_cached', 0):,}" if lm else "-",
    ]


def _total(timings: Sequence[Numbers]) -> Numbers:
    """Take sums over stages; of memory the maximum. Tokens of different stages do not add up and have no total."""
    lms = [timing["lm"] for timing in timings if timing.get("lm")]
    keys = ("n_requests", "n_cached", "prompt_tokens", "completion_tokens")
    return {
        "seconds": sum(timing["seconds"] for timing in timings),
        "cpu_seconds": sum(timing.get("cpu_seconds") or 0 for timing in timings),
        "peak_rss_mb": max((timing.get("peak_rss_mb") or 0 for timing in timings), default=0),
        "lm": {key: sum(lm.get(key, 0) for lm in lms) for key in keys} if lms else None,
    }


def _number(value: float | None, pattern: str) -> str:
    return "-" if value is None else pattern.format(value)


def _table(title: str, columns: Sequence[str]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(escape(column), justify="left" if i == 0 else "right")
    return table
