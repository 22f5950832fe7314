"""A cascade in MLflow: one run of what was found, with the figures of its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flows.cascade import Cascades, publish
from latentese.errors import LatenteseError, SettingError
from latentese.metrics.intervals import Interval
from latentese.report.cascade import Agreement, CascadeFindings, TargetCascade, write_page

PAIR = ["token_activation", "embedding"]


def params_of(page: Path) -> dict[str, Any]:
    settings = {"explainer": "token_activation", "cheap": [PAIR], "n_units": 4, "n_contexts": None, "share": 0.2}
    return {
        "cascade": {"simulator": "table", "settings": settings, "page": str(page), "bootstrap": {"n_boot": 10}},
        "simulators": {"table": {"_target_": "latentese.simulators.token_table.TokenTableSimulator"}},
        "targets": {"toy": {"hookpoint": "layers.0.resid_post"}},
        "tracking": {"uri": f"sqlite:///{page.parent}/mlflow.db", "experiment": "toys"},
    }


def findings(cheap: float) -> CascadeFindings:
    ways = [
        Agreement("cheap", "cheap scores", 0, Interval(cheap, 0.1, 0.9)),
        Agreement("cascade", "the cascade", 80, Interval(0.8, None, None)),
    ]
    return CascadeFindings("command", ["about"], [TargetCascade("toy", 4, 1, 400, 0.75, ways)])


def test_mlflow_has_the_figures_of_the_page_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    page = tmp_path / "cascade.md"
    params = params_of(page)
    write_page(findings(0.5), page)
    run_id = publish(findings(0.5), params)
    client = MlflowClient(params["tracking"]["uri"])
    run = client.get_run(run_id)
    assert run.data.metrics == {
        "toy/cascade/n_units": 4,
        "toy/cascade/n_failed": 1,
        "toy/cascade/full_prompt_tokens": 400,
        "toy/cascade/ceiling": 0.75,
        "toy/cascade/cheap/prompt_tokens": 0,
        "toy/cascade/cheap/spearman/value": 0.5,
        "toy/cascade/cheap/spearman/low": 0.1,
        "toy/cascade/cheap/spearman/high": 0.9,
        "toy/cascade/cascade/prompt_tokens": 80,
        "toy/cascade/cascade/spearman/value": 0.8,
    }
    assert run.data.params["cascade.settings.share"] == "0.2"
    assert [file.path for file in client.list_artifacts(run_id, "cascade")] == ["cascade/cascade.md"]
    told = json.loads(page.with_suffix(".json").read_text())["targets"]["toy"]
    assert told["cheap"]["spearman"]["value"] == run.data.metrics["toy/cascade/cheap/spearman/value"]
    assert publish(findings(0.5), params) == run_id, "the same findings are the same run"
    assert publish(findings(0.6), params) != run_id


def test_what_cannot_be_ranked_is_said_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = params_of(tmp_path / "cascade.md")
    with pytest.raises(LatenteseError, match="run `dvc repro score` first"):
        Cascades(params)
    params["cascade"]["simulator"] = "nobody"
    with pytest.raises(SettingError, match=r"cascade\.simulator='nobody'.*table"):
        Cascades(params)
