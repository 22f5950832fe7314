import gc
import itertools
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_artifacts import Planted, ToyText, write_activations, write_contexts

from latentese.dictionaries.token_order import OrderSettings, ShuffledTokens
from latentese.errors import ArtifactError, SettingError
from latentese.store.shards import Activations

ORDER = OrderSettings(block_tokens=7, buffer_tokens=50, seed=4)


@pytest.fixture
def activations(tmp_path: Path) -> Activations:
    """264 train tokens; the second of five shards holds train and explain tokens."""
    return Activations(write_activations(tmp_path / "activations", write_contexts(tmp_path / "contexts")))


def train_rows(activations: Activations) -> torch.Tensor:
    return activations.gather(np.asarray(activations.rows_of("train")))


def sorted_rows(acts: torch.Tensor) -> list[tuple[float, ...]]:
    return sorted(tuple(row) for row in acts.tolist())


def test_an_epoch_holds_each_train_row_once_and_no_other(activations):
    source = ShuffledTokens(activations, "train", ORDER)
    batches = list(itertools.islice(source.batches(24, start=0), 22))  # 264 = 11 * 24: two epochs
    assert all(batch.shape == (24, 16) for batch in batches)
    for epoch in (batches[:11], batches[11:]):
        assert sorted_rows(torch.cat(epoch)) == sorted_rows(train_rows(activations))
    assert not torch.equal(torch.cat(batches[:11]), torch.cat(batches[11:]))


def test_each_epoch_takes_the_blocks_in_a_new_order(activations):
    source = ShuffledTokens(activations, "train", ORDER)
    first, second = (torch.cat(list(itertools.islice(source.batches(1, start), 30))) for start in (0, 264))
    # With the blocks in one order, both would be from the same buffer of 50 rows.
    assert len(set(sorted_rows(first)) | set(sorted_rows(second))) > 50


def test_rows_of_distant_places_meet_in_a_batch(activations):
    source = ShuffledTokens(activations, "train", ORDER)
    numbers = {tuple(row): number for number, row in enumerate(train_rows(activations).tolist())}
    first = [numbers[tuple(row)] for row in next(source.batches(24, start=0)).tolist()]
    assert max(first) - min(first) > 100


@pytest.mark.parametrize("start", [0, 24, 240, 264, 271, 1000])
@pytest.mark.parametrize("batch_tokens", [24, 100, 300])
def test_starting_in_the_middle_gives_what_follows(activations, start, batch_tokens):
    source = ShuffledTokens(activations, "train", ORDER)
    stream = torch.cat(list(itertools.islice(source.batches(1, start=0), 1000 + 3 * 300)))
    later = torch.cat(list(itertools.islice(source.batches(batch_tokens, start=start), 3)))
    assert torch.equal(later, stream[start : start + 3 * batch_tokens])


def test_another_seed_is_another_order(activations):
    one, other = (
        next(ShuffledTokens(activations, "train", OrderSettings(7, 50, seed)).batches(24, start=0)) for seed in (0, 1)
    )
    assert not torch.equal(one, other)


def test_sample_is_rows_of_the_split_and_repeatable(activations):
    source = ShuffledTokens(activations, "train", ORDER)
    sample = source.sample(40, seed=3)
    assert torch.equal(sample, source.sample(40, seed=3))
    assert set(sorted_rows(sample)) < set(sorted_rows(train_rows(activations)))
    assert len(source.sample(10_000, seed=3)) == 264


def test_bf16_caches_come_out_as_fp32(tmp_path):
    contexts = write_contexts(tmp_path / "contexts")
    folder = write_activations(tmp_path / "activations", contexts, Planted(dtype=torch.bfloat16))
    assert next(ShuffledTokens(Activations(folder), "train", ORDER).batches(5, start=0)).dtype == torch.float32


def test_nan_activations_stop_with_one_line(tmp_path):
    contexts = write_contexts(tmp_path / "contexts")
    folder = write_activations(tmp_path / "activations", contexts, Planted(noise=float("nan")))
    with pytest.raises(ArtifactError, match="holds NaN or infinite activations; collect again"):
        next(ShuffledTokens(Activations(folder), "train", ORDER).batches(5, start=0))


def test_a_split_that_was_not_collected_is_refused(tmp_path):
    contexts = write_contexts(tmp_path / "contexts")
    folder = write_activations(tmp_path / "activations", contexts, Planted(splits=("explain", "test")))
    with pytest.raises(
        SettingError, match=r"split='train' is not allowed: .*holds tokens of \['explain', 'test'\] only"
    ):
        ShuffledTokens(Activations(folder), "train", ORDER)


def test_equal_activations_stop_with_one_line(tmp_path):
    contexts = write_contexts(tmp_path / "contexts", text=ToyText(n_vocab=1))
    folder = write_activations(tmp_path / "activations", contexts, Planted(noise=0.0, strength=(1.0, 1.0)))
    with pytest.raises(ArtifactError, match="all sampled activations are equal, so there is nothing to learn"):
        ShuffledTokens(Activations(folder), "train", ORDER).sample(100, seed=0)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"width": 15}, r"shard-00000\.safetensors: holds float32 of width 16, the manifest says float32 of width 15"),
        ({"dtype": "bfloat16"}, r"holds float32 of width 16, the manifest says bfloat16 of width 16; collect again"),
    ],
)
def test_a_shard_that_is_not_what_the_manifest_says_is_refused(activations, counts, message):
    path = activations.artifact.path / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "counts": {**manifest["counts"], **counts}}))
    with pytest.raises(ArtifactError, match=message):
        ShuffledTokens(Activations(activations.artifact.path), "train", ORDER)


def test_a_buffer_is_in_memory_once_and_in_the_caches_dtype(tmp_path, monkeypatch):
    contexts = write_contexts(tmp_path / "contexts")
    folder = write_activations(tmp_path / "activations", contexts, Planted(dtype=torch.bfloat16))
    source = ShuffledTokens(Activations(folder), "train", OrderSettings(8, 64, 0))
    alive: list[weakref.ref[torch.Tensor]] = []
    shuffled = source._shuffled

    def watched(*words: object) -> torch.Tensor:
        gc.collect()
        assert not any(buffer() is not None for buffer in alive), "the buffer before is still there"
        buffer = shuffled(*words)
        assert buffer.dtype == torch.bfloat16
        assert len(buffer) <= 64
        alive.append(weakref.ref(buffer.untyped_storage()))
        return buffer

    monkeypatch.setattr(source, "_shuffled", watched)
    for _ in itertools.islice(source.batches(24, start=0), 30):
        pass
    assert len(alive) > 5
