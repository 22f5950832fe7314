"""What every test shares: this folder's helper modules on the path, and no caches but the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run whole pipelines first: begun last, the longest file would leave the other processor idle."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(autouse=True, scope="session")
def _offline_hub() -> None:
    """No test asks a model hub for anything."""
    os.environ["HF_HUB_OFFLINE"] = "1"
