"""What every test shares: this folder's helper modules on the path, and no caches but the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares fixtures: the tests of a file, and all that use the one run of the planted pipeline.

    Whole pipelines come first: begun last, they would leave the other processor idle.
    """
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)
    for item in items:
        of_ran = "ran" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("ran" if of_ran else item.path.stem))


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(autouse=True, scope="session")
def _offline_hub() -> None:
    """No test asks a model hub for anything."""
    os.environ["HF_HUB_OFFLINE"] = "1"
