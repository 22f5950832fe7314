"""Least squares for the logarithm of a sum of exponentials, from many starts or under many weights at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentese.metrics.correlation import Floats

LogSum = Sequence[Floats]
"""The terms of f(parameters) = ln sum over terms of exp(term @ its parameters): each [n_points, n_parameters]."""

MAX_STEPS = 500
LEAST = 1e-10
"""Damping under which steps do not change any more, and equations would become singular."""
GIVE_UP = 1e12
"""Damping at which no step downhill is left."""
STILL = 1e-13
"""A step that lowers the cost by less than this share of it is the last."""


def fit_log_sums(terms: LogSum, values: Floats, weights: Floats, starts: Floats) -> tuple[Floats, Floats]:
    """Minimise sum over points of weight * (f - value)^2 by Levenberg's and Marquardt's damped steps.

    values [n_points]; weights [n_fits, n_points]; starts [n_fits, n_parameters], one fit each. Returns the parameters
    [n_fits, n_parameters] and the costs [n_fits].
    """
    bases = [np.linalg.qr(term) for term in terms]  # steps in an orthonormal basis: ln n and 1 are nearly parallel
    factors, turn = np.concatenate([basis.Q for basis in bases], axis=1), _block_diagonal([basis.R for basis in bases])
    problem = _Problem(factors, _term_of(terms), values, weights)
    found, costs = problem.descend(starts @ turn.T)
    return np.asarray(np.linalg.solve(turn, found.T).T, dtype=np.float64), costs


def told_apart(terms: LogSum) -> bool:
    """Whether different parameters give different values at these points, near parameters drawn at random."""
    n_points, n_parameters = len(terms[0]), sum(term.shape[1] for term in terms)
    factors = np.concatenate(terms, axis=1)
    problem = _Problem(factors / np.linalg.norm(factors, axis=0), _term_of(terms), np.zeros(n_points), np.ones((1, 1)))
    slopes = problem.slopes(np.random.default_rng(0).normal(size=(1, n_parameters)))[0]
    return bool(np.linalg.matrix_rank(slopes, rtol=1e-9) == n_parameters)


class _Problem:
    """factors [n_points, n_parameters], and the term that each parameter belongs to."""

    def __init__(self, factors: Floats, term_of: np.ndarray, values: Floats, weights: Floats) -> None:
        self.factors, self.term_of, self.values, self.weights = factors, term_of, values, weights
        self.members = np.eye(term_of.max() + 1)[term_of]  # [n_parameters, n_terms]

    def descend(self, starts: Floats) -> tuple[Floats, Floats]:
        """Step downhill from every start until nothing is gained any more."""
        parameters, damping = starts.copy(), np.full(len(starts), 1e-3)
        costs = self._costs(parameters, self.weights)
        going = np.arange(len(starts))
        for _ in range(MAX_STEPS):
            tried = parameters[going] + self._steps(parameters[going], self.weights[going], damping[going])
            tried_costs = self._costs(tried, self.weights[going])
            with np.errstate(invalid="ignore"):
                better = tried_costs < costs[going]
            still = better & (costs[going] - tried_costs <= STILL * (costs[going] + STILL))
            parameters[going[better]], costs[going[better]] = tried[better], tried_costs[better]
            damping[going] = np.maximum(damping[going] * np.where(better, 0.2, 4.0), LEAST)
            going = going[~still & (damping[going] < GIVE_UP)]
            if not len(going):
                break
        return parameters, costs

    def _terms(self, parameters: Floats) -> Floats:
        """Logarithm of each term, [n_fits, n_points, n_terms]."""
        parts = parameters[:, :, None] * self.members  # [n_fits, n_parameters, n_terms]
        return np.asarray(self.factors @ parts)

    def _costs(self, parameters: Floats, weights: Floats) -> Floats:
        residuals = self.values - np.logaddexp.reduce(self._terms(parameters), axis=2)
        return np.asarray((weights * residuals**2).sum(axis=1))

    def slopes(self, parameters: Floats) -> Floats:
        """Differentiate f by the parameters, [n_fits, n_points, n_parameters]."""
        terms = self._terms(parameters)
        shares = np.exp(terms - np.logaddexp.reduce(terms, axis=2)[..., None])
        return self.factors * shares[..., self.term_of]  # type: ignore[no-any-return]

    def _steps(self, parameters: Floats, weights: Floats, damping: Floats) -> Floats:
        slopes = self.slopes(parameters)
        weighted = np.swapaxes(slopes * weights[..., None], 1, 2)
        curvature = weighted @ slopes
        residuals = self.values - np.logaddexp.reduce(self._terms(parameters), axis=2)
        downhill = (weighted @ residuals[..., None])[..., 0]
        # Every parameter in units of its own slope, so that damping means the same for each. One of a term that
        # vanishes has no slope, and none is allowed to be 0 beside the others'.
        size = np.sqrt(np.einsum("bpp->bp", curvature))
        size += 1e-8 * size.max(axis=1, keepdims=True) + 1e-150
        scaled = curvature / (size[:, :, None] * size[:, None, :]) + damping[:, None, None] * np.eye(size.shape[1])
        steps: Floats = np.linalg.solve(scaled, (downhill / size)[..., None])[..., 0] / size
        return steps


def _term_of(terms: LogSum) -> np.ndarray:
    """Give the number of the term that each parameter belongs to, [n_parameters]."""
    return np.repeat(np.arange(len(terms)), [term.shape[1] for term in terms])


def _block_diagonal(blocks: Sequence[Floats]) -> Floats:
    size = sum(len(block) for block in blocks)
    whole, start = np.zeros((size, size)), 0
    for block in blocks:
        whole[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    return whole
