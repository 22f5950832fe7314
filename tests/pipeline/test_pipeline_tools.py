"""What a change of a setting reruns, what it restores, and how a mistake ends: the same through every door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ran import Ran

pytestmark = [pytest.mark.pipeline, pytest.mark.packaged]


def stages_said(said: str, verdict: str) -> set[str]:
    """Stages of which DVC said that it runs or skips them."""
    start, end = {"ran": ("Running stage '", "':"), "unchanged": ("Stage '", "' didn't change")}[verdict]
    return {line.split(start)[1].split(end)[0] for line in said.splitlines() if start in line and end in line}


@pytest.fixture
def restored_params(ran: Ran) -> None:
    """Start from the planted experiment's parameters and results."""
    ran.project.python("flows.params", "experiment=planted")
    ran.project.dvc("repro")


@pytest.fixture
def _params_come_back(ran: Ran) -> Iterator[None]:
    """Put params.yaml back as it was."""
    file = ran.project.root / "params.yaml"
    before = file.read_bytes()
    yield
    file.write_bytes(before)


@pytest.mark.usefixtures("restored_params")
def test_another_explainer_does_not_retrain(ran: Ran) -> None:
    ran.project.python("flows.params", "experiment=planted", "explainers.token_table.n_named=3")
    said = ran.project.dvc("repro")
    assert stages_said(said, "ran") >= {"explain@latents", "explain@neurons", "report"}
    assert {"tokenize", "train@latents", "sample@latents", "evaluate@latents"} <= stages_said(said, "unchanged")


@pytest.mark.usefixtures("restored_params")
def test_experiment_with_another_k_reruns_from_train_on_and_mlflow_shows_both(ran: Ran) -> None:
    said = ran.project.dvc("exp", "run", "-n", "k3", "-S", "experiment=planted", "-S", "dictionary.k=3")
    assert stages_said(said, "ran") >= {"train@latents", "sample@latents", "explain@latents", "report", "publish"}
    untouched = {"tokenize", "collect@layers-0-resid_post", "train@neurons", "explain@neurons"}
    assert untouched <= stages_said(said, "unchanged")
    runs = pipeline_runs(ran)
    assert {"2", "3"} <= {run.data.params["dictionary.k"] for run in runs}
    assert len({run.data.tags["latentese.key"] for run in runs}) == len(runs)


@pytest.mark.usefixtures("restored_params")
def test_going_back_restores_without_running(ran: Ran) -> None:
    ran.project.python("flows.pipeline", "experiment=planted", "dictionary.k=4")
    n_runs = len(pipeline_runs(ran))
    said = ran.project.python("flows.pipeline", "experiment=planted")
    assert "'train@latents' - Finished in state Restored" in said
    assert "'sample@latents' - Finished in state Restored" in said
    assert len(pipeline_runs(ran)) == n_runs


@pytest.mark.usefixtures("restored_params")
def test_edit_in_conf_is_never_ignored(ran: Ran) -> None:
    file = ran.project.root / "conf" / "report" / "default.yaml"
    before = file.read_text()
    file.write_text(before + "\n# an edit\n")
    try:
        said = ran.project.dvc("repro", code=255)
        assert "error: conf/ changed after params.yaml was composed: run `make params`" in said
        ran.project.python("flows.params", "experiment=planted")
        assert "Running stage 'check'" in ran.project.dvc("repro")
    finally:
        file.write_text(before)


@pytest.mark.parametrize(
    ("stage", "override", "line"),
    [
        ("params", "training.batch_size=3", "configuration: Could not override 'training.batch_size'"),
        ("check", "targets.latents.hookpoint=layers.0.pre", "hookpoint='layers.0.pre' is not allowed: layers.<0..1>."),
        ("check", "dictionary.k=99", "is not allowed: "),
        ("check", "subject.path=/nowhere", "/nowhere: no model here (config.json is missing)"),
        ("check", "+training.batch_size=3", "training.batch_size=3 is not allowed: unknown key; known are n_tokens, "),
        ("check", "report.primary_simulator=me", "report.primary_simulator='me' is not allowed: one of embedding, "),
        (
            "check",
            "report.primary_simulator=embedding",
            "='embedding' is not allowed: token_table, refinement.simulator",
        ),
        ("tokenize", "contexts.ctx_len=9999", "ctx_len=9999 is not allowed: at most 64"),
        ("tokenize", "corpus.folder.source.path=/nowhere", "/nowhere"),
    ],
)
@pytest.mark.usefixtures("_params_come_back")
def test_mistake_stops_with_one_line_before_work(ran: Ran, stage: str, override: str, line: str) -> None:
    said = ran.project.python("flows.params", "experiment=planted", override, code=2 if stage == "params" else 0)
    if stage != "params":
        said = ran.project.python(f"flows.{stage}", code=2)
    (error,) = [found for found in said.splitlines() if found.startswith("error: ")]
    assert line in error
    assert "Traceback" not in said
    assert (ran.project.root / "artifacts/contexts/manifest.json").is_file(), "what was computed stays"


@pytest.mark.usefixtures("_params_come_back")
def test_mistake_is_one_line_in_the_flow_too(ran: Ran) -> None:
    said = ran.project.python("flows.pipeline", "experiment=planted", "dictionary.k=99", code=2)
    assert "Traceback" not in said
    assert any(found.startswith("error: check: ") and "99" in found for found in said.splitlines())
    assert "Finished in state Failed(" in said
    assert (ran.project.root / "artifacts/targets/latents/dictionary/manifest.json").is_file()


def test_corrupt_shard_stops_in_one_line(ran: Ran, tmp_path: Path) -> None:
    shard = next((ran.project.root / "artifacts/activations/layers-0-resid_post").glob("shard-*.safetensors"))
    whole = shard.read_bytes()
    try:
        shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        said = ran.project.python("flows.train", "latents", code=2)
        assert f"error: artifacts/activations/layers-0-resid_post/{shard.name}: corrupt" in said
    finally:
        shard.write_bytes(whole)


def pipeline_runs(ran: Ran) -> list:  # type: ignore[type-arg]
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{ran.project.root}/tracking/mlflow.db")
    return list(client.search_runs([client.get_experiment_by_name("latentese").experiment_id]))
