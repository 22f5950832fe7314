"""What every test shares: this folder's helper modules on the path, and no caches but the test's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
OF_PLANTED_RUN = {f"tests/pipeline/test_pipeline_{name}.py" for name in ("kill", "planted", "together")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run whole pipelines first: begun last, the longest file would leave the other processor idle."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give all files that use the planted run to one worker: another would run the pipeline once more."""
    from xdist.scheduler import LoadFileScheduling

    class ByRun(LoadFileScheduling):  # type: ignore[misc]  # xdist is untyped
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "the planted run" if file in OF_PLANTED_RUN else file

    return ByRun(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(autouse=True, scope="session")
def _offline_hub() -> None:
    """No test asks a model hub for anything."""
    os.environ["HF_HUB_OFFLINE"] = "1"
