"""Scaling laws as formulas: how the loss of a dictionary falls with compute, with its number of latents, with k.

A law is a sum of terms, each the exponential of something linear in its parameters (Gao et al. 2024, section 3):

    L(C)   = exp(a + b ln C)  [+ exp(e)]
    L(n)   = exp(a + b ln n)  [+ exp(e)]
    L(n,k) = exp(a + b_k ln k + b_n ln n + g ln k ln n) + exp(z + h ln k)

exp(e) is the irreducible loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import polars as pl

from latentese.errors import SettingError
from latentese.metrics.least_squares import LogSum


@dataclass(frozen=True)
class Law:
    """A formula for the loss: ln L = ln sum over terms of exp(sum over its parameters of parameter * factor).

    A term maps each parameter to the inputs whose logarithms, multiplied, are its factor; none is a factor of 1.
    """

    name: str
    terms: tuple[Mapping[str, tuple[str, ...]], ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters, term by term."""
        return tuple(name for term in self.terms for name in term)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the columns that the law reads."""
        return tuple(dict.fromkeys(name for term in self.terms for factor in term.values() for name in factor))

    def log_sum(self, points: pl.DataFrame) -> LogSum:
        """Each term's factors at some points, [n_points, n_parameters of the term]."""
        logs = {name: np.log(points[name].to_numpy().astype(np.float64)) for name in self.inputs}
        ones = np.ones(points.height)
        return [
            np.stack([ones * prod(logs[name] for name in factor) for factor in term.values()], axis=1)
            for term in self.terms
        ]


def power_law(over: str, irreducible: bool) -> Law:
    """exp(a + b ln x), with or without an irreducible loss exp(e), over one input such as `compute` or `n_latents`."""
    falling = {"a": (), "b": (over,)}
    return Law(f"L({over})", (falling, {"e": ()}) if irreducible else (falling,))


JOINT_LAW = Law(
    "L(n_latents, k)",
    ({"a": (), "b_k": ("k",), "b_n": ("n_latents",), "g": ("k", "n_latents")}, {"z": (), "h": ("k",)}),
)
"""Gao et al. 2024, section 3.2: for a given k, the loss falls as a power of n towards a level that depends on k."""


def law_over(inputs: Sequence[str], irreducible: bool) -> Law:
    """Give the law over some inputs: a power law over one, the joint law over n_latents and k."""
    if len(inputs) == 1:
        return power_law(inputs[0], irreducible)
    if set(inputs) == set(JOINT_LAW.inputs):
        return JOINT_LAW
    raise SettingError("over", list(inputs), f"one input, or {' and '.join(JOINT_LAW.inputs)}")
