"""From a sweep's artifacts to its results: MLflow runs as cells are done, then fits, tables and figures."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import polars as pl

from flows.cells import DICTIONARY, Cells
from flows.config import settings
from flows.paths import SWEEP_REPORTS
from flows.plan import Cell
from flows.publish import flat_metrics, flat_params
from latentese.errors import LatenteseError, SettingError
from latentese.metrics.compute import training_flops
from latentese.metrics.intervals import Bootstrap
from latentese.metrics.scaling import LOSS, RUN
from latentese.metrics.sweeps import HELD_OUT, FitSettings, FittedCells, fit_cells
from latentese.report.sweep import SweepFindings, fits_json, write_sweep
from latentese.schemas import TRAIN_LOG
from latentese.store.artifact import open_artifact
from latentese.store.files import sha256_json
from latentese.store.tables import read_table
from latentese.tracking import PARENT_TAG, Curve, PipelineRun, begin_run, publish_run

CURVES = ("fvu", "l0", "n_dead", "aux_loss", "lr")


class Results:
    """What a sweep's cells amount to."""

    def __init__(self, cells: Cells, uri: str, experiment: str) -> None:
        self.cells, self.plan = cells, cells.plan
        self._tracking = uri, experiment
        self._parent = ""

    @property
    def axes(self) -> list[str]:
        """Every axis that some cell has."""
        return list(dict.fromkeys(axis for cell in self.plan.cells for axis in cell.point))

    def begin(self) -> None:
        """Create the run of the sweep in MLflow, so that cells appear below it as they are done."""
        self._parent = begin_run(self._key(), self._name(), *self._tracking)

    def publish(self, cell: Cell) -> None:
        """Make one MLflow run of a cell, once, and show it below the sweep's."""
        row = self.row(cell)
        axes = {axis: str(value) for axis, value in cell.point.items()}
        params = {**axes, **dict(flat_params({"dictionary": cell.dictionary, "training": cell.training}))}
        key = sha256_json([self.plan.settings.name, cell.name, self._keys(cell)])
        figures = dict(flat_metrics({name: value for name, value in row.items() if name not in axes}))
        tags = {PARENT_TAG: self._parent, "latentese.sweep": self.plan.settings.name}
        publish_run(PipelineRun(key, cell.name, params, figures, self._curves(cell), tags=tags), *self._tracking)

    def write(self) -> str:
        """Fit the laws, write the page, and complete the sweep's MLflow run."""
        findings = self.findings()
        folder = SWEEP_REPORTS / self.plan.settings.name
        write_sweep(findings, folder)
        figures = {
            name: {key: value for key, value in fit.items() if key not in ("points", "ranges")}
            for name, fit in fits_json(findings).items()
        }
        params = dict(flat_params({"sweep": asdict(self.plan.settings)}))
        publish_run(
            PipelineRun(
                self._key(),
                self._name(),
                params,
                dict(flat_metrics(figures)),
                artifacts={"results": folder, "config": self.plan.params_file},
                tags={"latentese.sweep": self.plan.settings.name},
            ),
            *self._tracking,
        )
        return "ran"

    def findings(self) -> SweepFindings:
        """Read every cell and fit every law; a law that cannot be fitted says why."""
        table = self.table()
        bootstrap = settings(Bootstrap, self.plan.settings.bootstrap, "sweep.bootstrap")
        fits = {name: self._fit(table, fit, bootstrap) for name, fit in self.plan.fits.items()}
        chosen = self.plan.settings
        return SweepFindings(chosen.name, table, self.axes, chosen.loss, chosen.shown, self.plan.fits, fits)

    def table(self) -> pl.DataFrame:
        """One row per cell: its name, whether it was held out, its axes, its compute, its loss and all figures."""
        return pl.DataFrame([self.row(cell) for cell in self.plan.cells], infer_schema_length=None)

    def row(self, cell: Cell) -> dict[str, Any]:
        """Read one cell's row of the table."""
        figures: dict[str, float] = {}
        for name in cell.evaluations:
            artifact = open_artifact(self.cells.folder(cell, name), "evaluation")
            figures |= dict(flat_metrics(json.loads(artifact.file("metrics.json").read_text(encoding="utf-8"))))
        wanted = [self.plan.settings.loss, *self.plan.settings.shown]
        for name in wanted:
            if name not in figures:
                raise SettingError("sweep.loss, sweep.shown", name, f"one of {', '.join(sorted(figures))}")
        axes = {axis: cell.point.get(axis) for axis in self.axes}
        known = {RUN: cell.name, HELD_OUT: cell.held_out, **axes}
        return {**known, "compute": self._compute(cell), LOSS: figures[self.plan.settings.loss], **figures}

    def _fit(self, table: pl.DataFrame, fit: FitSettings, bootstrap: Bootstrap) -> FittedCells | str:
        try:
            return fit_cells(table, fit, self.axes, bootstrap)
        except LatenteseError as error:
            return str(error)

    def _compute(self, cell: Cell) -> float:
        manifest = open_artifact(self.cells.folder(cell, DICTIONARY), "dictionary").manifest
        counts, training = manifest.counts, manifest.settings["training"]
        n_tokens = counts["n_steps"] * training["batch_tokens"] if training else 0
        return training_flops(counts["d_model"], counts["n_units"], n_tokens)

    def _curves(self, cell: Cell) -> list[Curve]:
        """Training curves over tokens."""
        log = read_table(self.cells.folder(cell, DICTIONARY) / "train_log.parquet", TRAIN_LOG)
        curves = []
        for name in CURVES:
            points = log.select("n_tokens", name).drop_nulls().filter(pl.col(name).is_finite())
            if not points.is_empty():
                curves.append(Curve(f"train/{name}", points["n_tokens"].to_list(), points[name].to_list()))
        return curves

    def _keys(self, cell: Cell) -> list[str]:
        return [self.cells.key(cell, artifact) for artifact in (DICTIONARY, *cell.evaluations)]

    def _key(self) -> str:
        """Identity of the sweep: what it says, and what its cells were made from."""
        return sha256_json([asdict(self.plan.settings), [self._keys(cell) for cell in self.plan.cells]])

    def _name(self) -> str:
        return f"sweep {self.plan.settings.name}-{self._key()[:8]}"
