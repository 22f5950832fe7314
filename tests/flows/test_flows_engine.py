"""How the flow runs stages: at most so many at a time, each with its share of the cores."""

from __future__ import annotations

import pytest

from flows.config import settings
from flows.pipeline import Engine, stage_environment
from latentese.errors import LatenteseError


def test_a_stage_gets_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert stage_environment(threads=1)["OMP_NUM_THREADS"] == "1"
    assert stage_environment(threads=None)["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize("wrong", [{"max_workers": 0}, {"max_workers": 1.5}, {"max_workers": 1, "threads": 0}])
def test_a_wrong_engine_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(LatenteseError, match=r"engine\.(max_workers|threads)=.* is not allowed"):
        settings(Engine, wrong, "engine")
