from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from latentese.report.terminal import summary

METRICS = {
    "latents": {
        "n_explained": 11,
        "n_studied": 12,
        "n_refined": 4,
        "n_improved": 2,
        "baseline": "token_table",
        "score": {
            "final": {"mean": 0.8, "low": 0.7, "high": 0.9, "n_units": 11},
            "re_explanation": {"n_units": 0},
            "baseline": {"mean": 0.5, "n_units": 1},
        },
        "score_random_only": {"initial": {"mean": 0.3, "low": -0.001, "high": 0.4, "n_units": 5}},
        "gain": {"refinement": {"mean": 0.05, "low": -0.01, "high": 0.1, "n_units": 4}},
        "dictionary": {"reconstruction": {"fvu": 0.2134, "l0": 32.0, "dead_share": 0.121}},
    }
}
TIMINGS = {
    "explain@latents": {"seconds": 100.0, "cpu_seconds": 180.0, "peak_rss_mb": 4000,
                        "lm": {"n_requests": 24, "n_cached": 4, "prompt_tokens": 12_000, "completion_tokens": 300}},
    "train@latents": {"seconds": 50.5, "cpu_seconds": 99.0, "peak_rss_mb": 900, "n_tokens": 400_000},
}  # fmt: skip


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(METRICS))
    return path


def text_of(metrics: Path, timings: dict[str, dict[str, Any]]) -> dict[str, str]:
    """First words of each line and the line, its spaces squeezed."""
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(summary(metrics, timings))
    lines = [line for line in capture.get().splitlines() if line.strip()]
    return {line.strip().split("  ")[0]: " ".join(line.split()) for line in lines}


def test_results_have_their_intervals(metrics: Path) -> None:
    lines = text_of(metrics, {})
    assert lines["units explained"].endswith("11 of 12")
    assert lines["mean score on test, after refinement"].endswith("0.80 [0.70, 0.90]")
    assert lines["gain of refinement"].endswith("+0.05 [-0.01, +0.10]")
    assert lines["fvu"].endswith("0.213")
    assert lines["dead share"].endswith("12.1%")


def test_baseline_and_random_contexts_have_their_rows(metrics: Path) -> None:
    lines = text_of(metrics, {})
    assert lines["token table, read in its own form (baseline)"].endswith("0.50 (no interval)")
    assert lines["first explanations, random contexts only"].endswith(" 0.30 [0.00, 0.40]")
    assert lines["units refined, improved"].endswith("4, 2")


def test_of_the_identity_no_figure_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    reconstruction = {"signed": True, "fvu": 0.0, "l0": 16.0}
    signed = {"neurons": {**METRICS["latents"], "dictionary": {"reconstruction": reconstruction}}}
    path.write_text(json.dumps(signed))
    lines = text_of(path, {})
    assert [lines[name].split()[-1] for name in ("fvu", "L0", "dead share")] == ["-", "-", "-"]


def test_what_the_reconstruction_does_downstream_is_shown_where_it_was_measured(tmp_path: Path, metrics: Path) -> None:
    assert not any(line.startswith(("KL with", "share of the loss")) for line in text_of(metrics, {}))
    path = tmp_path / "with_downstream.json"
    interval = {"value": 0.934, "low": 0.911, "high": 0.951}
    downstream = {"kl": {"reconstruction": {**interval, "value": 0.925}}, "recovered": {"zero": {"value": 0.934}}}
    latents = {**METRICS["latents"], "dictionary": {"downstream": downstream}}
    neurons = {**METRICS["latents"], "dictionary": {"downstream": {"not_measured": "the reconstruction is exact"}}}
    path.write_text(json.dumps({"latents": latents, "neurons": neurons}))
    lines = text_of(path, {})
    assert lines["KL with the reconstruction in the stream, nats"].endswith("nats 0.93 [0.91, 0.95] -")
    assert lines["share of the loss by zero ablation recovered"].endswith("recovered 0.93 (no interval) -")


def test_a_control_without_a_score_says_so_and_one_that_was_not_run_has_no_row(metrics: Path) -> None:
    lines = text_of(metrics, {})
    assert lines["explained again (control)"].endswith("not defined")
    assert not {"over explaining again", "over random texts"} & set(lines)


def test_costs_add_up_and_memory_does_not(metrics: Path) -> None:
    lines = text_of(metrics, TIMINGS)
    assert lines["train@latents"] == "train@latents 50.5 99.0 900 400,000 - -"
    assert lines["explain@latents"] == "explain@latents 100.0 180.0 4,000 - 12,000 / 300 20 / 4"
    assert lines["all"] == "all 150.5 279.0 4,000 - 12,000 / 300 20 / 4"


def test_stages_stand_in_the_order_of_the_pipeline(metrics: Path) -> None:
    lines = list(text_of(metrics, {"zeta": {"seconds": 1}, "tokenize": {"seconds": 1}, **TIMINGS}))
    assert [line for line in lines if line in {"zeta", "tokenize", *TIMINGS}] == [
        "tokenize",
        "train@latents",
        "explain@latents",
        "zeta",
    ]
