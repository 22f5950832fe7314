"""What changed between two versions of a target's explanations: texts, scores, and what units gained or lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from latentese.metrics.correlation import Floats, pearson
from latentese.metrics.intervals import Bootstrap, Interval, paired_interval
from latentese.metrics.scores import sums_by_document
from latentese.report.explanation_set import ExplanationSet
from latentese.report.numbers import edges_text, two_digits
from latentese.report.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

SAME = 1e-9
"""Scores that differ by less are the same."""


@dataclass(frozen=True)
class UnitChange:
    """One unit whose text or score changed."""

    unit: int
    before_text: str | None
    after_text: str | None
    before: float | None
    after: float | None
    gain: Interval
    """Score after minus before, over what both versions were judged on."""


@dataclass(frozen=True)
class Difference:
    """Everything that changed."""

    before: str
    after: str
    paired: bool
    """Whether both versions were judged on the same contexts. If not, documents of each are resampled by themselves."""
    level: float
    n_both: int
    n_only_before: int
    n_only_after: int
    n_text_changed: int
    n_score_changed: int
    n_scored: int
    """Units with a score in both versions: those that the mean gain is over, unchanged ones included."""
    mean_gain: Interval
    changes: Sequence[UnitChange]
    """Largest gain first; those without a gain last."""

    @property
    def n_gained(self) -> int:
        """Units whose gain has an interval above 0."""
        return sum(change.gain.low is not None and change.gain.low > 0 for change in self.changes)

    @property
    def n_lost(self) -> int:
        """Units whose gain has an interval below 0."""
        return sum(change.gain.high is not None and change.gain.high < 0 for change in self.changes)

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        counts = {"n_changed": len(self.changes), "n_gained": self.n_gained, "n_lost": self.n_lost}
        changes = [asdict(change) | {"gain": change.gain._asdict()} for change in self.changes]
        return asdict(self) | counts | {"mean_gain": self.mean_gain._asdict(), "changes": changes}


def difference(before: ExplanationSet, after: ExplanationSet, bootstrap: Bootstrap) -> Difference:
    """Compare two versions whose units are the same.

    Where both read the same contexts artifact, a gain is over the contexts that both answered, and documents are
    resampled for both sides alike. Else the two sides have no document in common, and each is resampled by itself.
    """
    both = sorted(set(before.explanations) & set(after.explanations))
    paired = before.contexts_sha256 is not None and before.contexts_sha256 == after.contexts_sha256
    sums = {unit: _both_sums(_of(before, unit), _of(after, unit), paired) for unit in both}
    changes = [_change(before, after, unit, sums[unit], bootstrap) for unit in both]
    text_changed = [c.before_text != c.after_text for c in changes]
    score_changed = [not _same(c.before, c.after) for c in changes]
    kept = [c for c, text, score in zip(changes, text_changed, score_changed, strict=True) if text or score]
    scored = [pair for pair in sums.values() if _defined(pair)]
    return Difference(
        before=before.name,
        after=after.name,
        paired=paired,
        level=bootstrap.level,
        n_both=len(both),
        n_only_before=len(set(before.explanations) - set(both)),
        n_only_after=len(set(after.explanations) - set(both)),
        n_text_changed=sum(text_changed),
        n_score_changed=sum(score_changed),
        n_scored=len(scored),
        mean_gain=paired_interval(scored, pearson, bootstrap),
        changes=sorted(kept, key=lambda c: (c.gain.value is None, -(c.gain.value or 0.0), c.unit)),
    )


def _of(version: ExplanationSet, unit: int) -> pl.DataFrame | None:
    return version.simulations.get(unit)


def _change(
    before: ExplanationSet, after: ExplanationSet, unit: int, sums: tuple[Floats, Floats], bootstrap: Bootstrap
) -> UnitChange:
    gain = paired_interval([sums] if _defined(sums) else [], pearson, bootstrap)
    return UnitChange(
        unit=unit,
        before_text=before.explanations[unit].text,
        after_text=after.explanations[unit].text,
        before=_score(_of(before, unit)),
        after=_score(_of(after, unit)),
        gain=gain if _n_documents(sums) > 1 else Interval(gain.value, None, None),
    )


def _score(simulations: pl.DataFrame | None) -> float | None:
    if simulations is None:
        return None
    value = float(pearson(sums_by_document(simulations)[1].sum(axis=0)))
    return value if math.isfinite(value) else None


def _both_sums(before: pl.DataFrame | None, after: pl.DataFrame | None, paired: bool) -> tuple[Floats, Floats]:
    """Token sums of both sides over one list of documents: [n_documents, 6] each.

    Documents of one side alone are zeros on the other, so that resampling the list resamples each side by itself.
    """
    if before is None or after is None:
        return np.zeros((0, 6)), np.zeros((0, 6))
    answered = [side.filter(pl.col("expected_acts").is_not_null()) for side in (before, after)]
    if paired:
        shared = set(answered[0]["context"]) & set(answered[1]["context"])
        answered = [side.filter(pl.col("context").is_in(list(shared))) for side in answered]
        return sums_by_document(answered[0])[1], sums_by_document(answered[1])[1]
    first, second = (sums_by_document(side)[1] for side in answered)
    return (
        np.concatenate([first, np.zeros_like(second)]),
        np.concatenate([np.zeros_like(first), second]),
    )


def _n_documents(sums: tuple[Floats, Floats]) -> int:
    """Count the documents of the side that has fewer."""
    return min(int(side.any(axis=1).sum()) for side in sums)


def _defined(sums: tuple[Floats, Floats]) -> bool:
    return all(len(side) and math.isfinite(float(pearson(side.sum(axis=0)))) for side in sums)


def _same(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is after
    return abs(after - before) < SAME


def show_difference(found: Difference) -> RenderableType:
    """Make what to print: a table of changed units and a line of summary."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("unit", "gain", "score", Text(visible(found.before)), Text(visible(found.after))):
        table.add_column(name)
    for change in found.changes:
        gain = change.gain
        table.add_row(
            str(change.unit),
            "-" if gain.value is None else f"{two_digits(gain.value, True)} {edges_text(gain.low, gain.high, True)}",
            f"{_number(change.before)} to {_number(change.after)}",
            _text(change.before_text),
            Text("the same") if change.before_text == change.after_text else _text(change.after_text),
        )
    lines = [Text(line) for line in summary_lines(found)]
    return Group(table, *lines) if found.changes else Group(*lines)


def summary_lines(found: Difference) -> list[str]:
    """Say how much changed, and over what."""
    gain = found.mean_gain
    mean = "not defined" if gain.value is None else two_digits(gain.value, True)
    edges = "" if gain.value is None else f" {edges_text(gain.low, gain.high, True)}"
    lines = [
        f"{len(found.changes)} of {found.n_both} units changed ({found.n_text_changed} texts, "
        f"{found.n_score_changed} scores); mean gain {mean}{edges} over {found.n_scored} units with both scores",
        f"{found.n_gained} units gained and {found.n_lost} lost by more than their {found.level:.0%} intervals, which "
        + ("resample the same documents for both" if found.paired else "are unpaired: the contexts differ"),
    ]
    if found.n_only_before or found.n_only_after:
        only = f"{found.n_only_before} only in {found.before}, {found.n_only_after} only in {found.after}"
        lines.append(f"units in one version alone: {visible(only)}")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else two_digits(value)


def _text(text: str | None) -> Any:
    from rich.text import Text

    return Text("failed", style="dim") if text is None else Text(visible(text))
