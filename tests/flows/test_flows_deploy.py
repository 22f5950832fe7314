"""What the Prefect UI is offered: the pipeline with its overrides, refused early when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import deploy
from flows.deploy import deployment_options
from latentese.errors import LatenteseError, SettingError


@pytest.fixture(autouse=True)
def in_the_project(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)


def test_a_deployment_carries_its_overrides_and_schedule() -> None:
    options = deployment_options("--cron", "0 3 * * *", "dictionary.k=64", "study=nightly")
    assert options["cron"] == "0 3 * * *"
    assert options["parameters"]["overrides"] == ["dictionary.k=64", "study=nightly"]
    assert options["limit"] == 1  # two runs would write the same artifacts


def test_without_a_schedule_runs_wait_for_a_person() -> None:
    assert deployment_options()["cron"] is None


def test_a_wrong_schedule_is_refused() -> None:
    with pytest.raises(SettingError, match=r"--cron='every night' is not allowed"):
        deployment_options("--cron", "every night")


def test_overrides_that_do_not_compose_are_refused_before_anything_is_served() -> None:
    with pytest.raises(LatenteseError, match=r"dictionary\.kk"):
        deployment_options("dictionary.kk=64")


def test_without_a_server_there_is_nothing_to_serve_to(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(LatenteseError, match="make ui"),
    ):
        deploy.main()
