"""One polars schema per table, and the version of each artifact that holds them.

`unit` and `context` have the same type everywhere. A change of a schema is a new version: a reader that
meets another version stops (see `store.artifact`).
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from latentese.errors import ArtifactError

UNIT = pl.Int32()
CONTEXT = pl.Int32()
POSITIONS = pl.List(pl.Int16)
ACTS = pl.List(pl.Float32)

VERSIONS = {
    "contexts": 1,
    "activations": 1,
    "dictionary": 1,
    "examples": 1,
    "explanations": 3,
    "scores": 2,
    "cascade": 1,
    "refined": 3,
    "evaluation": 2,
    "report": 1,
}

STILL_READ = {"explanations": (1, 2)}
"""Older versions that are read as the present one: what they lack has a default."""

DOCUMENTS = pl.Schema(
    {"document": pl.Int32(), "source": pl.String(), "title": pl.String(), "split": pl.String(), "sha256": pl.String()}
)

CONTEXTS = pl.Schema(
    {
        "context": CONTEXT,
        "document": pl.Int32(),
        "source": pl.String(),
        "split": pl.String(),
        "tokens": pl.List(pl.String()),
    }
)

UNITS = pl.Schema(
    {
        "unit": UNIT,
        "n_fires": pl.Int64(),
        "density": pl.Float64(),
        "max_act": pl.Float32(),
        "mean_act": pl.Float32(),
        "threshold": pl.Float32(),
        "n_documents": pl.Int32(),
        "draw": pl.Int32(),
        "histogram": pl.List(pl.Int64()),
    }
)
"""Statistics on `explain` documents. `draw` is the unit's place in the seeded draw among live units, null if dead;
`histogram` counts activations above the threshold between the edges in the manifest."""

EXAMPLES = pl.Schema(
    {
        "unit": UNIT,
        "context": CONTEXT,
        "split": pl.String(),
        "kind": pl.String(),
        "band": pl.Int8(),
        "max_act": pl.Float32(),
        "positions": POSITIONS,
        "acts": ACTS,
    }
)
"""Sparse activations: positions where the unit fires, and how strongly. `band` numbers the quantile band."""

POOL = pl.Schema({"unit": UNIT, "context": CONTEXT, "positions": POSITIONS, "acts": ACTS})
"""Every firing of every unit on a seeded draw of `explain` contexts: what refinement mines."""

POOL_CONTEXTS = pl.Schema({"context": CONTEXT})

_JUDGED = {
    "explanation": pl.String(),
    "unit": UNIT,
    "simulator": pl.String(),
    "control": pl.String(),
    "split": pl.String(),
    "context": CONTEXT,
    "document": pl.Int32(),
    "kind": pl.String(),
}
"""What a row about one context begins with: which explanation is judged, by whom, and where."""

SIMULATIONS = pl.Schema(
    {
        **_JUDGED,
        "true_acts": ACTS,
        "expected_acts": ACTS,
        "error": pl.String(),
    }
)
"""One row per context: both lists have one value per counted position; `expected_acts` is null on failure."""

JUDGEMENTS = pl.Schema(
    {
        **_JUDGED,
        "answer": pl.Float64(),
        "truth": pl.Boolean(),
        "error": pl.String(),
    }
)
"""One row per yes-or-no question about a context; `simulator` is the scorer that answers. `answer` says how far it is
a yes (a probability, or a similarity), and is null on failure."""

ABLATIONS = pl.Schema(
    {
        **_JUDGED,
        "calibration": pl.String(),
        "n_positions": pl.Int32(),
        "simulated": pl.Float64(),
        "ablated": pl.Float64(),
        "error": pl.String(),
    }
)
"""One row per simulation of a context and way to fit its scale: how far the subject's predictions go from its own, as a
sum over positions of Jensen-Shannon divergences in nats, with the unit's activation replaced by the simulation
(`simulated`, null without one) and by its mean over the contexts (`ablated`)."""

SCORES = pl.Schema(
    {
        "explanation": pl.String(),
        "unit": UNIT,
        "explainer": pl.String(),
        "revision": pl.Int32(),
        "simulator": pl.String(),
        "control": pl.String(),
        "split": pl.String(),
        "contexts": pl.String(),
        "metric": pl.String(),
        "value": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "n_documents": pl.Int32(),
        "n_judged": pl.Int32(),
        "n_failed": pl.Int32(),
    }
)
"""`simulator` is who judged, a simulator or a scorer; a simulator also where its simulations were put into the subject
(`ablation`). `contexts` is `top_and_random`, `random_only`, or `all_kinds` for a scorer's questions; `control` is
`none` or `wrong_explanation`; `value` is null where it is not defined (a constant side, nothing judged, a unit without
effect), and then counted as such. Where some answers failed, rows `<metric>.worst` and `<metric>.best` bound it."""

CASCADE = pl.Schema(
    {
        "unit": UNIT,
        "explanation": pl.String(),
        "value": pl.Float64(),
        "spread": pl.Float64(),
        "predicted": pl.Float64(),
        "n_read": pl.Int32(),
        "n_failed": pl.Int32(),
        "prompt_tokens": pl.Int64(),
        "full": pl.Float64(),
        "full_n_failed": pl.Int32(),
        "full_prompt_tokens": pl.Int64(),
    }
)
"""One row per unit: the estimate of its costly score over all contexts, its standard deviation, what cheap scores alone
predict, and what was asked. The `full` columns hold the costly score itself, null
where it is not defined or was not asked for."""

CALIBRATIONS = pl.Schema(
    {
        "explanation": pl.String(),
        "unit": UNIT,
        "simulator": pl.String(),
        "control": pl.String(),
        "n_tokens": pl.Int64(),
        "slope": pl.Float64(),
        "intercept": pl.Float64(),
        "threshold": pl.Float64(),
    }
)
"""What was fitted on `calibrate`: the line from simulated to true activations, and the simulated activation from which
the unit is said to fire, null where the unit is silent there."""

DECISIONS = pl.Schema(
    {
        "unit": UNIT,
        "arm": pl.String(),
        "round": pl.Int32(),
        "parent": pl.String(),
        "child": pl.String(),
        "select_parent": pl.Float64(),
        "select_child": pl.Float64(),
        "accepted": pl.Boolean(),
        "why": pl.String(),
        "false_positives": pl.List(CONTEXT),
        "false_negatives": pl.List(CONTEXT),
        "extra_examples": pl.List(CONTEXT),
        "sentences": pl.List(pl.Int64()),
        "random_examples": pl.List(CONTEXT),
    }
)
"""One row per unit, arm and round, with the contexts the explainer was shown, and the sentences by their numbers."""

SENTENCES = pl.Schema(
    {
        "unit": UNIT,
        "arm": pl.String(),
        "round": pl.Int32(),
        "parent": pl.String(),
        "sentence": pl.Int64(),
        "tokens": pl.List(pl.String()),
        "keep": pl.List(pl.Boolean()),
        "acts": pl.List(pl.Float32()),
        "prompt_sha256": pl.String(),
    }
)
"""Sentences that a language model wrote from the explanation `parent`, with what the unit did on them: those without
an activation above 0 are false positives. Their numbers are negative and follow from their text."""

FINALS = pl.Schema({"unit": UNIT, "arm": pl.String(), "explanation": pl.String(), "refined": pl.Boolean()})
"""Which explanation each arm (`initial`, `revision`, `re_explanation`) ends with; `refined` says whether the unit
was under the threshold and so took part."""
INITIAL = "initial"
"""The arm of FINALS that names first explanations."""

TRAIN_LOG = pl.Schema(
    {
        "step": pl.Int64(),
        "n_tokens": pl.Int64(),
        "fvu": pl.Float64(),
        "l0": pl.Float64(),
        "n_dead": pl.Int64(),
        "aux_loss": pl.Float64(),
        "lr": pl.Float64(),
    }
)


def check(df: pl.DataFrame, schema: pl.Schema, path: Path) -> pl.DataFrame:
    """Return `df` if it has exactly `schema`; else stop, naming the file and the first difference."""
    if df.schema == schema:
        return df
    for column, dtype in schema.items():
        found = df.schema.get(column)
        if found != dtype:
            raise ArtifactError(path, f"column {column} should be {dtype}, found {found}")
    extra = sorted(set(df.columns) - set(schema))
    problem = f"unknown columns {extra}" if extra else f"columns should be in the order {list(schema)}"
    raise ArtifactError(path, problem)
