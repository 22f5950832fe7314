"""The page of puzzles: how often the true explanation wins, and how well explainers do where the truth is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentese.metrics.intervals import Bootstrap, Interval, document_interval
from latentese.metrics.proportions import wilson_interval
from latentese.puzzles.explaining import Found, Written
from latentese.puzzles.puzzle import Puzzle, kinds_of
from latentese.puzzles.trials import Trial
from latentese.report.markdown import markdown_table, plain
from latentese.report.numbers import edges_text, two_digits
from latentese.store.files import write_json, write_text

ALL = "all"


@dataclass(frozen=True)
class PuzzleFindings:
    """Everything that was tried."""

    command: str
    """What makes this page again."""
    about: Sequence[str]
    puzzles: Sequence[Puzzle]
    trials: Sequence[Trial]
    written: Sequence[Written]
    found: Sequence[Found]
    bootstrap: Bootstrap


def write_page(findings: PuzzleFindings, page_file: Path) -> None:
    """Write the page, and its figures as JSON beside it."""
    write_json(as_json(findings), page_file.with_suffix(".json"))
    write_text(page(findings), page_file)


def as_json(findings: PuzzleFindings) -> dict[str, Any]:
    """Everything on the page, one row per puzzle and judge."""
    return {
        "about": list(findings.about),
        "trials": [asdict(trial) | {"won": trial.won, "margin": trial.margin} for trial in findings.trials],
        "written": [
            {"puzzle": one.case.name, "explainer": one.explanation.explainer, "text": one.explanation.text}
            | {"error": one.explanation.error}
            for one in findings.written
        ],
        "found": [asdict(one) for one in findings.found],
    }


def page(findings: PuzzleFindings) -> str:
    """Write the page in Markdown."""
    parts = [
        "# Puzzles",
        f"{len(findings.puzzles)} units whose explanation is known, each with one true and three false explanations. "
        f"Made by `{findings.command}`.",
        "\n".join(f"- {line}" for line in findings.about),
        "## Simulators and scorers: does the true explanation win?",
        "It wins when its score is above that of every false one, on the same contexts; by chance it would in a "
        "quarter of puzzles. A score that is not defined (a simulation that is the same everywhere) wins nothing. "
        "Shares have Wilson's intervals, means bootstrap intervals over puzzles.",
        trials_table(findings),
    ]
    if findings.found:
        parts += [
            "## Explainers: half of the contexts shown, scored on the other half",
            "`true sentence` is what the judge gives the true explanation on the same contexts, `another's` what it "
            "gives the explanation of another puzzle. An explanation `names` its unit when it is simulated more like "
            "the true sentence than like any false one: a quarter by chance.",
            found_table(findings),
        ]
    parts += ["## Each puzzle", "Score of the true explanation / of the best false one.", _puzzle_table(findings)]
    if findings.written:
        parts += ["## What explainers wrote", _written_table(findings)]
    return "\n\n".join(parts) + "\n"


def trials_table(findings: PuzzleFindings) -> str:
    """One row per judge, then one per judge and kind."""
    heading = ["judged by", "kind", "true wins", "true", "best false", "margin", "failed"]
    kinds = kinds_of(findings.puzzles)
    rows = []
    for judge in names(trial.judge for trial in findings.trials):
        own = [trial for trial in findings.trials if trial.judge == judge]
        for kind in [ALL, *kinds]:
            of_kind = [trial for trial in own if kind in (ALL, trial.kind)]
            if of_kind:
                named = f"{plain(judge)} ({own[0].measure})" if kind == ALL else ""
                rows.append([named, kind, *_trial_cells(findings, of_kind)])
    return markdown_table(heading, rows, is_escaped=True)


def found_table(findings: PuzzleFindings) -> str:
    """One row per explainer and judge, the mean score of every kind behind."""
    kinds = kinds_of(findings.puzzles)
    heading = [
        "explainer",
        "judged by",
        "explained",
        "score",
        "true sentence",
        "another's",
        "names it",
        "failed",
        *kinds,
    ]
    rows = []
    for explainer in names(one.explanation.explainer for one in findings.written):
        texts = [one.explanation.text for one in findings.written if one.explanation.explainer == explainer]
        n_explained = f"{sum(text is not None for text in texts)} of {len(texts)}"
        for judge in names(one.judge for one in findings.found if one.explainer == explainer):
            own = [one for one in findings.found if (one.explainer, one.judge) == (explainer, judge)]
            means = [_mean([one.value for one in own if one.kind == kind], findings.bootstrap).value for kind in kinds]
            by_kind = ["-" if mean is None else two_digits(mean) for mean in means]
            rows.append([plain(explainer), plain(judge), n_explained, *_found_cells(findings, own), *by_kind])
    return markdown_table(heading, rows, is_escaped=True)


def _trial_cells(findings: PuzzleFindings, trials: Sequence[Trial]) -> list[str]:
    return [
        share_text([trial.won for trial in trials], findings.bootstrap.level),
        mean_text([trial.true for trial in trials], findings.bootstrap),
        mean_text([trial.best_false for trial in trials], findings.bootstrap),
        mean_text([trial.margin for trial in trials], findings.bootstrap),
        _failed(trials),
    ]


def _found_cells(findings: PuzzleFindings, found: Sequence[Found]) -> list[str]:
    named = [one.named for one in found if one.named is not None]
    return [
        mean_text([one.value for one in found], findings.bootstrap),
        mean_text([one.true for one in found], findings.bootstrap),
        mean_text([one.wrong for one in found], findings.bootstrap),
        share_text(named, findings.bootstrap.level) if named else "-",
        _failed(found),
    ]


def _puzzle_table(findings: PuzzleFindings) -> str:
    judges = names(trial.judge for trial in findings.trials)
    trial_of = {(trial.puzzle, trial.judge): trial for trial in findings.trials}
    rows = [
        [
            puzzle.kind,
            plain(puzzle.name),
            plain(puzzle.true),
            *(_pair(trial_of.get((puzzle.name, judge))) for judge in judges),
        ]
        for puzzle in findings.puzzles
    ]
    return markdown_table(["kind", "puzzle", "true explanation", *map(plain, judges)], rows, is_escaped=True)


def _written_table(findings: PuzzleFindings) -> str:
    explainers = names(one.explanation.explainer for one in findings.written)
    text_of = {(one.case.name, one.explanation.explainer): one.explanation for one in findings.written}
    rows = []
    for puzzle in findings.puzzles:
        said = [text_of.get((puzzle.name, explainer)) for explainer in explainers]
        texts = ["" if one is None else one.text or f"(failed: {one.error})" for one in said]
        rows.append([puzzle.name, *texts])
    return markdown_table(["puzzle", *explainers], rows)


def _pair(trial: Trial | None) -> str:
    if trial is None:
        return ""
    true, false = ("-" if value is None else two_digits(value) for value in (trial.true, trial.best_false))
    return f"**{true}** / {false}" if trial.won else f"{true} / **{false}**"


def share_text(hits: Sequence[bool], level: float) -> str:
    """Write how many of how many, with Wilson's interval of the share."""
    share = wilson_interval(sum(hits), len(hits), level)
    return f"{sum(hits)} of {len(hits)} {edges_text(share.low, share.high)}"


def _mean(values: Iterable[float | None], bootstrap: Bootstrap) -> Interval:
    """Mean of the values that are defined, with an interval over puzzles."""
    sums = np.array([[value, 1.0] for value in values if value is not None]).reshape(-1, 2)
    return document_interval(sums, _ratio, bootstrap)


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def mean_text(values: Sequence[float | None], bootstrap: Bootstrap) -> str:
    """Write the mean of values that are defined, with its interval; those that are not are counted."""
    value, low, high = _mean(values, bootstrap)
    if value is None:
        return "-"
    n_undefined = sum(one is None for one in values)
    shown = f"{two_digits(value)} {edges_text(low, high)}" if low is not None else two_digits(value)
    return f"{shown} ({n_undefined} undefined)" if n_undefined else shown


def _failed(rows: Sequence[Trial] | Sequence[Found]) -> str:
    return f"{sum(row.n_failed for row in rows)} of {sum(row.n_answers for row in rows)}"


def names(occurring: Iterable[str]) -> list[str]:
    """List names once each, in the order in which they occur."""
    return list(dict.fromkeys(occurring))
