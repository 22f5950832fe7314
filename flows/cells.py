"""Train and measure the cells of one pass: what `flows.sweep` starts as a child.

python -m flows.cells SWEEP PASS

What is done is not done again: a kill at any moment loses what came after the last checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from flows.config import build, build_once, read_yaml, settings
from flows.entry import run
from flows.hydra_plugins.latentese_resolvers import NO_FILES, local_files
from flows.keys import code_of, is_done, mark_done, module_of
from flows.paths import SWEEPS
from flows.places import Place, place_of
from flows.plan import Cell, Pass, Plan, plan_sweep
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import ArtifactError, SettingError
from latentese.store.artifact import MANIFEST
from latentese.store.files import sha256_file, sha256_json

DICTIONARY = "dictionary"


@dataclass(frozen=True)
class Cells:
    """The cells of a sweep on disk, and what each was made from."""

    plan: Plan

    def folder(self, cell: Cell, artifact: str) -> Path:
        """Folder of a cell's dictionary, or of one of its evaluations."""
        return self.plan.folder / cell.name / artifact

    def key(self, cell: Cell, artifact: str) -> str:
        """Hash of everything that a cell's dictionary, or one of its evaluations, depends on."""
        if artifact == DICTIONARY:
            code = code_of("latentese.stages.cells", module_of(cell.dictionary["_target_"]))
            files = _files_of(cell.dictionary)
            return sha256_json([self._activations[cell.source], cell.dictionary, cell.training, code, *files])
        spec = self.plan.settings.evaluations[artifact]
        code = code_of("latentese.stages.evaluate", module_of(spec["_target_"]))
        return sha256_json([self.key(cell, DICTIONARY), self._subjects[cell.source], spec, code, *_files_of(spec)])

    def is_missing(self, cell: Cell, artifact: str) -> bool:
        """Whether it has to be made."""
        return not is_done(self.folder(cell, artifact), self.key(cell, artifact))

    def missing(self, cell: Cell) -> list[str]:
        """Name what a cell lacks: its dictionary, evaluations."""
        return [artifact for artifact in (DICTIONARY, *cell.evaluations) if self.is_missing(cell, artifact)]

    def mark(self, cell: Cell, artifact: str) -> None:
        """Note that it is there."""
        mark_done(self.folder(cell, artifact), self.key(cell, artifact))

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """Where each source's artifacts are."""
        return {source: place_of(self.plan, source) for source in self.plan.sources}

    @cached_property
    def _activations(self) -> Mapping[str, str]:
        """Identity of each source's activations."""
        return {source: _identity(place.activations) for source, place in self.places.items()}

    @cached_property
    def _subjects(self) -> Mapping[str, Any]:
        """What is said of each source's subject."""
        all_params = {source: place.read_params() for source, place in self.places.items()}
        return {
            source: [
                params["subject"],
                params["subject_files"],
                params["capture"]["dtype"],
                params["capture"]["device"],
            ]
            for source, params in all_params.items()
        }


def _files_of(spec: Mapping[str, Any]) -> list[str]:
    """Stamp of the local files that a spec names, such as labels or a checkpoint; nothing where it names none."""
    stamp = local_files(OmegaConf.create(dict(spec)))
    return [] if stamp == NO_FILES else [stamp]


def _identity(artifact: Path) -> str:
    if not (artifact / MANIFEST).is_file():
        raise ArtifactError(artifact / MANIFEST, "missing, so there is no artifact here; see sweep.sources")
    return sha256_file(artifact / MANIFEST)


def train_pass(cells: Cells, one: Pass) -> None:
    """Train what is not trained of a pass, side by side."""
    from latentese.stages.cells import train_cells

    missing = {cell.name: cell for cell in one.cells if cells.is_missing(cell, DICTIONARY)}
    if not missing:
        return
    training = settings(TrainSettings, one.cells[0].training, "sweep.training")
    activations = cells.places[one.source].activations
    dictionaries = {name: build_dictionary(cell, activations) for name, cell in missing.items()}
    train_cells(
        activations, dictionaries, training, cells.plan.folder, lambda name: cells.mark(missing[name], DICTIONARY)
    )


def measure(cells: Cells, cell: Cell) -> None:
    """Measure what is not measured of a cell: each evaluation is an artifact of its own."""
    from latentese.stages.evaluate import evaluate
    from latentese.subject.model import SubjectChoice

    place = cells.places[cell.source]
    for name in cell.evaluations:
        if cells.is_missing(cell, name):
            params = place.read_params()
            subject = SubjectChoice(
                build_once(params["subject"], "subject"), params["capture"]["dtype"], params["capture"]["device"]
            )
            evaluation = build_once(cells.plan.settings.evaluations[name], f"sweep.evaluations.{name}")
            dictionary, out = cells.folder(cell, DICTIONARY), cells.folder(cell, name)
            evaluate(place.contexts, place.activations, dictionary, subject, {name: evaluation}, out)
            cells.mark(cell, name)


def build_dictionary(cell: Cell, activations: Path) -> Any:
    """Build a cell's dictionary at the width of the activations."""
    manifest = json.loads((activations / MANIFEST).read_text(encoding="utf-8"))  # train_cells checks all of it, once
    return build(cell.dictionary, cell.name, d_model=manifest["counts"]["width"])


def main(sweep: str, pass_name: str) -> None:
    """Bring the cells of one pass up to date."""
    cells = Cells(plan_sweep(read_yaml(SWEEPS / sweep / "params.yaml")))
    named = {one.name: one for one in cells.plan.passes}
    if pass_name not in named:
        raise SettingError("pass", pass_name, f"one of {'; '.join(named)}")
    train_pass(cells, named[pass_name])
    for cell in named[pass_name].cells:
        measure(cells, cell)


if __name__ == "__main__":
    run(main)
