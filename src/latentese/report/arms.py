"""What every arm of refinement gained on `test`, and at what cost: whatever arms there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from latentese.report.inputs import Target
from latentese.schemas import INITIAL

REVISION = "revision"
"""The arm whose explanations are in use after refinement."""
RE_EXPLANATION = "re_explanation"
"""The control of every arm: explained again, with as many extra examples."""
POINT = 0.01
"""A point of score."""


def arm_names(finals: pl.DataFrame) -> list[str]:
    """Name the arms beside the first explanations, the revision first, the others by the alphabet."""
    names = set(finals["arm"].unique()) - {INITIAL}
    return sorted(names, key=lambda name: (name != REVISION, name))


def random_controls(target: Target) -> dict[str, str]:
    """Name, by the arm they are controls of, those that show random texts in the place of its evidence."""
    arms = target.refine_counts.get("arms", {})
    return {counts["control_of"]: name for name, counts in arms.items() if "control_of" in counts}


def is_control(target: Target, arm: str) -> bool:
    """Tell controls from what they are the controls of."""
    return arm == RE_EXPLANATION or arm in random_controls(target).values()


def arm_ends(finals: pl.DataFrame, study: pl.DataFrame, arm: str, column: str = "arm_end") -> pl.DataFrame:
    """Take the study's refined units with the explanation this arm ends with, in a column of that name."""
    ends = finals.filter(arm=arm).select("unit", pl.col("explanation").alias(column)).unique("unit", keep="first")
    refined = study.filter("refined").join(ends, on="unit", how="left", maintain_order="left")
    return refined.with_columns(pl.coalesce(column, "initial"))


def arm_costs(target: Target, arm: str) -> dict[str, int | float | None]:
    """Count what an arm proposed and spent: n_proposed, n_accepted, share_accepted, prompt and completion tokens.

    A decision without a child proposed nothing: the course stopped, or the budget was spent. Tokens are those of the
    manifest, sentences that were written included.
    """
    own = target.decisions.filter(pl.col("child").is_not_null(), arm=arm)
    spent = target.refine_counts.get("arms", {}).get(arm, {})
    n_accepted = int(own["accepted"].sum())
    return {
        "n_proposed": own.height,
        "n_accepted": n_accepted,
        "share_accepted": n_accepted / own.height if own.height else None,
        "prompt_tokens": spent.get("prompt_tokens"),
        "completion_tokens": spent.get("completion_tokens"),
    }


def tokens_per_point(tokens: float | None, gain: Mapping[str, Any]) -> float | None:
    """Tokens spent per point that all units together gained; None where they gained nothing, or nobody counted."""
    mean = gain.get("mean")
    if tokens is None or mean is None or mean <= 0:
        return None
    points: float = mean * gain["n_units"] / POINT
    return tokens / points
