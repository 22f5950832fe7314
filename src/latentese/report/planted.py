"""The page of planted meanings: how many were found, explained by their name, and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from latentese.metrics.intervals import Bootstrap
from latentese.puzzles.explaining import Found, Written
from latentese.puzzles.meanings import Meaning, Recovered
from latentese.report.markdown import markdown_table, plain
from latentese.report.puzzles import mean_text, names, share_text
from latentese.schemas import SCORES
from latentese.store.artifact import open_artifact
from latentese.store.files import write_json, write_text
from latentese.store.tables import read_table

TRUE = "planted"
"""The explainer that says the true sentence."""


@dataclass(frozen=True)
class PlantedFindings:
    """Everything that was found of what was planted."""

    command: str
    """What makes this page again."""
    about: Sequence[str]
    meanings: Sequence[Meaning]
    recovered: Mapping[str, Recovered]
    written: Sequence[Written]
    """Of recovered units that are live, the true sentences among them."""
    found: Sequence[Found]
    """Of what explainers wrote: whether it names the meaning."""
    scores: Path
    """The scores artifact."""
    bootstrap: Bootstrap

    @property
    def units(self) -> dict[int, str]:
        """Name of the meaning of each unit that was explained."""
        return {one.explanation.unit: one.case.name for one in self.written}

    @property
    def explainers(self) -> list[str]:
        """Explainers that do not know the answer."""
        return [name for name in names(one.explanation.explainer for one in self.written) if name != TRUE]


def write_page(findings: PlantedFindings, page_file: Path) -> None:
    """Write the page, and its figures as JSON beside it."""
    write_json(as_json(findings), page_file.with_suffix(".json"))
    write_text(page(findings), page_file)


def as_json(findings: PlantedFindings) -> dict[str, Any]:
    """Everything on the page, one row per unit."""
    return {
        "about": list(findings.about),
        "recovered": {name: asdict(one) for name, one in findings.recovered.items()},
        "written": [
            {"meaning": one.case.name, "explainer": one.explanation.explainer}
            | {"text": one.explanation.text, "error": one.explanation.error}
            for one in findings.written
        ],
        "named": [
            {"meaning": one.unit, "explainer": one.explainer, "named": one.named, "judge": one.judge}
            for one in findings.found
        ],
        "scores": [row | {"meaning": findings.units[row["unit"]]} for row in scores_of(findings).iter_rows(named=True)],
    }


def page(findings: PlantedFindings) -> str:
    """Write the page in Markdown."""
    n_found = sum(one.found for one in findings.recovered.values())
    judges = ", ".join(names(one.judge for one in findings.found))
    parts = [
        "# Planted meanings",
        f"{len(findings.meanings)} directions of known meaning in real text; a dictionary found {n_found} of them, and "
        f"{len(findings.units)} of these are live. Made by `{findings.command}`.",
        "\n".join(f"- {line}" for line in findings.about),
        "## Do explanations name what was planted?",
        "An explanation names a meaning when what is simulated from it on `test` contexts follows what is simulated "
        f"from the true sentence more closely than from that of any other meaning (by {judges}); by chance one of "
        f"{len(findings.meanings)} would.",
        named_table(findings),
        "## Scores",
        "Mean correlation on `test` over the planted units, with bootstrap intervals over units; `true sentence`: of "
        "the planted meaning on the same units; `another's`: of another unit's explanation.",
        scores_table(findings),
        "## Each meaning",
        _meaning_table(findings),
    ]
    return "\n\n".join(parts) + "\n"


def named_table(findings: PlantedFindings) -> str:
    """One row per explainer: how often it names the meaning, in all and by kind."""
    kinds = names(meaning.kind for meaning in findings.meanings)
    rows = []
    for explainer in findings.explainers:
        own = [one for one in findings.found if one.explainer == explainer]
        n_units = sum(one.explanation.explainer == explainer for one in findings.written)
        # What failed, or could not be read, names nothing.
        hits = [bool(one.named) for one in own] + [False] * (n_units - len(own))
        by_kind = [_count(findings, explainer, kind) for kind in kinds]
        rows.append([plain(explainer), share_text(hits, findings.bootstrap.level), *by_kind])
    return markdown_table(["explainer", "names it", *map(plain, kinds)], rows, is_escaped=True)


def scores_table(findings: PlantedFindings) -> str:
    """One row per explainer and simulator."""
    scores = scores_of(findings)
    rows = []
    for explainer, simulator in scores.select("explainer", "simulator").unique(maintain_order=True).iter_rows():
        if explainer == TRUE:
            continue
        value = _by_unit(scores, explainer, simulator, "none")
        true = _by_unit(scores, TRUE, simulator, "none")
        wrong = _by_unit(scores, explainer, simulator, "wrong_explanation")
        n_failed = scores.filter(explainer=explainer, simulator=simulator)["n_failed"].sum()
        columns = [
            [*value.values()],
            [true[unit] for unit in value if unit in true],
            [*wrong.values()],
        ]
        cells = [mean_text(column, findings.bootstrap) for column in columns]
        rows.append([plain(explainer), plain(simulator), str(len(value)), *cells, str(n_failed)])
    heading = ["explainer", "simulator", "units", "score", "true sentence", "another's", "failed"]
    return markdown_table(heading, rows, is_escaped=True)


def scores_of(findings: PlantedFindings) -> pl.DataFrame:
    """Read the scores of planted units: correlation on `test`, over top and random contexts."""
    table = read_table(open_artifact(findings.scores, "scores").file("scores.parquet"), SCORES)
    of_test = table.filter(split="test", contexts="top_and_random", metric="correlation")
    return of_test.filter(pl.col("unit").is_in(list(findings.units)))


def _by_unit(scores: pl.DataFrame, explainer: str, simulator: str, control: str) -> dict[int, float | None]:
    rows = scores.filter(explainer=explainer, simulator=simulator, control=control)
    return dict(rows.select("unit", "value").iter_rows())


def _count(findings: PlantedFindings, explainer: str, kind: str) -> str:
    n_units = sum(one.explanation.explainer == explainer and one.case.kind == kind for one in findings.written)
    n_named = sum(bool(one.named) for one in findings.found if (one.explainer, one.kind) == (explainer, kind))
    return f"{n_named} of {n_units}"


def _meaning_table(findings: PlantedFindings) -> str:
    text_of = {(one.case.name, one.explanation.explainer): one.explanation for one in findings.written}
    named = {(one.unit, one.explainer) for one in findings.found if one.named}
    rows = []
    for meaning in findings.meanings:
        one = findings.recovered[meaning.name]
        texts = []
        for explainer in findings.explainers:
            said = text_of.get((meaning.name, explainer))
            text = "" if said is None else plain(said.text or f"(failed: {said.error})")
            texts.append(f"**{text}**" if (meaning.name, explainer) in named else text)
        latent = f"{one.unit} ({one.cosine:.2f})" if one.found else "-"
        rows.append([plain(meaning.kind), plain(meaning.true), latent, *texts])
    columns = ["kind", "planted meaning", "latent (cosine)", *map(plain, findings.explainers)]
    return markdown_table(columns, rows, is_escaped=True)
