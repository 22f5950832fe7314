"""What the configuration says of training reaches the stage: cached or streamed tokens, and who takes part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from flows import train
from flows.config import Params, compose
from latentese.errors import SettingError


def params_of(*overrides: str) -> Params:
    return OmegaConf.to_container(OmegaConf.create(compose(overrides)))  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def _at_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)


def test_a_target_is_fitted_to_its_activations_unless_it_streams() -> None:
    kept = params_of()
    assert kept["targets"]["latents"]["fitted_to"] == "artifacts/activations/layers-12-resid_post"
    assert "train" in kept["hookpoints"]["layers-12-resid_post"]["splits"]
    streamed = params_of("targets.latents.stream=true")
    assert streamed["targets"]["latents"]["fitted_to"] == "artifacts/contexts"
    assert streamed["hookpoints"]["layers-12-resid_post"]["splits"] == ["explain", "calibrate", "select", "test"]


def test_train_activations_are_kept_while_another_target_needs_them() -> None:
    params = params_of(
        "targets.latents.stream=true",
        "targets.neurons.hookpoint=layers.12.resid_post",
        "targets.neurons.splits=[train,explain,calibrate,select,test]",
    )
    assert set(params["hookpoints"]["layers-12-resid_post"]["splits"]) == {
        "train", "explain", "calibrate", "select", "test"
    }  # fmt: skip


class Opened:
    """Stands for an artifact that is opened."""

    def __init__(self, *words: Any) -> None:
        self.words = words


@pytest.mark.parametrize(("stream", "reads"), [(False, "CachedTokens"), (True, "SubjectTokens")])
def test_nothing_is_opened_before_the_stage_runs(monkeypatch: pytest.MonkeyPatch, stream: bool, reads: str) -> None:
    fit = train.prepare(params_of(f"targets.latents.stream={str(stream).lower()}"), "latents")
    monkeypatch.setattr(train, "Activations", Opened)
    monkeypatch.setattr(train, "Contexts", Opened)
    made = fit("nobody else")  # type: ignore[arg-type]
    assert type(made.tokens).__name__ == reads
    assert made.processes == "nobody else"
    assert made.dictionary.d_model == 576


def test_the_stream_reads_as_collect_would(monkeypatch: pytest.MonkeyPatch) -> None:
    params = params_of("targets.latents.stream=true", "capture.dtype=float32", "capture.batch_contexts=7")
    monkeypatch.setattr(train, "Contexts", Opened)
    tokens: Any = train.streamed_tokens(params, "latents")()
    assert tokens.contexts.words == (Path("artifacts/contexts"),)
    assert (tokens.hookpoint, tokens.batch_contexts) == ("layers.12.resid_post", 7)
    assert (tokens.subject.dtype, tokens.subject.device) == ("float32", "cpu")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.divide=both", r"training\.divide='both' is not allowed: one of \['tokens', 'latents'\]"),
        ("training.clip_norm=-1", r"training\.clip_norm=-1 is not allowed"),
        ("targets.latents.splits=[explain,select,test]", r"targets\.latents\.splits=.* it needs train"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        train.prepare(params_of(override), "latents")
