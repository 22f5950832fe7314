"""A sweep as a plan: which dictionaries are trained on which activations, and which of them in one pass.

conf/sweep/<name>.yaml says what varies; this module multiplies it out. Nothing is built or run here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import polars as pl

from flows.config import Params, settings
from flows.paths import SWEEPS
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import LatenteseError, SettingError
from latentese.metrics.laws import law_over
from latentese.metrics.scaling import check_inputs
from latentese.metrics.sweeps import FitSettings
from latentese.store.files import canonical_json

Point = Mapping[str, Any]
"""Value of each axis: source, dictionary, and any setting of a dictionary or of training."""

ACTIVE = ("k", "target_l0")
"""An axis `k` sets the first of these that a dictionary has: both say how many latents fire per token."""


@dataclass(frozen=True)
class Source:
    """Where activations come from: the pipeline under some overrides, or two artifacts that are there."""

    overrides: tuple[str, ...] = ()
    """Hydra overrides beside the command's, such as another hookpoint; with any, the pipeline runs in a copy."""
    contexts: str | None = None
    activations: str | None = None
    """Folders of artifacts to read as they are."""


@dataclass(frozen=True)
class SweepSettings:
    """What conf/sweep/*.yaml says."""

    name: str
    """Names the folders of cells and results, and the run in MLflow."""
    target: str
    """Whose hookpoint's activations are read."""
    dictionaries: Mapping[str, Mapping[str, Any]]
    """Specs by name, as in conf/dictionary/."""
    training: Mapping[str, Any]
    evaluations: Mapping[str, Mapping[str, Any]]
    """Specs by name, as in conf/evaluation/: what is measured on cells."""
    grids: tuple[Mapping[str, Any], ...]
    """Cells are the products of each grid's lists, each cell once. An axis sets every setting of its name."""
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"here": {}})
    measured_on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By evaluation, which cells it is measured on: those that match a pattern; all where none is given."""
    held_out: tuple[Mapping[str, Any], ...] = ()
    """Cells that match one of these are trained and measured, and used in no fit."""
    per_pass: int = 8
    """Dictionaries that are trained side by side at most: all their weights and optimisers are in memory."""
    loss: str = "reconstruction/fvu"
    """The figure that laws are fitted to."""
    shown: tuple[str, ...] = ("reconstruction/l0", "reconstruction/dead_share")
    """Other figures that the table of results shows."""
    fits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    bootstrap: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", self.name):
            raise SettingError("sweep.name", self.name, "letters, digits, _ and -, after a letter")
        if self.per_pass < 1:
            raise SettingError("sweep.per_pass", self.per_pass, "at least 1")


@dataclass(frozen=True)
class Cell:
    """One dictionary of a sweep."""

    name: str
    """Names its folder: its dictionary and axes, such as `topk,n_latents=512,k=16,n_tokens=400000,seed=0`."""
    point: Point
    dictionary: Mapping[str, Any]
    """Its spec."""
    training: Mapping[str, Any]
    evaluations: tuple[str, ...]
    """What is measured on it."""
    held_out: bool

    @property
    def source(self) -> str:
        """Whose activations it reads."""
        return str(self.point["source"])


@dataclass(frozen=True)
class Pass:
    """Cells that are trained side by side on the same tokens."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def source(self) -> str:
        """Whose activations it reads."""
        return self.cells[0].source


@dataclass(frozen=True)
class Plan:
    """A sweep, multiplied out."""

    settings: SweepSettings
    sources: Mapping[str, Source]
    fits: Mapping[str, FitSettings]
    cells: tuple[Cell, ...]
    passes: tuple[Pass, ...]

    @property
    def folder(self) -> Path:
        """Where its cells are, one folder each."""
        return SWEEPS / self.settings.name

    @property
    def params_file(self) -> Path:
        """The composed configuration that it was made from."""
        return self.folder / "params.yaml"


def plan_sweep(params: Params) -> Plan:
    """Read `sweep` of a composed configuration; raises SettingError for what cannot be meant."""
    chosen = settings(SweepSettings, params["sweep"], "sweep")
    if chosen.target not in params["targets"]:
        raise SettingError("sweep.target", chosen.target, f"one of {', '.join(params['targets'])}")
    sources = {name: settings(Source, spec, f"sweep.sources.{name}") for name, spec in chosen.sources.items()}
    for name, source in sources.items():
        if (source.contexts is None) != (source.activations is None):
            raise SettingError(
                f"sweep.sources.{name}", dict(chosen.sources[name]), "contexts and activations, or neither"
            )
    fits = {name: settings(FitSettings, spec, f"sweep.fits.{name}") for name, spec in chosen.fits.items()}
    cells = tuple({point_name(point, sources): _cell(point, chosen) for point in _points(chosen)}.values())
    _check_patterns(chosen, cells)
    _check_fits(fits, cells)
    return Plan(chosen, sources, fits, cells, tuple(_passes(cells, chosen)))


def matches(point: Point, pattern: Mapping[str, Any]) -> bool:
    """Whether a point has every value of a pattern; a list in the pattern allows each of its values."""
    return all(
        point.get(axis) in (value if isinstance(value, list | tuple) else [value]) for axis, value in pattern.items()
    )


def point_name(point: Point, sources: Mapping[str, Any]) -> str:
    """Name a cell by its axes; the source is left out where there is one only."""
    axes = [f"{axis}={value}" for axis, value in point.items() if axis not in ("source", "dictionary")]
    return ",".join([*([point["source"]] if len(sources) > 1 else []), point["dictionary"], *axes])


def _points(chosen: SweepSettings) -> Iterator[Point]:
    for number, grid in enumerate(chosen.grids):
        defaults = {"source": list(chosen.sources)[:1], "dictionary": list(chosen.dictionaries)[:1]}
        axes = {**defaults, **{axis: value if isinstance(value, list) else [value] for axis, value in grid.items()}}
        for axis, allowed in (("source", chosen.sources), ("dictionary", chosen.dictionaries)):
            for value in set(axes[axis]) - set(allowed):
                raise SettingError(f"sweep.grids[{number}].{axis}", value, f"one of {', '.join(allowed)}")
        for values in itertools.product(*axes.values()):
            yield dict(zip(axes, values, strict=True))


def _cell(point: Point, chosen: SweepSettings) -> Cell:
    spec = dict(chosen.dictionaries[point["dictionary"]])
    training = dict(chosen.training)
    for axis, value in point.items():
        if axis in ("source", "dictionary"):
            continue
        key = next((key for key in ACTIVE if key in spec), axis) if axis == "k" else axis
        if key not in spec and key not in training:
            known = sorted({*spec, *training} - {"_target_"})
            raise SettingError(f"sweep.grids.{axis}", value, f"an axis of {point['dictionary']}: {', '.join(known)}")
        for group in (spec, training):
            if key in group:
                group[key] = value
    held_out = any(matches(point, pattern) for pattern in chosen.held_out)
    measured = tuple(name for name in chosen.evaluations if matches(point, chosen.measured_on.get(name, {})))
    return Cell(point_name(point, chosen.sources), point, spec, training, measured, held_out)


def _passes(cells: Sequence[Cell], chosen: SweepSettings) -> Iterator[Pass]:
    """Cells of one source under the same training settings, in parts of at most `per_pass`."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(canonical_json([cell.source, cell.training]), []).append(cell)
    known = {key.name for key in fields(TrainSettings)}
    for group in groups.values():
        shared = {axis: value for axis, value in group[0].point.items() if axis in known}
        parts = [group[start : start + chosen.per_pass] for start in range(0, len(group), chosen.per_pass)]
        for number, part in enumerate(parts, 1):
            words = [group[0].source] if len(chosen.sources) > 1 else []
            words += [f"{axis}={value}" for axis, value in shared.items()]
            words += [f"part={number}"] if len(parts) > 1 else []
            yield Pass(",".join(words) or "all", tuple(part))


def _check_distinct(cells: Sequence[Cell]) -> None:
    """Refuse one dictionary under two names: fitted under one, held out under the other, it would foretell itself."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        twin = seen.setdefault(canonical_json([cell.source, cell.dictionary, cell.training]), cell)
        if twin is not cell:
            allowed = f"another dictionary than {twin.name} (an axis in another place, or left at its default?)"
            raise SettingError("sweep.grids", cell.name, allowed)


def _check_patterns(chosen: SweepSettings, cells: Sequence[Cell]) -> None:
    """Refuse an empty sweep, and patterns that match nothing: a misspelt one would hold nothing out, silently."""
    for name in set(chosen.measured_on) - set(chosen.evaluations):
        raise SettingError(f"sweep.measured_on.{name}", chosen.measured_on[name], f"of {', '.join(chosen.evaluations)}")
    if not cells:
        raise SettingError("sweep.grids", list(chosen.grids), "at least one grid with a value on every axis")
    _check_distinct(cells)
    for number, pattern in enumerate(chosen.held_out):
        if not any(matches(cell.point, pattern) for cell in cells):
            raise SettingError(f"sweep.held_out[{number}]", dict(pattern), "a pattern that matches some cell")


def _check_fits(fits: Mapping[str, FitSettings], cells: Sequence[Cell]) -> None:
    """Refuse laws that their cells could not tell, before any is trained."""
    rows = [{**cell.point, "compute": _relative_compute(cell)} for cell in cells if not cell.held_out]
    for name, fit in fits.items():
        chosen = [row for row in rows if matches(row, fit.where)]
        for axis in fit.over:
            if not all(axis in row for row in chosen):
                raise SettingError(f"sweep.fits.{name}.over", axis, "compute, or an axis of all its cells")
        columns = {axis: [float(row[axis]) for row in chosen] for axis in fit.over}
        try:
            check_inputs(law_over(fit.over, fit.irreducible), pl.DataFrame(columns))
        except LatenteseError as error:
            raise LatenteseError(f"sweep.fits.{name}: {error}") from error


def _relative_compute(cell: Cell) -> float:
    """Latents times training tokens: compute, but for the width of the activations."""
    return float(cell.dictionary.get("n_latents", 1) * cell.training["n_tokens"])
