"""Where a sweep's activations are: in this checkout, in a copy of it with other settings, or given as artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flows.config import Params, read_yaml
from flows.paths import ACTIVATIONS, CONTEXTS, PARAMS
from flows.plan import Plan

COPIES = Path(".scratch/sources")


@dataclass(frozen=True)
class Place:
    """Where one source's artifacts are, and which configuration they are made under."""

    params: Path
    contexts: Path
    activations: Path

    def read_params(self) -> Params:
        """Read that configuration: it names the subject."""
        return read_yaml(self.params)


def place_of(plan: Plan, source: str) -> Place:
    """Say where a source's artifacts are, once they are there."""
    spec = plan.sources[source]
    if spec.contexts and spec.activations:
        return Place(plan.params_file, Path(spec.contexts), Path(spec.activations))
    root = copy_of(plan, source) if spec.overrides else Path()
    params = root / PARAMS if spec.overrides else plan.params_file
    slug = str(read_yaml(params)["targets"][plan.settings.target]["activations"])
    return Place(params, root / CONTEXTS, root / ACTIVATIONS / slug)


def copy_of(plan: Plan, source: str) -> Path:
    """Folder of the copy of the project in which a source's pipeline runs."""
    return COPIES / plan.settings.name / source
