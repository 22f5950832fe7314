"""The ceiling of a cascade: how well a costly score agrees with itself, and when that is not known."""

from __future__ import annotations

import polars as pl
import pytest

from latentese.report.cascade import CascadeFindings, TargetCascade, ceiling, figures, page
from latentese.schemas import SIMULATIONS

N_UNITS = 4


def simulations(halves: tuple[list[float] | None, list[float] | None]) -> pl.DataFrame:
    """Every unit has four contexts; where a half has no numbers, its answers failed."""
    first = {context: halves[context // 2 % 2] for context in range(4)}
    rows = [
        {
            "explanation": f"{unit}.ex.0", "unit": unit, "simulator": "costly", "control": "none", "split": "test",
            "context": context, "document": context, "kind": "top", "true_acts": [0.0, 1.0, 2.0, 1.0],
            "expected_acts": None if scores is None else [0.0, 1.0, 2.0, 1.0 + scores[unit]],
            "error": "no answer" if scores is None else None,
        }
        for unit in range(N_UNITS)
        for context, scores in first.items()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SIMULATIONS)


def turned(found: pl.DataFrame) -> pl.DataFrame:
    """Put contexts in the order in which they come by turns, so that halves are as they were written."""
    order = pl.DataFrame({"context": [0, 1, 2, 3]}).sample(fraction=1.0, shuffle=True, seed=0)["context"]
    return found.with_columns(context=pl.col("context").replace_strict(dict(enumerate(order)), return_dtype=pl.Int32))


@pytest.mark.parametrize(
    ("halves", "expected"),
    [
        (([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]), 1.0),
        (([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]), 0.0),
        (([1.0, 2.0, 3.0, 4.0], None), None),
    ],
)
def test_the_ceiling_is_a_share_or_not_known(
    halves: tuple[list[float] | None, list[float] | None], expected: float | None
) -> None:
    found = ceiling(turned(simulations(halves)))
    assert found == (expected if expected is None else pytest.approx(expected))
    findings = CascadeFindings("command", [], [TargetCascade("toy", N_UNITS, 0, 10, found, [])])
    assert figures(findings)["targets"]["toy"]["ceiling"] == found
    assert ("not defined" in page(findings)) == (expected is None)
