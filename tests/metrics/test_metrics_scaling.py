"""Scaling laws: known parameters come back, intervals cover, what lies outside is marked, too little is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from latentese.errors import LatenteseError, SettingError
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.laws import JOINT_LAW, Law, law_over, power_law
from latentese.metrics.scaling import (
    PREDICTIONS,
    check_held_out,
    explained,
    fit_law,
    frontier,
    predict,
)

BOOTSTRAP = Bootstrap(n_boot=200, seed=1)
LEVELLING = power_law("n_latents", irreducible=True)
N_LATENTS = tuple(2**i for i in range(7, 15))


def points_of(
    law: Law, truth: Sequence[float], inputs: pl.DataFrame, noise: float = 0, rng: np.random.Generator | None = None
) -> pl.DataFrame:
    """Points that obey a law, written out by its formula, with noise in the logarithm of the loss."""
    value = dict(zip(law.parameters, truth, strict=True))
    log = {name: np.log(inputs[name].to_numpy()) for name in law.inputs}
    loss = np.zeros(inputs.height)
    for term in law.terms:
        exponent = np.zeros(inputs.height)
        for parameter, factor in term.items():
            exponent += value[parameter] * np.prod([log[name] for name in factor], axis=0)
        loss += np.exp(exponent)
    noisy = loss * np.exp(noise * (rng or np.random.default_rng(0)).standard_normal(inputs.height))
    return inputs.with_columns(loss=pl.Series(noisy), run=pl.int_range(inputs.height).cast(pl.String))


def widths(values: Sequence[float] = N_LATENTS, n_runs: int = 1) -> pl.DataFrame:
    return pl.DataFrame({"n_latents": [float(value) for value in values for _ in range(n_runs)]})


def grid(ns: Sequence[int] = (256, 512, 1024, 2048, 4096), ks: Sequence[int] = (8, 16, 32, 64)) -> pl.DataFrame:
    return pl.DataFrame([(n, k) for n in ns for k in ks], schema=["n_latents", "k"], orient="row")


PAPER = (-0.5, 0.26, -0.017, -0.042, -1.32, -0.085)
"""Of the joint law; the shape that the paper found for GPT-4's activations."""


def test_formulas_are_the_papers() -> None:
    # L(n,k) at k = e, n = e^2: exp(a + b_k + 2 b_n + 2 g) + exp(z + h) = exp(1 + 2 + 6 + 8) + exp(5 + 6)
    inputs = pl.DataFrame({"n_latents": [np.e**2], "k": [np.e]})
    parts = [term @ np.array(values) for term, values in zip(JOINT_LAW.log_sum(inputs), [(1, 2, 3, 4), (5, 6)])]  # noqa: B905
    np.testing.assert_allclose(np.concatenate(parts), [17, 11])
    assert JOINT_LAW.parameters == ("a", "b_k", "b_n", "g", "z", "h")
    assert power_law("compute", irreducible=False).parameters == ("a", "b")
    assert LEVELLING.parameters == ("a", "b", "e")
    assert LEVELLING.inputs == ("n_latents",)


def test_the_inputs_choose_the_law() -> None:
    assert law_over(["k", "n_latents"], irreducible=False) == JOINT_LAW
    assert law_over(["compute"], irreducible=True).parameters == ("a", "b", "e")
    with pytest.raises(SettingError, match=r"over=\['k', 'compute'\] is not allowed: one input, or k and n_latents"):
        law_over(["k", "compute"], irreducible=False)


def test_a_plain_power_law_is_a_line_in_logarithms() -> None:
    # loss 8, 4, 2 at 1, 2, 4: ln L = ln 8 - ln x exactly.
    points = pl.DataFrame({"compute": [1.0, 2.0, 4.0], "loss": [8.0, 4.0, 2.0], "run": ["a", "b", "c"]})
    fit = fit_law(power_law("compute", irreducible=False), points, BOOTSTRAP)
    assert fit.parameters["a"].value == pytest.approx(np.log(8))
    assert fit.parameters["b"].value == pytest.approx(-1)
    assert fit.r2 == pytest.approx(1)
    np.testing.assert_allclose(fit.points["residual"], 0, atol=1e-9)


@pytest.mark.parametrize("truth", [(0.5, -0.4, -3.0), (-0.2, -0.15, -1.5), (2.0, -1.0, -6.0)])
def test_exact_data_give_back_a_levelling_power_law(truth: tuple[float, ...]) -> None:
    fit = fit_law(LEVELLING, points_of(LEVELLING, truth, widths()), BOOTSTRAP)
    found = [interval.value for interval in fit.parameters.values()]
    np.testing.assert_allclose(found, truth, rtol=1e-4)


@pytest.mark.parametrize("truth", [PAPER, (-0.2, 0.1, -0.1, -0.02, -2.0, -0.3), (0.6, 0.2, -0.25, -0.03, -1.0, -0.2)])
def test_exact_data_give_back_the_joint_law(truth: tuple[float, ...]) -> None:
    fit = fit_law(JOINT_LAW, points_of(JOINT_LAW, truth, grid()), BOOTSTRAP)
    found = [interval.value for interval in fit.parameters.values()]
    np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-4)


def test_the_order_of_points_does_not_matter() -> None:
    points = points_of(JOINT_LAW, PAPER, grid(), noise=0.005)
    one, other = (fit_law(JOINT_LAW, given, BOOTSTRAP) for given in (points, points.reverse()))
    for name in JOINT_LAW.parameters:
        assert one.parameters[name].value == pytest.approx(other.parameters[name].value, rel=1e-4)


def test_same_points_same_intervals() -> None:
    points = points_of(LEVELLING, (0.5, -0.4, -3.0), widths(), noise=0.01)
    assert fit_law(LEVELLING, points, BOOTSTRAP).parameters == fit_law(LEVELLING, points, BOOTSTRAP).parameters


@pytest.mark.parametrize(("n_runs", "noise"), [(1, 0.02), (3, 0.01)])
def test_intervals_cover_the_true_parameters_and_new_runs(n_runs: int, noise: float) -> None:
    truth, rng = (0.5, -0.4, -3.0), np.random.default_rng(7)
    covered, predicted, n_trials = np.zeros(3), 0, 60
    new = widths([3000])
    for _ in range(n_trials):
        fit = fit_law(LEVELLING, points_of(LEVELLING, truth, widths(n_runs=n_runs), noise, rng), BOOTSTRAP)
        covered += [i.low <= true <= i.high for i, true in zip(fit.parameters.values(), truth, strict=True)]
        observed = points_of(LEVELLING, truth, new, noise, rng)["loss"][0]
        row = predict(fit, new).row(0, named=True)
        predicted += row["low"] <= observed <= row["high"]
    assert (covered / n_trials >= 0.85).all(), covered / n_trials
    assert predicted / n_trials >= 0.8


def test_intervals_narrow_with_more_runs() -> None:
    few, many = (
        fit_law(LEVELLING, points_of(LEVELLING, (0.5, -0.4, -3.0), widths(n_runs=n), 0.01), BOOTSTRAP) for n in (1, 6)
    )
    for name in LEVELLING.parameters:
        assert many.parameters[name].high - many.parameters[name].low < (
            few.parameters[name].high - few.parameters[name].low
        )


def test_points_of_one_run_are_resampled_together() -> None:
    # Two runs, each with an offset of its own: as eight independent points the slope would seem well known.
    rows = [(float(c), c**-0.5 * offset, run) for run, offset in (("x", 1.2), ("y", 0.8)) for c in (1, 10, 100, 1000)]
    rows += [(2.0, 2**-0.5 * 0.9, "z")]
    points = pl.DataFrame(rows, schema=["compute", "loss", "run"], orient="row")
    law = power_law("compute", irreducible=False)
    together = fit_law(law, points, BOOTSTRAP).parameters["a"]
    apart = fit_law(law, points.with_columns(run=pl.int_range(pl.len())), BOOTSTRAP).parameters["a"]
    assert together.value == pytest.approx(apart.value)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_as_many_runs_as_parameters_leave_no_interval() -> None:
    fit = fit_law(LEVELLING, points_of(LEVELLING, (0.5, -0.4, -3.0), widths(N_LATENTS[:3])), BOOTSTRAP)
    assert all(i.value is not None and (i.low, i.high) == (None, None) for i in fit.parameters.values())
    assert predict(fit, widths([200])).row(0)[1:3] == (None, None)


def test_predictions_outside_the_fitted_range_are_marked() -> None:
    fit = fit_law(JOINT_LAW, points_of(JOINT_LAW, PAPER, grid()), BOOTSTRAP)
    asked = pl.DataFrame({"n_latents": [256, 4096, 4097, 1024, 255], "k": [8, 64, 32, 128, 8]})
    found = predict(fit, asked)
    assert found.schema == PREDICTIONS
    assert found["extrapolated"].to_list() == [False, False, True, True, True]
    assert fit.ranges == {"n_latents": (256, 4096), "k": (8, 64)}


def test_a_corner_that_was_left_out_is_outside_though_each_input_is_in_its_range() -> None:
    points = points_of(JOINT_LAW, PAPER, grid())
    fit = fit_law(JOINT_LAW, points.filter((pl.col("n_latents") < 4096) | (pl.col("k") > 8)), BOOTSTRAP)
    asked = pl.DataFrame({"n_latents": [4096, 4096, 2048, 3000], "k": [8, 64, 8, 12]})
    assert predict(fit, asked)["extrapolated"].to_list() == [True, False, False, True]


def test_a_prediction_does_not_depend_on_what_else_is_asked() -> None:
    fit = fit_law(LEVELLING, points_of(LEVELLING, (0.5, -0.4, -3.0), widths(), noise=0.01), BOOTSTRAP)
    together = predict(fit, widths([300, 3000, 30000]))
    alone = pl.concat([predict(fit, widths([n])) for n in (300, 3000, 30000)])
    assert together.rows() == [pytest.approx(row) for row in alone.rows()]


def test_held_out_points_are_predicted_and_never_fitted() -> None:
    points = points_of(JOINT_LAW, PAPER, grid())
    apart = (pl.col("n_latents") == 4096) & (pl.col("k") == 64) | (pl.col("n_latents") == 512) & (pl.col("k") == 16)
    fit = fit_law(JOINT_LAW, points.filter(~apart), BOOTSTRAP)
    found = check_held_out(fit, points.filter(apart))
    assert found.points["run"].to_list() == points.filter(apart)["run"].to_list()
    np.testing.assert_allclose(found.points["relative_error"], 0, atol=1e-6)
    assert found.r2 == pytest.approx(1)
    # A held-out loss that is wrong by a tenth changes the check and nothing of the fit.
    wrong = points.filter(apart).with_columns(loss=pl.col("loss") / 1.1)
    again = check_held_out(fit, wrong)
    assert again.relative_error == pytest.approx(0.1, rel=1e-4)
    assert again.points["relative_error"].to_list() == pytest.approx([0.1, 0.1], rel=1e-4)


def test_r2_on_held_out_points_is_negative_where_their_mean_predicts_better() -> None:
    law = power_law("compute", irreducible=False)
    points = pl.DataFrame({"compute": [1.0, 2.0, 4.0], "loss": [8.0, 4.0, 2.0], "run": ["a", "b", "c"]})
    # Predicted 1 and 1/2 at 8 and 16; observed the other way round: 1 - 2 ln(2)^2 / (2 (ln(2)/2)^2) = -3.
    held_out = pl.DataFrame({"compute": [8.0, 16.0], "loss": [0.5, 1.0], "run": ["d", "e"]})
    found = check_held_out(fit_law(law, points, BOOTSTRAP), held_out)
    assert found.r2 == pytest.approx(-3)
    assert found.relative_error == pytest.approx((1 + 0.5) / 2)
    assert found.points["extrapolated"].to_list() == [True, True]


def test_seeds_of_one_point_have_no_r2() -> None:
    law = power_law("compute", irreducible=False)
    points = pl.DataFrame({"compute": [1.0, 2.0, 4.0], "loss": [8.0, 4.0, 2.0], "run": ["a", "b", "c"]})
    held_out = pl.DataFrame({"compute": [8.0, 8.0], "loss": [1.01, 1.02], "run": ["d", "e"]})
    found = check_held_out(fit_law(law, points, BOOTSTRAP), held_out)
    assert found.r2 is None
    assert found.relative_error == pytest.approx((1 - 1 / 1.01 + 1 - 1 / 1.02) / 2)


def test_nothing_held_out_is_no_figure() -> None:
    points = points_of(LEVELLING, (0.5, -0.4, -3.0), widths())
    found = check_held_out(fit_law(LEVELLING, points, BOOTSTRAP), points.clear())
    assert (found.points.height, found.r2, found.relative_error) == (0, None, None)


def test_a_fitted_run_cannot_be_held_out() -> None:
    points = points_of(LEVELLING, (0.5, -0.4, -3.0), widths())
    with pytest.raises(LatenteseError, match=r"L\(n_latents\): run 0 was fitted, so it cannot be held out"):
        check_held_out(fit_law(LEVELLING, points, BOOTSTRAP), points.head(1))


def test_fewer_points_than_parameters_are_refused() -> None:
    points = points_of(JOINT_LAW, PAPER, grid(ns=(256, 512), ks=(8, 16)))
    said = (
        r"L\(n_latents, k\) has 6 parameters and cannot be fitted to 4 distinct points: "
        r"sweep more values of k, n_latents"
    )
    with pytest.raises(LatenteseError, match=said):
        fit_law(JOINT_LAW, points, BOOTSTRAP)


def test_repeated_points_do_not_make_a_fit_possible() -> None:
    with pytest.raises(LatenteseError, match="3 parameters and cannot be fitted to 2 distinct points"):
        fit_law(LEVELLING, points_of(LEVELLING, (0.5, -0.4, -3.0), widths((128, 256), n_runs=5)), BOOTSTRAP)


@pytest.mark.parametrize(
    ("ns", "ks", "enough"),
    [
        # For one k, the joint law is a levelling power law of n: three unknowns, so three values of n. Those of two
        # values of k are all six parameters. One k shows three of them, one n shows four.
        ((128, 256, 512), (8, 16), True),
        ((1024,), (2, 4, 8, 16, 32, 64), False),
        ((128, 256, 512, 1024, 2048, 4096), (8,), False),
    ],
)
def test_points_that_do_not_tell_the_parameters_apart_are_refused(ns, ks, enough) -> None:
    points = points_of(JOINT_LAW, PAPER, grid(ns, ks))
    if enough:
        fit = fit_law(JOINT_LAW, points, BOOTSTRAP)
        assert [interval.value for interval in fit.parameters.values()] == pytest.approx(PAPER, rel=1e-2, abs=1e-3)
        return
    with pytest.raises(LatenteseError, match="do not tell its parameters apart: sweep more values of k, n_latents"):
        fit_law(JOINT_LAW, points, BOOTSTRAP)


@pytest.mark.parametrize(("column", "value"), [("loss", 0.0), ("loss", float("nan")), ("n_latents", -1.0)])
def test_values_without_a_logarithm_are_refused(column: str, value: float) -> None:
    points = points_of(LEVELLING, (0.5, -0.4, -3.0), widths())
    spoilt = points.with_columns(pl.when(pl.col("run") == "2").then(value).otherwise(pl.col(column)).alias(column))
    with pytest.raises(LatenteseError, match=rf"every {column} must be a number above 0"):
        fit_law(LEVELLING, spoilt, BOOTSTRAP)


def test_frontier_holds_what_nothing_cheaper_beats() -> None:
    #          best  beaten by 1   best   tie in compute, worse   worse though dearer
    compute = [1.0, 2.0, 3.0, 3.0, 4.0]
    loss = [0.5, 0.6, 0.3, 0.4, 0.3]
    assert frontier(compute, loss) == [True, False, True, False, False]
    assert frontier([], []) == []


def test_explained_share_of_variance_by_hand() -> None:
    # Values 1, 2, 3: sum of squares around the mean 2; residuals .5, 0, -.5: .5. 1 - .5 / 2 = .75
    assert explained(np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.0, -0.5])) == pytest.approx(0.75)
    assert explained(np.array([2.0, 2.0]), np.array([0.1, 0.1])) is None
    assert explained(np.array([]), np.array([])) is None
