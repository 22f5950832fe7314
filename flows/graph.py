"""DVC's own graph: which stages there are, what each waits for, and what is stale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from latentese.errors import LatenteseError


@dataclass(frozen=True)
class Graph:
    """The stages in an order that respects dependencies."""

    upstream: Mapping[str, tuple[str, ...]]
    """Stage name to the stages it waits for; iterates in topological order."""
    stale: frozenset[str]
    """Stages that DVC would run or restore now, were nothing upstream of them to change."""


def read_graph() -> Graph:
    """Read dvc.yaml of the current directory with the parameters of params.yaml."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            graph = repo.index.graph
            by_name = {stage.addressing: stage for stage in graph}
            needs = {name: sorted(other.addressing for other in graph.successors(by_name[name])) for name in by_name}
            with repo.lock:
                stale = frozenset(name for name, stage in by_name.items() if _is_stale(stage))
    except DvcException as error:
        raise LatenteseError(f"dvc.yaml: {' '.join(str(error).split())}") from error
    order = TopologicalSorter(dict(sorted(needs.items()))).static_order()
    return Graph({name: tuple(needs[name]) for name in order}, stale)


def _is_stale(stage: Any) -> bool:
    """Whether DVC would run the stage; one that another process is running counts as stale, and its task waits."""
    from dvc.lock import LockError

    try:
        return bool(stage.changed())
    except LockError:
        return True
