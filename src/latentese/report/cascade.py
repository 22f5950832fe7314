"""The page of a cascade: how well it ranks units as the costly score does, and what it spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from latentese.metrics.correlation import Floats, context_sums, pearson_over
from latentese.metrics.intervals import Bootstrap, Interval
from latentese.metrics.ranks import lengthened, spearman, spearman_interval
from latentese.report.markdown import markdown_table, plain
from latentese.report.numbers import estimate_text, two_digits
from latentese.schemas import CASCADE, SIMULATIONS
from latentese.store.artifact import open_artifact
from latentese.store.files import write_json, write_text
from latentese.store.tables import read_table


class Agreement(NamedTuple):
    """How one way of ranking agrees with the costly score over all contexts."""

    name: str
    by: str
    """The same in words."""
    prompt_tokens: int
    spearman: Interval


@dataclass(frozen=True)
class TargetCascade:
    """What became of one target."""

    target: str
    n_units: int
    n_failed: int
    full_prompt_tokens: int
    """Of the costly score over all contexts."""
    ceiling: float | None
    """How well that score would agree with itself over as many other contexts; None where its halves have no ranks."""
    agreements: Sequence[Agreement]


@dataclass(frozen=True)
class CascadeFindings:
    """Everything on the page."""

    command: str
    """What makes it again."""
    about: Sequence[str]
    targets: Sequence[TargetCascade]


def read_cascade(target: str, folder: Path, bootstrap: Bootstrap) -> TargetCascade:
    """Read a cascade artifact that was compared with the costly score."""
    artifact = open_artifact(folder, "cascade")
    units = read_table(artifact.file("cascade.parquet"), CASCADE)
    simulations = read_table(artifact.file("simulations.parquet"), SIMULATIONS)
    full = _column(units, "full")
    alike = _same_for_all(units, simulations)
    n_spent, n_alike = int(units["prompt_tokens"].sum()), sum(tokens for _, tokens in alike)
    evenly = np.array([score for score, _ in alike])
    ways = [
        ("cheap", "cheap scores", 0, _column(units, "predicted")),
        ("evenly", "as many contexts of every unit, evenly drawn, no cheap scores", n_alike, evenly),
        ("cascade", "the cascade", n_spent, _column(units, "value")),
    ]
    return TargetCascade(
        target,
        units.height,
        int(units["full_n_failed"].sum()),
        int(units["full_prompt_tokens"].sum()),
        ceiling(simulations),
        [Agreement(name, by, tokens, spearman_interval(score, full, bootstrap)) for name, by, tokens, score in ways],
    )


def ceiling(simulations: pl.DataFrame) -> float | None:
    """Foretell how units' scores over all contexts would rank them over as many other ones (Spearman-Brown).

    Halves that disagree are noise: 0. None where one of them ranks nothing.
    """
    halves: tuple[list[float], list[float]] = ([], [])
    for (_,), own in simulations.group_by("unit", maintain_order=True):
        sums = _sums(_by_turns(own))
        # One of each kind by turns: every other pair is a half with as many of both.
        first = np.arange(len(sums)) // 2 % 2 == 0
        for half, chosen in zip(halves, (first, ~first), strict=True):
            half.append(pearson_over(sums[chosen]))
    agreement = spearman(np.array(halves[0]), np.array(halves[1]))
    return lengthened(max(agreement, 0.0)) if np.isfinite(agreement) else None


def write_page(findings: CascadeFindings, page_file: Path) -> None:
    """Write the page, and its figures as JSON beside it."""
    write_json(figures(findings), page_file.with_suffix(".json"))
    write_text(page(findings), page_file)


def figures(findings: CascadeFindings) -> dict[str, Any]:
    """Every figure of the page, per target: counts, ceiling, and of each way of ranking its agreement and tokens."""
    targets = {}
    for one in findings.targets:
        ways = {
            way.name: {"by": way.by, "prompt_tokens": way.prompt_tokens, "spearman": way.spearman._asdict()}
            for way in one.agreements
        }
        counts = {name: value for name, value in vars(one).items() if name not in ("target", "agreements")}
        targets[one.target] = counts | ways
    return {"about": list(findings.about), "targets": targets}


def page(findings: CascadeFindings) -> str:
    """Write the page in Markdown."""
    parts = [
        "# A cascade of scores",
        f"Units ranked as a costly score over all contexts ranks them, for a part of its prompt tokens. Made by "
        f"`{findings.command}`.",
        "\n".join(f"- {line}" for line in findings.about),
        markdown_table(
            ["target", "ranked by", "Spearman with the costly score", "prompt tokens", "share"],
            [row for target in findings.targets for row in _rows(target)],
            is_escaped=True,
        ),
        "Intervals are bootstrap intervals over units. The ceiling is how well the costly score, over as many other "
        "contexts, would agree with itself: foretold by Spearman and Brown's formula from its two halves. The contexts "
        "that the cascade reads are among all, so it may come above.",
    ]
    return "\n\n".join(parts) + "\n"


def _rows(target: TargetCascade) -> list[list[str]]:
    full = target.full_prompt_tokens
    rows = [
        [one.by, _interval_text(one.spearman), f"{one.prompt_tokens:,}", f"{one.prompt_tokens / max(full, 1):.0%}"]
        for one in target.agreements
    ]
    named = f"{plain(target.target)}, {target.n_units} units, {target.n_failed} answers failed"
    highest = "not defined" if target.ceiling is None else two_digits(target.ceiling)
    rows.append(["all contexts (ceiling)", highest, f"{full:,}", "100%"])
    return [[named if not i else "", *row] for i, row in enumerate(rows)]


def _interval_text(interval: Interval) -> str:
    found: Mapping[str, Any] = {"low": interval.low, "high": interval.high}
    return estimate_text(found if interval.value is None else {"mean": interval.value, **found})


def _same_for_all(units: pl.DataFrame, simulations: pl.DataFrame) -> list[tuple[float, int]]:
    """Of each unit its score over as many contexts as the cascade read on average, and their prompt tokens."""
    n_contexts = round(units["n_read"].mean() or 0)  # type: ignore[arg-type]
    found = []
    of_unit = {unit: own for (unit,), own in simulations.group_by("unit", maintain_order=True)}
    for unit, full_tokens in units.select("unit", "full_prompt_tokens").iter_rows():
        own = _by_turns(of_unit[unit])
        found.append(
            (pearson_over(_sums(own.head(n_contexts))), round(full_tokens * min(n_contexts / own.height, 1.0)))
        )
    return found


def _by_turns(simulations: pl.DataFrame) -> pl.DataFrame:
    """Order one unit's contexts evenly: each kind at random, then one of each by turns."""
    shuffled = simulations.sort("context").sample(fraction=1.0, shuffle=True, seed=0)
    turn = pl.int_range(pl.len()).over("kind")
    return shuffled.sort(turn, "kind", descending=[False, True])


def _sums(simulations: pl.DataFrame) -> Floats:
    answered = simulations.filter(pl.col("expected_acts").is_not_null())
    pairs = zip(answered["true_acts"].to_list(), answered["expected_acts"].to_list(), strict=True)
    return context_sums(pairs)


def _column(units: pl.DataFrame, name: str) -> Floats:
    return units[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
