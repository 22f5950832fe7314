"""Planted activations: which direction is in which token, and that the artifact is what `collect` would write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from written_corpus import Written, write_corpus

from latentese.corpus.contexts import Contexts
from latentese.errors import SettingError
from latentese.puzzles.meanings import Meaning
from latentese.puzzles.rules import Rule
from latentese.records import SPLITS
from latentese.stages.plant import BACKGROUND, PlantSettings, coefficients, directions, plant
from latentese.store.shards import Activations

MEANINGS = (
    Meaning("red", "lexical", "red", (Rule("red", 4),)),
    Meaning("cat", "lexical", "cat", (Rule("cat", 3),)),
)
EXACT = PlantSettings(d_model=6, n_background=2, spread=0, noise=0, shard_contexts=3)


@pytest.fixture
def contexts(tmp_path: Path) -> Contexts:
    documents = [
        Written(split, "prose", [[f"{split}{i}", " red", " cat", " hat"], ["cat", " red", f" {split}"]])
        for split in SPLITS
        for i in range(2)
    ]
    return write_corpus(tmp_path / "contexts", documents)


def test_directions_are_unit_vectors_that_the_seed_alone_chooses() -> None:
    planted = directions(2, EXACT)
    assert planted.shape == (4, 6)
    torch.testing.assert_close(planted.norm(dim=1), torch.ones(4))
    assert torch.equal(planted, directions(2, EXACT))
    assert not torch.equal(planted, directions(2, PlantSettings(d_model=6, n_background=2, seed=1)))


def test_coefficients_by_hand(contexts: Contexts) -> None:
    [context] = contexts.get([0])
    coefs = coefficients(context, MEANINGS, EXACT)
    # Position 0 does not count: three rows, for " red", " cat", " hat". Without spread the factor is 1.
    np.testing.assert_array_equal(coefs[:, :2], [[4, 0], [0, 3], [0, 0]])
    assert (np.sort(coefs[:, 2:], axis=1) == [0, BACKGROUND]).all()


def test_spread_changes_how_strongly_and_never_where(contexts: Contexts) -> None:
    [context] = contexts.get([0])
    spread = coefficients(context, MEANINGS, PlantSettings(d_model=6, n_background=2, spread=0.5))
    exact = coefficients(context, MEANINGS, EXACT)
    np.testing.assert_array_equal(spread > 0, exact > 0)
    assert not np.array_equal(spread, exact)


def test_the_artifact_holds_every_counted_token_of_every_split(contexts: Contexts, tmp_path: Path) -> None:
    out = plant(contexts.artifact.path, MEANINGS, EXACT, tmp_path / "activations")
    activations = Activations(out)
    # Per split 2 documents of 3 + 2 counted tokens.
    assert {split: len(activations.rows_of(split)) for split in SPLITS} == dict.fromkeys(SPLITS, 10)
    assert activations.artifact.manifest.inputs["contexts"] == contexts.artifact.sha256
    assert activations.width == 6
    planted = directions(2, EXACT)
    for shard in activations.shards():
        for acts, number, position in zip(shard.acts, shard.context, shard.position, strict=True):
            [context] = contexts.get([number])
            assert context.keep[position]
            row = int(np.count_nonzero(np.asarray(context.keep[:position])))
            coefs = torch.from_numpy(coefficients(context, MEANINGS, EXACT)[row])
            torch.testing.assert_close(acts, coefs @ planted)


def test_noise_and_coefficients_do_not_depend_on_what_comes_before(contexts: Contexts, tmp_path: Path) -> None:
    settings = PlantSettings(d_model=6, n_background=2, shard_contexts=2)
    first = plant(contexts.artifact.path, MEANINGS, settings, tmp_path / "first")
    again = plant(contexts.artifact.path, MEANINGS, settings, tmp_path / "again")
    assert Activations(first).artifact.sha256 == Activations(again).artifact.sha256
    assert torch.equal(Activations(first).read(1).acts, Activations(again).read(1).acts)


@pytest.mark.parametrize(("name", "value"), [("d_model", 0), ("n_background", 0), ("noise", -1.0), ("spread", -0.1)])
def test_impossible_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"planted.plant.{name}="):
        PlantSettings(**{name: value})  # type: ignore[arg-type]
