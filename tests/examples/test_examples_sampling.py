"""The whole pass on toy artifacts, against a dense computation of the same things."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor
from toy_artifacts import N_CONTEXTS, Planted, write_activations, write_contexts

from latentese.errors import ArtifactError, SettingError
from latentese.examples.sampling import Sampled, Sampler
from latentese.examples.settings import SampleSettings
from latentese.examples.stream import SAMPLED_SPLITS, ContextIndex
from latentese.store.shards import Activations

SETTINGS = SampleSettings(
    n_top=4,
    n_quantile=1,
    n_random=3,
    n_near_miss=2,
    n_pool_contexts=10,
    min_documents=2,
    batch_contexts=6,
    quantile=0.9,
)


class Pairs(NamedTuple):
    values: Tensor
    indices: Tensor


class PlantedEncoder:
    """Unit i is the planted direction i: it fires where its projection is above .4."""

    signed = False

    def __init__(self, planted: Planted) -> None:
        self.directions = planted.directions()
        self.n_units = planted.n_planted

    def pre_acts(self, acts: Tensor) -> Tensor:
        return acts @ self.directions.t() - 0.4

    def encode_with_pre_acts(self, acts: Tensor) -> tuple[Pairs, Tensor]:
        pre_acts = self.pre_acts(acts)
        values, indices = pre_acts.relu().topk(3, dim=1)
        return Pairs(values, indices), pre_acts


class SignedEncoder(PlantedEncoder):
    signed = True

    def encode_with_pre_acts(self, acts: Tensor) -> tuple[Pairs, Tensor]:
        pre_acts = self.pre_acts(acts)
        return Pairs(pre_acts, torch.arange(self.n_units).expand(len(acts), -1)), pre_acts


class World(NamedTuple):
    contexts: Path
    activations: Activations
    index: ContextIndex
    encoder: PlantedEncoder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    contexts = write_contexts(folder / "contexts")
    activations = Activations(write_activations(folder / "activations", contexts))
    return World(contexts, activations, index_of(contexts), PlantedEncoder(Planted()))


def index_of(contexts: Path) -> ContextIndex:
    table = pl.read_parquet(contexts / "contexts.parquet")
    ranges = {split: table.filter(split=split)["context"] for split in SAMPLED_SPLITS}
    return ContextIndex(
        table["document"].to_numpy(), {split: range(rows[0], rows[-1] + 1) for split, rows in ranges.items()}
    )


def run(world: World, scratch: Path, settings: SampleSettings = SETTINGS) -> Sampled:
    return Sampler(world.encoder, world.activations, world.index, settings, scratch).run(lambda _: None)


def dense_acts(world: World) -> np.ndarray:
    """Activations [n_contexts, ctx_len, n_units] of every context, by the plain definition; 0 where silent."""
    keep = load_file(world.contexts / "contexts.safetensors")["keep"].astype(bool)
    acts = torch.cat([shard.acts for shard in world.activations.shards()])
    encoded, _ = world.encoder.encode_with_pre_acts(acts)
    dense = torch.zeros(len(acts), world.encoder.n_units).scatter(1, encoded.indices, encoded.values)
    grid = np.zeros((*keep.shape, world.encoder.n_units), dtype=np.float32)
    grid[keep] = dense.numpy()
    return grid


def test_examples_carry_the_activations_of_their_context(world, tmp_path):
    sampled, grid = run(world, tmp_path), dense_acts(world)
    for row in sampled.examples.iter_rows(named=True):
        expected = grid[row["context"], :, row["unit"]]
        assert row["positions"] == np.flatnonzero(expected).tolist()
        np.testing.assert_allclose(row["acts"], expected[expected > 0], rtol=1e-5)
        assert row["max_act"] == pytest.approx(expected.max(), rel=1e-5)


def test_top_examples_are_the_largest_of_their_split(world, tmp_path):
    sampled, grid = run(world, tmp_path), dense_acts(world)
    for (unit, split), rows in sampled.examples.filter(kind="top").group_by("unit", "split"):
        maxima = grid[list(world.index.splits[split]), :, unit].max(axis=1)
        largest = np.sort(maxima[maxima > 0])[::-1][: SETTINGS.n_top]
        np.testing.assert_allclose(rows["max_act"].to_numpy(), largest, rtol=1e-5)


def test_statistics_are_those_of_the_explain_documents(world, tmp_path):
    units, grid = run(world, tmp_path).units, dense_acts(world)
    acts = grid[list(world.index.splits["explain"])]
    documents = world.index.document[list(world.index.splits["explain"])]
    n_tokens = len(world.activations.rows_of("explain"))
    assert units["n_fires"].to_list() == (acts > 0).sum(axis=(0, 1)).tolist()
    np.testing.assert_allclose(units["density"], (acts > 0).sum(axis=(0, 1)) / n_tokens)
    np.testing.assert_allclose(units["max_act"], acts.max(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(units["mean_act"], acts.sum(axis=(0, 1)) / (acts > 0).sum(axis=(0, 1)), rtol=1e-5)
    fired = [len(set(documents[(acts[:, :, unit] > 0).any(axis=1)])) for unit in range(world.encoder.n_units)]
    assert units["n_documents"].to_list() == fired
    assert [sum(counts) for counts in units["histogram"]] == units["n_fires"].to_list()


def test_splits_and_kinds_keep_contexts_apart(world, tmp_path):
    examples = run(world, tmp_path).examples
    assert examples.select("unit", "context").is_unique().all()
    for split in SAMPLED_SPLITS:
        rows = examples.filter(split=split)
        assert rows["context"].is_in(list(world.index.splits[split])).all()
        assert rows.filter(kind="random").group_by("unit").len()["len"].max() <= SETTINGS.n_random
    assert examples.filter(pl.col("kind").is_in(["near_miss"]))["max_act"].max() == 0.0
    assert examples.filter(pl.col("kind").is_in(["top", "quantile"]))["max_act"].min() > 0.0


def test_near_misses_are_the_silent_contexts_closest_to_firing(world, tmp_path):
    examples, grid = run(world, tmp_path).examples, dense_acts(world)
    acts = torch.cat([shard.acts for shard in world.activations.shards()])
    context = np.concatenate([shard.context for shard in world.activations.shards()])
    pre_acts = pl.DataFrame(world.encoder.pre_acts(acts).numpy()).with_columns(context=pl.Series(context))
    for (unit,), rows in examples.filter(kind="near_miss", split="test").group_by("unit"):
        maxima = pre_acts.group_by("context").agg(pl.col(f"column_{unit}").max().alias("near"))
        silent = [number for number in world.index.splits["test"] if grid[number, :, unit].max() == 0]
        expected = maxima.filter(pl.col("context").is_in(silent)).sort("near", descending=True)["context"]
        assert rows["context"].to_list() == expected.to_list()[: SETTINGS.n_near_miss]


def test_the_pool_holds_every_firing_of_its_contexts(world, tmp_path):
    sampled, grid = run(world, tmp_path), dense_acts(world)
    pool_contexts = sampled.pool_contexts["context"].to_list()
    assert len(pool_contexts) == 10
    assert set(pool_contexts) <= set(world.index.splits["explain"])
    assert sampled.pool["acts"].list.len().sum() == (grid[pool_contexts] > 0).sum()


@pytest.mark.parametrize("batch_contexts", [1, 7, 100])
def test_the_batch_size_does_not_matter(world, tmp_path, batch_contexts):
    one, other = (
        run(world, tmp_path, replace(SETTINGS, batch_contexts=size))
        for size in (SETTINGS.batch_contexts, batch_contexts)
    )
    columns = ["unit", "context", "split", "kind", "band", "positions"]
    assert one.examples.select(columns).equals(other.examples.select(columns))
    assert one.units.drop("mean_act", "max_act").equals(other.units.drop("mean_act", "max_act"))


def test_signed_units_fire_above_their_quantile_and_above_0(world, tmp_path):
    signed = world._replace(encoder=SignedEncoder(Planted()))
    sampled = run(signed, tmp_path)
    acts = signed.encoder.pre_acts(world.activations.gather(np.asarray(world.activations.rows_of("explain"))))
    n_tokens = len(acts)
    ranked = acts.sort(dim=0).values[int(np.ceil(0.9 * n_tokens)) - 1].clamp_min(0)
    np.testing.assert_allclose(sampled.units["threshold"], ranked, rtol=1e-6)
    assert sampled.units["n_fires"].to_list() == (acts > ranked).sum(dim=0).tolist()
    assert sampled.units["density"].max() <= 0.1
    assert sampled.examples["acts"].explode().drop_nulls().min() > 0


def test_memory_of_the_choice_does_not_grow_with_the_tokens(tmp_path):
    """Four times the text: as many examples and pool contexts per unit."""
    sizes = []
    for factor in (1, 4):
        contexts = write_contexts(tmp_path / f"c{factor}", {split: factor * n for split, n in N_CONTEXTS.items()})
        activations = Activations(write_activations(tmp_path / f"a{factor}", contexts))
        found = run(World(contexts, activations, index_of(contexts), PlantedEncoder(Planted())), tmp_path / "scratch")
        assert found.pool_contexts.height == 10
        sizes.append(found.examples.group_by("unit", "split").len()["len"].max())
    assert sizes[0] == sizes[1] == 4 + 5 + 3 + 2


def test_when_all_are_dead_it_stops_with_one_line(world, tmp_path):
    with pytest.raises(SettingError, match=r"examples.min_documents=1000 is not allowed: fewer: no unit fires"):
        run(world, tmp_path, replace(SETTINGS, min_documents=1000))


def test_nan_activations_stop_with_one_line(tmp_path):
    contexts = write_contexts(tmp_path / "contexts")
    activations = Activations(write_activations(tmp_path / "activations", contexts, Planted(noise=float("nan"))))
    with pytest.raises(ArtifactError, match="holds NaN or infinite activations"):
        run(World(contexts, activations, index_of(contexts), PlantedEncoder(Planted())), tmp_path / "scratch")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_top": -1}, r"examples.n_top=-1"),
        ({"bands": [0.0, 0.5]}, r"examples.bands=\[0.0, 0.5\] is not allowed: rising from 0 to 1"),
        ({"quantile": 1.0}, r"examples.quantile=1.0"),
        ({"reservoir": 0}, r"examples.reservoir=0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(SettingError, match=message):
        replace(SETTINGS, **change)


def test_scattered_documents_are_refused():
    with pytest.raises(ValueError, match="must follow one another"):
        ContextIndex(np.array([0, 1, 0]), {})
