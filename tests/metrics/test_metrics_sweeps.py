"""Which cells a law is fitted to: those that match, those on the frontier, never those that are held out."""

from __future__ import annotations

import polars as pl
import pytest

from latentese.errors import LatenteseError
from latentese.metrics.compute import training_flops
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.sweeps import FitSettings, fit_cells, on_frontier, select, still_falling

BOOTSTRAP = Bootstrap(n_boot=50)
AXES = ["n_latents", "k", "n_tokens", "seed"]


def cells(rows: list[tuple[int, int, int, int, float]], held_out: tuple[int, ...] = ()) -> pl.DataFrame:
    """Cells (n_latents, k, n_tokens, seed, loss), with compute n_latents * n_tokens."""
    table = pl.DataFrame(rows, schema=[*AXES, "loss"], orient="row")
    return table.with_columns(
        compute=(pl.col("n_latents") * pl.col("n_tokens")).cast(pl.Float64),
        run=pl.Series([f"cell{i}" for i in range(len(rows))]),
        held_out=pl.Series([i in held_out for i in range(len(rows))]),
    )


# loss = 8 / n at 100 tokens, k = 1, and twice that at 50 tokens
POWER = [(n, 1, 100, seed, 8 / n) for n in (1, 2, 4, 8) for seed in (0, 1)]


def test_a_law_is_fitted_to_the_cells_that_match() -> None:
    others = [(1, 2, 100, 0, 0.01), (2, 1, 50, 0, 9.0)]
    found = fit_cells(cells([*POWER, *others]), FitSettings(("n_latents",), {"k": 1, "n_tokens": 100}), AXES, BOOTSTRAP)
    assert found.fit.points.height == 8
    assert found.fit.parameters["b"].value == pytest.approx(-1)


def test_held_out_cells_do_not_move_the_fit() -> None:
    wrong = [(n, k, tokens, seed, loss * (3 if n == 8 else 1)) for n, k, tokens, seed, loss in POWER]
    settings = FitSettings(("n_latents",), {"k": 1})
    one, other = (fit_cells(cells(rows, held_out=(6, 7)), settings, AXES, BOOTSTRAP) for rows in (POWER, wrong))
    assert one.fit.parameters == other.fit.parameters
    assert one.held_out.relative_error == pytest.approx(0, abs=1e-9)
    assert other.held_out.relative_error == pytest.approx(2 / 3)
    assert other.held_out.points["run"].to_list() == ["cell6", "cell7"]
    assert other.held_out.points["extrapolated"].to_list() == [True, True]


def test_the_frontier_is_taken_over_seeds_together() -> None:
    # Settings (n, tokens) with compute 4, 4, 8: the first wins one seed, the second both together.
    rows = [(1, 1, 4, 0, 0.50), (1, 1, 4, 1, 0.90), (2, 1, 2, 0, 0.60), (2, 1, 2, 1, 0.60), (2, 1, 4, 0, 0.65)]
    assert on_frontier(cells(rows), AXES)["run"].to_list() == ["cell2", "cell3"]


def test_a_held_out_cell_takes_no_fitted_one_off_the_frontier() -> None:
    # The held-out cell beats the dearer ones: they stay in the fit, and it is predicted.
    rows = [(1, 1, 1, 0, 1.0), (2, 1, 1, 0, 0.5), (4, 1, 1, 0, 0.25), (3, 1, 1, 0, 0.1)]
    settings = FitSettings(("compute",), frontier=True)
    found = fit_cells(cells(rows, held_out=(3,)), settings, AXES, BOOTSTRAP)
    assert found.fit.points["run"].to_list() == ["cell0", "cell1", "cell2"]
    assert found.held_out.points["run"].to_list() == ["cell3"]


def test_a_held_out_cell_off_the_frontier_is_not_asked_about() -> None:
    rows = [(1, 1, 1, 0, 1.0), (2, 1, 1, 0, 0.5), (4, 1, 1, 0, 0.25), (3, 1, 1, 0, 0.9)]
    found = fit_cells(cells(rows, held_out=(3,)), FitSettings(("compute",), frontier=True), AXES, BOOTSTRAP)
    assert found.held_out.points.height == 0


def test_how_far_from_convergence() -> None:
    # At 100 tokens 1.0 and .5, at 50 1.25 and 1.0, at 25 far worse: 1 - (1 / 1.25 + .5 / 1) / 2 = .35
    rows = [(1, 1, 100, 0, 1.0), (2, 1, 100, 0, 0.5), (1, 1, 50, 0, 1.25), (2, 1, 50, 0, 1.0), (1, 1, 25, 0, 9.0)]
    found = still_falling(cells(rows), {"n_tokens": 100}, AXES)
    assert found == (100, 50, pytest.approx(0.35))


def test_held_out_cells_say_nothing_of_convergence() -> None:
    rows = [(1, 1, 100, 0, 1.0), (1, 1, 50, 0, 2.0), (2, 1, 100, 0, 1.0), (2, 1, 50, 0, 10.0)]
    found = still_falling(cells(rows, held_out=(2, 3)), {"n_tokens": 100}, AXES)
    assert found == (100, 50, pytest.approx(0.5))  # 1 - 1 / 2; with the others it would be (.5 + .9) / 2


def test_convergence_is_unknown_where_there_is_nothing_to_compare_with() -> None:
    rows = [(1, 1, 100, 0, 1.0), (2, 1, 50, 0, 1.0)]
    assert still_falling(cells(rows), {"n_tokens": 100}, AXES) is None
    assert still_falling(cells(rows), {}, AXES) is None, "several numbers of tokens"
    assert still_falling(cells(rows), {}, ["n_latents", "k", "seed"]) is None


def test_a_list_in_a_pattern_allows_each_of_its_values() -> None:
    rows = [(1, 1, 1, 0, 1.0), (2, 1, 1, 0, 1.0), (4, 2, 1, 0, 1.0)]
    assert select(cells(rows), {"n_latents": [1, 4], "k": 2})["n_latents"].to_list() == [4]


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(LatenteseError, match="cannot be fitted to 1 distinct points"):
        fit_cells(cells(POWER), FitSettings(("n_latents",), {"n_latents": 1}), AXES, BOOTSTRAP)


def test_compute_counts_encoder_and_decoder_forwards_and_backwards() -> None:
    # Three products each (one forwards, two backwards), 2 * 3 * 5 operations per token: 6 * 30 = 180; 7 tokens.
    assert training_flops(3, 5, 7) == 180 * 7
