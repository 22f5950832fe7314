"""Stage `report`: what a run found, as a static web page, metrics, figures and curves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import polars as pl
from tqdm import tqdm

from latentese.corpus.contexts import Contexts
from latentese.errors import SettingError
from latentese.report.figures import write_figures
from latentese.report.findings_page import all_findings, findings_view, write_findings
from latentese.report.index_page import COLUMNS, list_data, target_view
from latentese.report.inputs import ReportSettings, Target, TargetArtifacts, open_target, require_primary
from latentese.report.page import level_text, render
from latentese.report.pairs import PAIRS, pairs_of
from latentese.report.results_page import Results, results_page
from latentese.report.summary import Numbers, summarise
from latentese.report.tables import STATUSES, study_units
from latentese.report.unit_page import UnitPages
from latentese.store.artifact import Artifact, open_artifact, open_draft
from latentese.store.files import write_json, write_text
from latentese.store.tables import write_table


def report(
    contexts: Path,
    targets: Mapping[str, TargetArtifacts],
    settings: ReportSettings,
    out: Path,
    hookpoints: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write the report of a run: `index.html` and `units/` to read in a browser, `summary.md` to read anywhere.

    As data: `metrics.json`, `pairs.parquet` and `.csv`, `findings.parquet` and `.csv`, `figures/`, `curves/`.
    hookpoints: of each target, so that scores can be told by layer.

    The same artifacts and settings give the same bytes: no time and no host appear in it.
    """
    _check_names(targets)
    inputs: dict[str, Artifact] = {"contexts": open_artifact(contexts, "contexts")}
    opened: dict[str, Target] = {}
    for name, paths in targets.items():
        opened[name], artifacts = open_target(name, paths, hookpoints.get(name, ""))
        require_primary(opened[name], settings)
        inputs |= {f"{name}.{kind}": artifact for kind, artifact in artifacts.items()}
    with open_draft(out, "report", inputs, asdict(settings) | {"hookpoints": dict(hookpoints)}) as draft:
        studies = {name: (target, study_units(target, settings)) for name, target in opened.items()}
        found = all_findings(list(opened.values()), settings)
        pairs = pairs_of(found, list(opened.values()))
        found = found.filter(pl.col("by") != "target")
        summaries = {name: summarise(target, study, pairs, settings) for name, (target, study) in studies.items()}
        write_json(summaries, draft.path / "metrics.json")
        write_findings(found, settings, draft.path)
        write_table(pairs, PAIRS, draft.path / "pairs.parquet")
        write_text(pairs.write_csv(), draft.path / "pairs.csv")
        results = Results(summaries, pairs, hookpoints, {name: target.level for name, target in opened.items()})
        write_text(results_page(results, settings), draft.path / "summary.md")
        for name, (target, study) in studies.items():
            write_figures(target, study, summaries[name], draft.path / "figures")
            _write_curves(target, draft.path / "curves")
            _write_units(UnitPages(target, Contexts(contexts), settings), study, draft.path / "units" / name)
        write_text(_index(studies, summaries, settings, found, pairs), draft.path / "index.html")
        draft.publish({name: {"n_units": study.height} for name, (_, study) in studies.items()})
    return out


def _check_names(targets: Mapping[str, TargetArtifacts]) -> None:
    """Names become folders and addresses."""
    if not targets:
        raise SettingError("targets", dict(targets), "at least one target")
    for name in targets:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise SettingError("targets", name, "letters, digits, _, - and . only")


def _index(
    studies: Mapping[str, tuple[Target, pl.DataFrame]],
    summaries: Mapping[str, Numbers],
    settings: ReportSettings,
    found: pl.DataFrame,
    pairs: pl.DataFrame,
) -> str:
    found_statuses = {status for _, study in studies.values() for status in study["status"].unique()}
    values = {
        "title": settings.title,
        "targets": [target_view(target, study, summaries[name], pairs) for name, (target, study) in studies.items()],
        "findings": findings_view(found, settings),
        "columns": COLUMNS,
        "statuses": {status: note for status, note in STATUSES.items() if status in found_statuses},
        "contexts": settings.contexts.replace("_", " "),
        "simulator": settings.primary_simulator,
        "level": " or ".join(sorted({level_text(target.level) for target, _ in studies.values()})),
        "signed": any((target.units["threshold"] > 0).any() for target, _ in studies.values()),
        "data": list_data(studies),
    }
    return render("index.html.j2", "index.js", values)


def _write_units(pages: UnitPages, study: pl.DataFrame, folder: Path) -> None:
    rows = study.to_dicts()
    numbers = [None, *(row["unit"] for row in rows), None]
    for i, row in enumerate(tqdm(rows, desc=f"pages of {pages.target.name}", disable=None, leave=False)):
        values = {
            "title": pages.settings.title,
            "page": pages.build(row),
            "contexts": pages.settings.contexts,
            "before": numbers[i],
            "after": numbers[i + 2],
        }
        write_text(render("unit.html.j2", "unit.js", values), folder / f"{row['unit']}.html")


def _write_curves(target: Target, folder: Path) -> None:
    """Write the training curve as `dvc plots` reads it; a dictionary that needed no training has none."""
    if target.train_log.height:
        write_text(target.train_log.write_csv(), folder / f"train_{target.name}.csv")
