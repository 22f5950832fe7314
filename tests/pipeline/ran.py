"""What tests of the pipeline are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from planted_project import Project


@dataclass(frozen=True)
class Ran:
    """The planted project after one run of the flow, with what the run printed."""

    project: Project
    said: str
    params: Any
    """What params.yaml said for it."""
