"""Plant directions of known meaning in the place of activations: real text, whose units can be told from it.

    acts = coefs @ directions + noise

A token on which a meaning fires has its direction with the activation of the rule, times a factor; every token has one
of some background directions, drawn at random, so that no token is nothing. Where `collect` would run a
subject, this writes the same artifact, and all stages behind it are the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from latentese.corpus.contexts import Contexts
from latentese.errors import SettingError
from latentese.puzzles.meanings import Meaning
from latentese.puzzles.rules import activations
from latentese.records import SPLITS, Context
from latentese.store.artifact import open_draft
from latentese.store.shards import shard_name, write_shard

BACKGROUND = 2.0
"""Activation of background directions, before the factor; rules fire with up to about 10."""


@dataclass(frozen=True)
class PlantSettings:
    """How meanings are mixed."""

    d_model: int = 64
    n_background: int = 8
    """Directions that stand for nothing known."""
    spread: float = 0.3
    """Standard deviation of the logarithm of the factor: how much two occurrences differ."""
    noise: float = 0.1
    """Standard deviation, per coordinate, of what no direction explains."""
    shard_contexts: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("d_model", "n_background", "shard_contexts"):
            if getattr(self, name) < 1:
                raise SettingError(f"planted.plant.{name}", getattr(self, name), "at least 1")
        for name in ("spread", "noise"):
            if not getattr(self, name) >= 0:
                raise SettingError(f"planted.plant.{name}", getattr(self, name), "at least 0")


def directions(n_meanings: int, settings: PlantSettings) -> Tensor:
    """Draw unit directions [n_meanings + n_background, d_model], those of meanings first; uniform on the sphere."""
    shape = (n_meanings + settings.n_background, settings.d_model)
    rows = np.random.default_rng([settings.seed]).standard_normal(shape)
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float()


def plant(contexts: Path, meanings: Sequence[Meaning], settings: PlantSettings, out: Path) -> Path:
    """Write an activations artifact of all splits, as `collect` does, from the contexts' text alone."""
    reader = Contexts(contexts)
    planted = directions(len(meanings), settings)
    described = {
        **asdict(settings),
        "hookpoint": "planted",
        "subject": "none",
        "meanings": [asdict(meaning) for meaning in meanings],
    }
    starts = range(0, reader.n_contexts, settings.shard_contexts)
    shard_rows = []
    with open_draft(out, "activations", {"contexts": reader.artifact}, described) as draft:
        for shard, start in enumerate(tqdm(starts, desc="plant", unit="shard", disable=None)):
            numbers = range(start, min(start + settings.shard_contexts, reader.n_contexts))
            tensors = _shard(reader.get(numbers), meanings, planted, settings)
            write_shard(tensors, draft.path / shard_name(shard))
            shard_rows.append(len(tensors["acts"]))
        draft.publish(
            {
                "n_tokens": sum(shard_rows),
                "width": settings.d_model,
                "dtype": "float32",
                "n_shards": len(shard_rows),
                "shard_rows": shard_rows,
                "rows": dict(_rows_of_splits(reader)),
            }
        )
    return out


def coefficients(context: Context, meanings: Sequence[Meaning], settings: PlantSettings) -> np.ndarray:
    """How strongly each direction is in each counted token [n_counted, n_directions], float32.

    A pure function of the context, its number and the settings.
    """
    keep = np.asarray(context.keep)
    coefs = np.zeros((len(keep), len(meanings) + settings.n_background), dtype=np.float32)
    for column, meaning in enumerate(meanings):
        coefs[:, column] = activations(context.tokens, meaning.fires)
    rng = np.random.default_rng([settings.seed, 1, context.context])
    drawn = len(meanings) + rng.integers(settings.n_background, size=len(keep))
    coefs[np.arange(len(keep)), drawn] = BACKGROUND
    factors = np.exp(settings.spread * rng.standard_normal(coefs.shape, dtype=np.float32))
    return np.asarray((coefs * factors)[keep])


def _shard(
    contexts: Sequence[Context], meanings: Sequence[Meaning], planted: Tensor, settings: PlantSettings
) -> dict[str, Tensor]:
    coefs = torch.from_numpy(np.concatenate([coefficients(context, meanings, settings) for context in contexts]))
    rng = np.random.default_rng([settings.seed, 2, contexts[0].context])
    noise = torch.from_numpy(rng.standard_normal((len(coefs), settings.d_model), dtype=np.float32))
    counted = [np.flatnonzero(context.keep) for context in contexts]
    numbers = np.repeat([context.context for context in contexts], [len(positions) for positions in counted])
    return {
        "acts": coefs @ planted + settings.noise * noise,
        "context": torch.from_numpy(numbers.astype(np.int32)),
        "position": torch.from_numpy(np.concatenate(counted).astype(np.int16)),
    }


def _rows_of_splits(contexts: Contexts) -> Iterator[tuple[str, list[int]]]:
    start = 0
    for split in SPLITS:
        n_tokens = int(contexts.keep[torch.from_numpy(contexts.of_split(split))].sum())
        yield split, [start, start + n_tokens]
        start += n_tokens
