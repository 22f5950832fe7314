"""Weights of an ensemble by hand, and what is combined."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese import schemas
from latentese.metrics.ensemble import combine, fit_ensemble, nonnegative_least_squares


def row(simulator: str, context: int, expected: list[float] | None, **other: object) -> dict[str, object]:
    return {
        "explanation": "5.reader.0", "unit": 5, "simulator": simulator, "control": "none", "split": "calibrate",
        "context": context, "document": context, "kind": "top", "true_acts": [0.0, 3.0, 1.0, 0.0],
        "expected_acts": expected and list(map(float, expected)), "error": None if expected else "lost",
    } | other  # fmt: skip


def table(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schemas.SIMULATIONS)


def test_a_member_that_points_the_wrong_way_weighs_nothing() -> None:
    # Uncorrelated members: each weighs its own product over its square, -1 becoming 0.
    np.testing.assert_allclose(nonnegative_least_squares(np.diag([2.0, 4.0]), np.array([6.0, -4.0])), [3, 0])
    # Without the second, the first's best weight is 1, not the 3 that both together would give it.
    gram = np.array([[1.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(nonnegative_least_squares(gram, np.array([1.0, -1.0])), [1, 0])


@given(st.integers(0, 1000), st.integers(1, 4))
def test_no_other_weights_are_better(seed: int, n_members: int) -> None:
    rng = np.random.default_rng(seed)
    s, y = rng.normal(size=(12, n_members)), rng.normal(size=12)
    found = nonnegative_least_squares(s.T @ s, s.T @ y)
    assert (found >= 0).all()
    error = np.sum((y - s @ found) ** 2)
    for other in (np.zeros(n_members), *np.abs(rng.normal(size=(50, n_members))), *(found + 0.01 * np.eye(n_members))):
        assert error <= np.sum((y - s @ other) ** 2) + 1e-9


def test_a_sum_that_is_the_truth_is_found() -> None:
    # The truth 0 3 1 0 is 1 * (0 1 1 0) + 4 * (0 .5 0 0), whatever its scale.
    fit = fit_ensemble(table(row("a", 1, [0, 1, 1, 0]), row("b", 1, [0, 0.5, 0, 0])), ["a", "b"])
    assert fit.weights[1] / fit.weights[0] == pytest.approx(4)
    # Each member contributes its weight times its standard deviation.
    spreads = np.array([1 * 0.5, 4 * np.std([0, 0.5, 0, 0])])
    assert fit.shares == pytest.approx(spreads / spreads.sum())
    assert fit.n_units == 1


def test_units_count_alike_whatever_their_scale() -> None:
    rows = [row("a", 1, [0, 1, 0, 0]), row("b", 1, [0, 0, 1, 0])]
    other = {"explanation": "6.reader.0", "unit": 6}
    loud = [row("a", 2, [0, 0, 1, 0], **other), row("b", 2, [0, 1, 0, 0], **other)]
    quiet = fit_ensemble(table(*rows, *loud), ["a", "b"])
    loud = [r | {"true_acts": [0.0, 3000.0, 1000.0, 0.0]} for r in loud]
    assert fit_ensemble(table(*rows, *loud), ["a", "b"]).weights == pytest.approx(quiet.weights)
    assert quiet.weights[0] == pytest.approx(quiet.weights[1])


def test_controls_other_splits_and_failures_are_not_fitted_to() -> None:
    rows = [row("a", 1, [0, 1, 1, 0]), row("b", 1, [0, 0.5, 0, 0])]
    more = [row(name, 2, [9, 0, 0, 9], split="test") for name in "ab"]
    more += [row(name, 3, [9, 0, 0, 9], control="wrong_explanation") for name in "ab"]
    more += [row("a", 4, [9, 0, 0, 9]), row("b", 4, None)]
    assert fit_ensemble(table(*rows, *more), ["a", "b"]) == fit_ensemble(table(*rows), ["a", "b"])


def test_nothing_to_fit_on_gives_no_weight() -> None:
    assert fit_ensemble(table(), ["a", "b"]).weights == (0, 0)
    silent = [row(name, 1, [1, 2, 3, 4], true_acts=[0.0] * 4) for name in "ab"]
    assert fit_ensemble(table(*silent), ["a", "b"]).n_units == 0


def test_contexts_of_all_members_are_combined_and_failures_named() -> None:
    rows = [row("a", 1, [0, 1, 1, 0]), row("a", 2, [1, 1, 1, 1]), row("a", 3, [1, 1, 1, 1])]
    rows += [row("b", 1, [0, 2, 0, 4]), row("b", 2, None)]
    found = combine(table(*rows), "both", ["a", "b"], [1.0, 0.5])
    assert found.schema == schemas.SIMULATIONS
    first, second = found.to_dicts()
    assert (first["context"], first["simulator"], first["expected_acts"]) == (1, "both", [0, 2, 1, 2])
    assert (second["context"], second["expected_acts"], second["error"]) == (2, None, "no answer of b")
