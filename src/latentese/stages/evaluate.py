"""Stage `evaluate`: what the dictionary is worth on documents it was not fitted to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, cast

from latentese.corpus.contexts import Contexts
from latentese.dictionaries import checkpoints
from latentese.errors import ArtifactError, SettingError
from latentese.evaluation.base import Evaluated, Evaluation, Findings
from latentese.store.artifact import open_artifact, open_draft
from latentese.store.files import write_json
from latentese.store.shards import Activations
from latentese.store.tables import write_table
from latentese.subject.model import SubjectChoice


def evaluate(
    contexts: Path,
    activations: Path,
    dictionary: Path,
    subject: SubjectChoice,
    evaluations: Mapping[str, Evaluation],
    out: Path,
) -> Path:
    """Write the evaluation artifact: `metrics.json` {evaluation: figures} and `<evaluation>_<table>.parquet`.

    The subject is loaded if an evaluation asks for it. An interrupted run goes on at the next evaluation. Counts:
    n_units, and measured {evaluation: whether there was anything to measure}.
    """
    texts, source = Contexts(contexts), Activations(activations)
    if source.artifact.manifest.inputs.get("contexts") != texts.artifact.sha256:
        raise ArtifactError(activations, f"not collected from {contexts}; run the collect stage again")
    _check_subject(source, subject)
    measured = checkpoints.load(dictionary)
    if measured.d_model != source.width:
        raise SettingError("dictionary.d_model", measured.d_model, f"{source.width}, the width of {activations}")
    hookpoint = source.artifact.manifest.settings["hookpoint"]
    evaluated = Evaluated(measured, source, texts, hookpoint, cache(subject.load))
    inputs = {
        "contexts": texts.artifact,
        "activations": source.artifact,
        "dictionary": open_artifact(dictionary, "dictionary"),
    }
    with open_draft(out, "evaluation", inputs, _described(subject, evaluations)) as draft:
        metrics = {name: _measure(evaluation, evaluated, draft.path) for name, evaluation in evaluations.items()}
        write_json(metrics, draft.path / "metrics.json")
        done = {name: "not_measured" not in figures for name, figures in metrics.items()}
        draft.publish({"n_units": measured.n_units, "measured": done})
    return out


def _check_subject(activations: Activations, subject: SubjectChoice) -> None:
    """Refuse a subject that did not give these activations."""
    read = activations.artifact.manifest.settings["subject"]
    if subject.source.name != read:
        raise SettingError("subject", subject.source.name, f"the activations are those of {read}")


def _described(subject: SubjectChoice, evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    settings = {name: asdict(cast(Any, evaluation)) for name, evaluation in evaluations.items()}
    return {
        "subject": subject.source.name,
        "dtype": subject.dtype,
        "device": subject.device,
        "evaluations": settings,
    }


def _measure(evaluation: Evaluation, evaluated: Evaluated, draft: Path) -> Mapping[str, Any]:
    """Measure, write the tables, and return the figures: those of an interrupted run where it got so far."""
    done = draft / "work" / f"{evaluation.name}.json"
    if not done.is_file():
        _write(evaluation.measure(evaluated), evaluation.name, draft, done)
    figures: Mapping[str, Any] = json.loads(done.read_text(encoding="utf-8"))
    return figures


def _write(found: Findings, name: str, draft: Path, done: Path) -> None:
    for table, rows in found.tables.items():
        write_table(rows, rows.schema, draft / f"{name}_{table}.parquet")
    write_json(found.metrics, done)  # last: it says that the tables are whole
