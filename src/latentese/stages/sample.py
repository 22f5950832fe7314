"""Stage `sample`: encode the contexts and choose each unit's examples."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tqdm import tqdm

from latentese.dictionaries import checkpoints
from latentese.errors import ArtifactError, SettingError
from latentese.examples.sampling import Sampled, Sampler
from latentese.examples.settings import SampleSettings
from latentese.examples.statistics import HISTOGRAM_EDGES
from latentese.examples.stream import SAMPLED_SPLITS, ContextIndex
from latentese.schemas import EXAMPLES, POOL, POOL_CONTEXTS, UNITS
from latentese.store.artifact import Artifact, Draft, open_artifact, open_draft
from latentese.store.shards import Activations
from latentese.store.tables import write_table


def sample(contexts: Path, activations: Path, dictionary: Path, settings: SampleSettings, out: Path) -> Path:
    """Write the examples artifact from one pass over the explain, calibrate, select and test activations."""
    texts, source = open_artifact(contexts, "contexts"), Activations(activations)
    if source.artifact.manifest.inputs.get("contexts") != texts.sha256:
        raise ArtifactError(activations, f"not collected from {contexts}; run the collect stage again")
    encoder = checkpoints.load(dictionary)
    if encoder.d_model != source.width:
        raise SettingError("dictionary.d_model", encoder.d_model, f"{source.width}, the width of {activations}")
    inputs = {"contexts": texts, "activations": source.artifact, "dictionary": open_artifact(dictionary, "dictionary")}
    with open_draft(out, "examples", inputs, asdict(settings)) as draft:
        index = _index_contexts(texts)
        sampler = Sampler(encoder, source, index, settings, draft.path / "work")
        n_tokens = sum(len(source.rows_of(split)) for split in SAMPLED_SPLITS)
        with tqdm(total=n_tokens, unit="tok", unit_scale=True, desc="sample", disable=None) as bar:
            sampled = sampler.run(bar.update)
        _write(sampled, draft)
        draft.publish(_counts(sampled, index))
    return out


def _index_contexts(contexts: Artifact) -> ContextIndex:
    # Two columns only: the tokens' text is most of the table and is not needed here.
    table = pl.read_parquet(contexts.file("contexts.parquet"), columns=["document", "split"])
    splits = table["split"].to_numpy()
    found = {split: np.flatnonzero(splits == split) for split in SAMPLED_SPLITS}
    missing = [split for split, numbers in found.items() if len(numbers) == 0]
    if missing:
        raise SettingError("split", missing[0], f"{contexts.path} has no context in it; add text or change the shares")
    ranges = {split: range(int(numbers[0]), int(numbers[-1]) + 1) for split, numbers in found.items()}
    return ContextIndex(table["document"].to_numpy(), ranges)


def _write(sampled: Sampled, draft: Draft) -> None:
    write_table(sampled.units, UNITS, draft.path / "units.parquet")
    write_table(sampled.examples, EXAMPLES, draft.path / "examples.parquet")
    write_table(sampled.pool, POOL, draft.path / "pool.parquet")
    write_table(sampled.pool_contexts, POOL_CONTEXTS, draft.path / "pool_contexts.parquet")


def _counts(sampled: Sampled, index: ContextIndex) -> dict[str, Any]:
    return {
        "n_units": sampled.units.height,
        "n_live": sampled.units["draw"].count(),
        "histogram_edges": list(HISTOGRAM_EDGES),
        "n_tokens": sampled.n_tokens,
        "n_contexts": {split: len(contexts) for split, contexts in index.splits.items()},
    }
