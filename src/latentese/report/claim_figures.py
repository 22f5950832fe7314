"""Read what a claim is about from evaluation artifacts: a figure, and what each document adds to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from latentese.errors import ArtifactError, SettingError
from latentese.metrics.contrasts import Figure
from latentese.metrics.correlation import Floats
from latentese.store.artifact import Artifact

TOLERANCE = 1e-3
"""How far, as a share, a figure may lie from the ratio of its documents' sums: they may be of another precision."""


@dataclass(frozen=True)
class DocumentSums:
    """From which rows a figure is made: the ratio of two sums over documents."""

    table: str
    """Of the evaluation's tables; it has a column `document`."""
    numerator: str
    denominator: str
    per_denominator: bool = False
    """Whether the numerator's column is a mean over what the denominator counts, and not a sum."""


@dataclass(frozen=True)
class Measure:
    """One figure of an evaluation."""

    evaluation: str
    figure: str
    """Its path in the evaluation's metrics, such as `kl/reconstruction/value`."""
    documents: DocumentSums | None = None
    """What it is made from; None where that is not told."""


def read_figure(artifact: Artifact, measure: Measure) -> Figure | None:
    """Read one figure of an evaluation artifact, with its documents' sums; None where it is not defined."""
    value: Any = json.loads(artifact.file("metrics.json").read_text(encoding="utf-8"))[measure.evaluation]
    if "not_measured" in value:
        return None
    for key in measure.figure.split("/"):
        if not isinstance(value, Mapping) or key not in value:
            raise SettingError("claims.measures.figure", measure.figure, f"a path in {artifact.path}/metrics.json")
        value = value[key]
    if value is None or measure.documents is None:
        return None if value is None else Figure(float(value))
    sums = _document_sums(artifact, measure.evaluation, measure.documents)
    made = sums[:, 0].sum() / sums[:, 1].sum()
    if not np.isclose(made, value, rtol=TOLERANCE, atol=0):
        raise ArtifactError(artifact.path, f"{measure.figure} is {value:.6g}, its documents make {made:.6g}")
    return Figure(float(value), sums)


def _document_sums(artifact: Artifact, evaluation: str, spec: DocumentSums) -> Floats:
    """Numerators and denominators by document, in order of documents: [n_documents, 2]."""
    table = pl.read_parquet(artifact.file(f"{evaluation}_{spec.table}.parquet"))
    above = pl.col(spec.numerator) * (pl.col(spec.denominator) if spec.per_denominator else 1)
    sums = table.group_by("document").agg(above=above.sum(), below=pl.col(spec.denominator).sum()).sort("document")
    return sums.select("above", "below").to_numpy().astype(np.float64)
