"""Training straight from the subject: the cache's tokens without the cache, repeatable from any position."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_stages_tokenize import SETTINGS as CONTEXT_SETTINGS
from test_stages_tokenize import SOURCES, Texts
from tiny_models import make_tiny_llama
from torch import Tensor

from latentese.corpus.contexts import Contexts
from latentese.corpus.source import SourceShare
from latentese.dictionaries import checkpoints
from latentese.dictionaries.token_order import OrderSettings, ShuffledTokens
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.dictionaries.train_state import StepLog
from latentese.errors import ArtifactError, SettingError
from latentese.schemas import TRAIN_LOG
from latentese.stages.collect import collect
from latentese.stages.streaming import StreamedTokens, SubjectTokens
from latentese.stages.tokenize import tokenize
from latentese.stages.train import CachedTokens, Fit, fit_dictionary
from latentese.store.artifact import open_artifact
from latentese.store.shards import Activations
from latentese.store.tables import read_table
from latentese.subject.capture import capture_at
from latentese.subject.model import SubjectChoice
from latentese.subject.settings import CaptureSettings
from latentese.weights.local import LocalModel

HERE = Path(__file__).parent
HOOKPOINT = "layers.0.resid_post"
SHORT = {"a": SourceShare(Texts(tuple(f"The old mill {i}: " + "river 🙂 " * (i % 5) for i in range(300))), 1.0)}
"""Texts that end anywhere in a context."""
CTX_LEN = CONTEXT_SETTINGS.ctx_len
FULL = CTX_LEN - 1
"""Tokens of a context without padding: all but the first position."""
ORDER = OrderSettings(block_tokens=FULL, buffer_tokens=6 * FULL, seed=3)
TRAINING = TrainSettings(
    n_tokens=30 * 64,
    batch_tokens=64,
    lr=3e-3,
    dead_after_tokens=300,
    checkpoint_tokens=7 * 64,
    sample_tokens=10_000,  # more than there are: both sources then take all
    block_tokens=FULL,
    buffer_tokens=6 * FULL,
    seed=3,
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Keep tiny tensors on one thread: on a busy machine, several wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel(make_tiny_llama(tmp_path_factory.mktemp("subject") / "tiny"))


@pytest.fixture(scope="module")
def subject(model: LocalModel) -> SubjectChoice:
    return SubjectChoice(model, "float32", "cpu")


@pytest.fixture(scope="module")
def contexts(model: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """Many of them short."""
    return Contexts(tokenize(SHORT, model, CONTEXT_SETTINGS, tmp_path_factory.mktemp("short") / "contexts"))


@pytest.fixture(scope="module")
def full(model: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """None of them short."""
    return Contexts(tokenize(SOURCES, model, CONTEXT_SETTINGS, tmp_path_factory.mktemp("full") / "contexts"))


def cached(contexts: Contexts, model: LocalModel, folder: Path, batch_contexts: int = 1) -> Activations:
    settings = CaptureSettings(("train",), "float32", batch_contexts, shard_tokens=200)
    return Activations(collect(contexts.artifact.path, model, HOOKPOINT, settings, folder / "activations"))


def streamed(contexts: Contexts, subject: SubjectChoice, batch_contexts: int = 1) -> StreamedTokens:
    return StreamedTokens(capture_at(subject.load(), HOOKPOINT), contexts, ORDER, batch_contexts)


def some(source: Any, batch_tokens: int, start: int, n: int) -> Tensor:
    return torch.cat(list(itertools.islice(source.batches(batch_tokens, start), n)))


def as_set(acts: Tensor) -> list[tuple[float, ...]]:
    return sorted(tuple(row) for row in acts.tolist())


def test_an_epoch_holds_each_row_of_the_cache_once(contexts, subject, model, tmp_path):
    cache, source = cached(contexts, model, tmp_path), streamed(contexts, subject)
    assert source.n_tokens == cache.n_tokens
    assert source.n_tokens % FULL != 0, "some contexts are short"
    expected = as_set(cache.gather(np.arange(cache.n_tokens)))
    first, second = (some(source, 1, epoch * source.n_tokens, source.n_tokens) for epoch in (0, 1))
    assert as_set(first) == as_set(second) == expected
    assert not torch.equal(first, second)


def test_of_full_contexts_the_order_is_that_of_a_cache_in_blocks_of_contexts(full, subject, model, tmp_path):
    assert (full.keep[torch.from_numpy(full.of_split("train"))].sum(dim=1) == FULL).all()
    cache, source = ShuffledTokens(cached(full, model, tmp_path), "train", ORDER), streamed(full, subject)
    assert torch.equal(some(source, 50, 120, 40), some(cache, 50, 120, 40))
    assert torch.equal(source.sample(10_000, seed=1), cache.sample(10_000, seed=1))


@pytest.mark.parametrize("batch_contexts", [1, 4])
@pytest.mark.parametrize("start", [0, 1, 89, 90, 700, 2000])
def test_starting_in_the_middle_gives_what_follows(contexts, subject, start, batch_contexts):
    source = streamed(contexts, subject, batch_contexts)
    whole = some(source, 1, 0, start + 3 * 64)
    assert torch.equal(some(source, 64, start, 3), whole[start:])


def test_how_many_contexts_go_together_changes_rounding_only(contexts, subject):
    one, many = (some(streamed(contexts, subject, n), 64, 0, 10) for n in (1, 5))
    torch.testing.assert_close(one, many)


def test_a_sample_is_of_whole_contexts_repeatable_and_as_large_as_asked(contexts, subject):
    source = streamed(contexts, subject)
    sample = source.sample(100, seed=5)
    assert sample.shape == (100, 16)
    assert torch.equal(sample, source.sample(100, seed=5))
    assert not torch.equal(sample, source.sample(100, seed=6))
    everything = source.sample(10**6, seed=5)
    assert len(everything) == source.n_tokens
    assert set(as_set(sample)) <= set(as_set(everything))


def test_bf16_subjects_give_fp32_batches(contexts, model):
    source = streamed(contexts, SubjectChoice(model, "bfloat16", "cpu"))
    assert next(source.batches(64, 0)).dtype == torch.float32
    assert source.sample(10, 0).dtype == torch.float32


def fit(tokens: Any, **change: Any) -> Fit:
    return Fit(tokens, TopK(16, 32, 2), replace(TRAINING, **change))


def test_weights_are_those_of_training_from_the_cache(full, subject, model, tmp_path):
    cache = CachedTokens(cached(full, model, tmp_path))
    from_cache = fit_dictionary(fit(cache), tmp_path / "cached", lambda _: None)
    streaming = SubjectTokens(full, subject, HOOKPOINT, batch_contexts=1)
    from_subject = fit_dictionary(fit(streaming), tmp_path / "streamed", lambda _: None)
    for name in ("dictionary.safetensors", "train_log.parquet", "cfg.json"):
        assert (from_subject / name).read_bytes() == (from_cache / name).read_bytes()
    kept = open_artifact(from_cache, "dictionary").manifest
    manifest = open_artifact(from_subject, "dictionary").manifest
    assert manifest.inputs == {"contexts": full.artifact.sha256}
    added = {"subject": model.name, "hookpoint": HOOKPOINT, "dtype": "float32", "batch_contexts": 1}
    assert manifest.settings == {**kept.settings, **added}


def test_with_short_contexts_and_larger_batches_it_learns_as_much(contexts, subject, model, tmp_path):
    cache = CachedTokens(cached(contexts, model, tmp_path, batch_contexts=8))
    streaming = SubjectTokens(contexts, subject, HOOKPOINT, batch_contexts=8)
    ends = []
    for name, tokens in {"cached": cache, "streamed": streaming}.items():
        out = fit_dictionary(fit(tokens, n_tokens=120 * 64), tmp_path / name, lambda _: None)
        log = read_table(out / "train_log.parquet", TRAIN_LOG)
        ends.append(log["fvu"][-20:].mean())
        assert ends[-1] < 0.7 * log["fvu"][0]
    assert ends[0] == pytest.approx(ends[1], rel=0.1)


@pytest.mark.parametrize("step", [3, 7, 17, 29])
def test_interrupted_it_goes_on_to_the_same_bytes(contexts, subject, tmp_path, step):
    tokens = SubjectTokens(contexts, subject, HOOKPOINT, batch_contexts=4)
    whole = fit_dictionary(fit(tokens), tmp_path / "whole", lambda _: None)

    def stop(log: StepLog) -> None:
        if log.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_dictionary(fit(tokens), tmp_path / "cut", stop)
    cut = fit_dictionary(fit(tokens), tmp_path / "cut", lambda _: None)
    assert open_artifact(cut, "dictionary").sha256 == open_artifact(whole, "dictionary").sha256
    assert checkpoints.load(cut).d_model == 16


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from test_stages_streaming import HOOKPOINT, fit
from latentese.corpus.contexts import Contexts
from latentese.stages.streaming import SubjectTokens
from latentese.stages.train import fit_dictionary
from latentese.subject.model import SubjectChoice
from latentese.weights.local import LocalModel

def die_at_step(log):
    if log.step == 17:
        os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
contexts, model, out = map(Path, sys.argv[1:])
tokens = SubjectTokens(Contexts(contexts), SubjectChoice(LocalModel(model), "float32", "cpu"), HOOKPOINT, 4)
fit_dictionary(fit(tokens), out, die_at_step)
"""


def test_killed_it_goes_on_to_the_same_bytes(contexts, subject, model, tmp_path):
    path = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    arguments = [str(place) for place in (contexts.artifact.path, model.folder(), tmp_path / "killed")]
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    tokens = SubjectTokens(contexts, subject, HOOKPOINT, batch_contexts=4)
    whole, killed = (fit_dictionary(fit(tokens), tmp_path / name, lambda _: None) for name in ("whole", "killed"))
    assert open_artifact(killed, "dictionary").sha256 == open_artifact(whole, "dictionary").sha256


def fake(contexts: Contexts, value: float) -> StreamedTokens:
    """A subject whose activations are the same everywhere."""

    class Same:
        subject = SimpleNamespace(name="same", device=torch.device("cpu"))
        hookpoint = HOOKPOINT

        def __call__(self, token_ids: Tensor) -> Tensor:
            return torch.full((*token_ids.shape, 16), value)

    return StreamedTokens(Same(), contexts, ORDER, 4)  # type: ignore[arg-type]


def test_nan_and_equal_activations_stop_with_one_line(contexts):
    with pytest.raises(ArtifactError, match=r"read by same at layers\.0\.resid_post: NaN or infinite activations"):
        next(fake(contexts, float("nan")).batches(64, 0))
    with pytest.raises(ArtifactError, match="all sampled activations are equal, so there is nothing to learn"):
        fake(contexts, 0.25).sample(100, 0)


def test_what_cannot_be_streamed_is_refused_before_weights_are_read(contexts, model, tmp_path):
    folder = make_tiny_llama(tmp_path / "other")
    (folder / "model.safetensors").write_bytes(b"reading this would fail")
    other = SubjectChoice(LocalModel(folder), "float32", "cpu")
    with pytest.raises(SettingError, match=r"subject='other@.*the contexts were cut with the tokenizer of tiny@"):
        fit_dictionary(fit(SubjectTokens(contexts, other, HOOKPOINT, 4)), tmp_path / "out", lambda _: None)
    mine = SubjectChoice(model, "float32", "cpu")
    with pytest.raises(SettingError, match=r"hookpoint='layers\.9\.mlp_act' is not allowed"):
        fit_dictionary(fit(SubjectTokens(contexts, mine, "layers.9.mlp_act", 4)), tmp_path / "out", lambda _: None)
    with pytest.raises(SettingError, match=r"dictionary\.d_model=16 is not allowed: 24, the width of"):
        fit_dictionary(fit(SubjectTokens(contexts, mine, "layers.0.mlp_act", 4)), tmp_path / "out", lambda _: None)


def test_contexts_without_train_are_refused(model, tmp_path):
    settings = replace(CONTEXT_SETTINGS, n_tokens={**CONTEXT_SETTINGS.n_tokens, "train": 0})
    bare = Contexts(tokenize(SOURCES, model, settings, tmp_path / "contexts"))
    with pytest.raises(SettingError, match=r"split='train' is not allowed: .* has no context in it"):
        streamed(bare, SubjectChoice(model, "float32", "cpu"))
