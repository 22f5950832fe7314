"""What an evaluation is. A new one is one file here, one YAML in conf/evaluation/ and one test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

from latentese.corpus.contexts import Contexts
from latentese.dictionaries.base import Dictionary
from latentese.store.shards import Activations
from latentese.subject.model import Subject


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation may read: a dictionary, what it was made from, and the model behind it."""

    dictionary: Dictionary
    activations: Activations
    contexts: Contexts
    hookpoint: str
    """Where the activations were read, such as `layers.12.resid_post`."""
    load_subject: Callable[[], Subject]
    """Gives the subject model, loaded when it is first asked for: most evaluations need none."""


@dataclass(frozen=True)
class Findings:
    """What an evaluation found."""

    metrics: Mapping[str, Any]
    """Figures for `metrics.json` and MLflow: numbers, null where one is not defined, or nested mappings of them."""
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """The rows behind the figures, by file stem; published as parquet."""

    @classmethod
    def none(cls, why: str) -> Findings:
        """Say that there is nothing to measure here, and why: the pipeline goes on."""
        return cls({"not_measured": why})


class Evaluation(Protocol):
    """Measures one thing about a dictionary on documents that it was not fitted to.

    A frozen dataclass: its fields are its settings, and enter the artifact's manifest.
    """

    @property
    def name(self) -> str:
        """Its key in the configuration and in the metrics."""

    def measure(self, evaluated: Evaluated) -> Findings:
        """Measure, showing a progress bar when it takes long. Same inputs, same figures."""
