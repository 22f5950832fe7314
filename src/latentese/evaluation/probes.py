"""Probes: how well single units tell what the corpus tells of its tokens (Gao et al. 2024, section 4.2).

For each binary task, a logistic fit of the label on one unit's pre-activation, for every unit; the unit whose fit has
the lowest cross-entropy is chosen, on documents of one split, and its cross-entropy is reported on those of another.
The lowest one where it was chosen (the paper's figure) is given beside it: the more units, the more optimistic it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import polars as pl
import torch
from torch import Tensor
from tqdm import tqdm

from latentese.errors import SettingError
from latentese.evaluation.base import Evaluated, Findings
from latentese.evaluation.labelled_texts import LabelledTexts
from latentese.evaluation.logistic import cross_entropy, fit_each
from latentese.evaluation.probe_rows import Balance, ContextDraw, LabelledRows, label_rows
from latentese.evaluation.tasks import SourceTask, Task
from latentese.evaluation.text_tasks import CONTROL, TEXT_TASKS
from latentese.evaluation.tokens import ratio_of_sums
from latentese.metrics.intervals import Bootstrap, document_interval, mean_interval
from latentese.records import Split

TABLE = pl.Schema(
    {
        "task": pl.String(),
        "definition": pl.String(),
        "n_positive_fit": pl.Int64(),
        "n_positive": pl.Int64(),
        "unit": pl.Int32(),
        "loss_fit": pl.Float64(),
        "loss": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "base_entropy": pl.Float64(),
        "n_tokens": pl.Int64(),
        "n_documents": pl.Int64(),
    }
)
"""Cross-entropies in nats; `loss_fit` on the tokens on which the unit was chosen, the rest on the reported ones.
`n_positive` counts before the balanced draw; null where a task had too few."""


class Probe(NamedTuple):
    """A task's chosen unit, and what it costs on reported tokens."""

    unit: int
    loss_fit: float
    labels: Tensor  # [n_tokens]
    losses: Tensor  # [n_tokens]
    document: np.ndarray  # [n_tokens]

    @property
    def sums(self) -> np.ndarray:
        """Sum of losses and number of tokens, per document: [n_documents, 2]."""
        _, which = np.unique(self.document, return_inverse=True)
        return np.stack([np.bincount(which, self.losses.double().numpy()), np.bincount(which)], axis=1)

    @property
    def base_entropy(self) -> float:
        """What always saying the share of positives costs."""
        share = self.labels.double().mean()
        return float(-(share.xlogy(share) + (1 - share).xlogy(1 - share)))


@dataclass(frozen=True)
class Probes:
    """Loss of the best unit per task, chosen on one split and reported on another.

    The mean is over the tasks that had enough tokens; its interval resamples tasks and documents. Held at once: the
    pre-activations of all units on 2 * n_per_class tokens.
    """

    name: str = "probes"
    tasks: Sequence[str] | None = None
    """Names of the tasks asked, built-in or your own; None for all."""
    sources: Mapping[str, SourceTask] = field(default_factory=dict)
    """Tasks that tell sources of the corpus apart, by name."""
    labelled: Mapping[str, LabelledTexts] = field(default_factory=dict)
    """Tasks of your own, by name."""
    code_sources: Sequence[str] = ("standard_library",)
    """Sources that are code."""
    fit_split: Split = "explain"
    """Documents on which fits are made and units chosen."""
    report_split: Split = "test"
    n_contexts: int = 2048
    """Contexts of each split that are labelled, drawn."""
    n_per_class: int = 500
    """Positives, and as many negatives, of each task and split, drawn."""
    min_per_class: int = 30
    """A task with fewer positives or negatives in either split is counted, and has no figures."""
    min_documents: int = 5
    """... and one whose positives or negatives come from fewer documents."""
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_contexts", "n_per_class", "min_per_class", "min_documents", "n_boot"):
            if getattr(self, name) < 1:
                raise SettingError(f"evaluations.{self.name}.{name}", getattr(self, name), "at least 1")
        if self.fit_split == self.report_split:
            allowed = "another than fit_split: units are chosen there"
            raise SettingError(f"evaluations.{self.name}.report_split", self.report_split, allowed)
        names = [*(task.name for task in TEXT_TASKS), CONTROL.name, *self.sources, *self.labelled]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SettingError(f"evaluations.{self.name}", twice, "one task per name")
        for name in self.tasks or ():
            if name not in names:
                raise SettingError(f"evaluations.{self.name}.tasks", name, f"one of {', '.join(names)}")
        self.bootstrap  # noqa: B018  (checks its fields before anything is measured)

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)

    @torch.no_grad()
    def measure(self, evaluated: Evaluated) -> Findings:
        """Table `tasks`, one row per task, and means over tasks; the control's figures stand apart."""
        tasks = [*self._asked(evaluated), CONTROL]
        halves = self._label(evaluated, tasks)
        probes = {
            task.name: self._probe(evaluated, halves, place, task.name)
            for place, task in enumerate(tqdm(tasks, desc=self.name, unit="task", disable=None))
        }
        rows = [
            (task.name, task.definition, *_counts(halves, place), *_row(probes[task.name], self.bootstrap))
            for place, task in enumerate(tasks)
        ]
        table = pl.DataFrame(rows, schema=TABLE, orient="row")
        return Findings(_figures(probes, table, self.bootstrap), {"tasks": table})

    def _asked(self, evaluated: Evaluated) -> list[Task]:
        sources = (Task(name, task.definition, task.label) for name, task in self.sources.items())
        labelled = (texts.task(name, evaluated.contexts) for name, texts in self.labelled.items())
        known = [*TEXT_TASKS, *sources, *labelled]
        return [task for task in known if self.tasks is None or task.name in self.tasks]

    def _label(self, evaluated: Evaluated, tasks: Sequence[Task]) -> tuple[LabelledRows, LabelledRows]:
        draws = [ContextDraw(split, self.n_contexts, self.seed) for split in (self.fit_split, self.report_split)]
        n_contexts = sum(min(draw.n_contexts, len(evaluated.contexts.of_split(draw.split))) for draw in draws)
        with tqdm(total=n_contexts, desc=f"{self.name}: label", unit="ctx", disable=None) as bar:
            fit, report = (label_rows(evaluated, tasks, self.code_sources, draw, bar.update) for draw in draws)
        return fit, report

    def _probe(
        self, evaluated: Evaluated, halves: tuple[LabelledRows, LabelledRows], place: int, name: str
    ) -> Probe | None:
        """Probe for one task; None when it has too few tokens."""
        balance = Balance(self.n_per_class, self.min_per_class, self.min_documents)
        # A task's draw does not depend on which other tasks are asked.
        rng = np.random.default_rng([self.seed, crc32(name.encode())])
        drawn = [balance.draw(half.labels[place], half.document, rng) for half in halves]
        if drawn[0] is None or drawn[1] is None:
            return None
        fit = fit_each(*_read(evaluated, halves[0], drawn[0], place))
        unit = int(fit.loss.argmin())
        pre_acts, labels = _read(evaluated, halves[1], drawn[1], place)
        logits = pre_acts[:, unit].double() * fit.slope[unit] + fit.offset[unit]
        losses = cross_entropy(logits, labels)
        return Probe(unit, float(fit.loss[unit]), labels, losses, halves[1].document[drawn[1]])


def _read(evaluated: Evaluated, half: LabelledRows, places: np.ndarray, task: int) -> tuple[Tensor, Tensor]:
    """Pre-activations [n_tokens, n_units] and labels [n_tokens] of some tokens."""
    acts = evaluated.activations.gather(half.rows[places])
    return evaluated.dictionary.pre_acts(acts), torch.from_numpy(half.labels[task, places])


def _counts(halves: tuple[LabelledRows, LabelledRows], place: int) -> tuple[int, ...]:
    return tuple(int((half.labels[place] == 1).sum()) for half in halves)


def _row(probe: Probe | None, bootstrap: Bootstrap) -> tuple[Any, ...]:
    """Columns of the table from `unit` on."""
    if probe is None:
        return (None,) * 8
    loss = document_interval(probe.sums, ratio_of_sums, bootstrap)
    return probe.unit, probe.loss_fit, *loss, probe.base_entropy, len(probe.losses), len(probe.sums)


def _figures(probes: Mapping[str, Probe | None], table: pl.DataFrame, bootstrap: Bootstrap) -> dict[str, Any]:
    asked = table.filter(pl.col("task") != CONTROL.name)
    (control,) = table.filter(pl.col("task") == CONTROL.name).iter_rows(named=True)
    measured = [probe for name, probe in probes.items() if probe is not None and name != CONTROL.name]
    return {
        "loss": mean_interval([probe.sums for probe in measured], ratio_of_sums, bootstrap)._asdict(),
        "loss_fit": asked["loss_fit"].mean(),
        "base_entropy": asked["base_entropy"].mean(),
        "n_tasks": len(measured),
        "n_too_few": asked["unit"].null_count(),
        "control": {"loss": control["loss"], "loss_fit": control["loss_fit"]},
    }
