"""One toy study and its report for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_report import Toy, build_toy

from latentese.report.inputs import ReportSettings
from latentese.stages.report import report

SETTINGS = ReportSettings(
    primary_simulator="similarity", primary_explainer="token_activation", title="Toy <study>", n_boot=200
)
HOOKPOINTS = {"latents": "layers.12.resid_post", "neurons": "layers.4.mlp_act"}


@pytest.fixture(scope="session")
def settings() -> ReportSettings:
    return SETTINGS


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return build_toy(tmp_path_factory.mktemp("toy_study"))


@pytest.fixture(scope="session")
def published(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the toy study's report."""
    return report(toy.contexts, toy.targets, SETTINGS, tmp_path_factory.mktemp("reports") / "run", HOOKPOINTS)
