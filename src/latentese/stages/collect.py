"""Stage `collect`: run the subject up to the hookpoint, never past it, and keep its activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from latentese.corpus.contexts import Contexts
from latentese.errors import SettingError
from latentese.records import SPLITS
from latentese.store.artifact import open_draft
from latentese.store.shards import shard_name, write_shard
from latentese.subject.capture import Capture, capture_at
from latentese.subject.hookpoints import hookpoint_width
from latentese.subject.model import load_subject
from latentese.subject.settings import CaptureSettings
from latentese.subject.shape import read_shape
from latentese.weights.devices import definite_dtype
from latentese.weights.source import ModelSource


def collect(contexts: Path, subject: ModelSource, hookpoint: str, settings: CaptureSettings, out: Path) -> Path:
    """Write the activations artifact of one hookpoint, shard by shard; an interrupted run goes on at the next shard.

    Counts: n_tokens, width, dtype, n_shards, shard_rows (rows of each shard), and rows {split: [start, stop]}, the
    range of each split's rows over all shards.
    Raises SettingError for an unknown hookpoint, contexts of another subject or longer than the model's, before the
    weights are loaded.
    """
    reader = Contexts(contexts)
    width = check_contexts(reader, subject, hookpoint)
    settings = replace(settings, dtype=definite_dtype(settings.dtype, settings.device))
    described = {
        **asdict(settings),
        "splits": _in_order(settings.splits),
        "hookpoint": hookpoint,
        "subject": subject.name,
    }
    with open_draft(out, "activations", {"contexts": reader.artifact}, described) as draft:
        plan = plan_shards(reader, settings)
        paths = [draft.path / shard_name(i) for i in range(len(plan))]
        n_tokens = sum(shard.n_tokens for shard in plan)
        n_done = sum(shard.n_tokens for shard, path in zip(plan, paths, strict=True) if path.is_file())
        if n_done < n_tokens:
            capture = capture_at(load_subject(subject, settings.dtype, settings.device), hookpoint)
            with tqdm(total=n_tokens, initial=n_done, desc=f"collect {hookpoint}", unit="tok", unit_scale=True) as bar:
                for shard, path in zip(plan, paths, strict=True):
                    if not path.is_file():
                        write_shard(_read_shard(reader, shard, capture, width, bar), path)
        draft.publish(
            {
                "n_tokens": n_tokens,
                "width": width,
                "dtype": settings.dtype,
                "n_shards": len(plan),
                "shard_rows": [shard.n_tokens for shard in plan],
                "rows": _rows_of_splits(reader, settings.splits),
            }
        )
    return out


@dataclass(frozen=True)
class ShardPlan:
    """Which contexts a shard holds, batch by batch.

    Planned before anything runs: what a batch holds changes the last bits of a matrix product, so a resumed run must
    cut the same batches as an undisturbed one.
    """

    batches: tuple[np.ndarray, ...]
    n_tokens: int


def plan_shards(contexts: Contexts, settings: CaptureSettings) -> list[ShardPlan]:
    """Cut the contexts of the chosen splits into batches, and the batches into shards."""
    numbers = np.concatenate([contexts.of_split(split) for split in _in_order(settings.splits)])
    shards: list[ShardPlan] = []
    batches: list[np.ndarray] = []
    n_tokens = 0
    for batch, n in _sized_batches(contexts, numbers, settings.batch_contexts):
        if batches and n_tokens + n > settings.shard_tokens:
            shards.append(ShardPlan(tuple(batches), n_tokens))
            batches, n_tokens = [], 0
        batches.append(batch)
        n_tokens += n
    return [*shards, ShardPlan(tuple(batches), n_tokens)] if batches else shards


def check_contexts(contexts: Contexts, subject: ModelSource, hookpoint: str) -> int:
    """Refuse contexts that the subject cannot read, or a hookpoint it has not; return the width of the activations."""
    shape = read_shape(subject.folder())
    width = hookpoint_width(shape, hookpoint)
    if contexts.ctx_len > shape.max_ctx_len:
        raise SettingError("ctx_len", contexts.ctx_len, f"at most {shape.max_ctx_len}, the longest of {subject.name}")
    cut_for = contexts.artifact.manifest.settings.get("subject")
    if cut_for != subject.name:
        raise SettingError("subject", subject.name, f"the contexts were cut with the tokenizer of {cut_for}")
    return width


def _in_order(splits: Sequence[str]) -> list[Any]:
    """Put the chosen splits in the order in which contexts are numbered."""
    return [split for split in SPLITS if split in splits]


def _sized_batches(contexts: Contexts, numbers: np.ndarray, n: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield runs of `n` contexts with how many of their positions count."""
    n_counted = contexts.keep.sum(dim=1).numpy()
    for start in range(0, len(numbers), n):
        batch = numbers[start : start + n]
        yield batch, int(n_counted[batch].sum())


def _read_shard(
    contexts: Contexts, shard: ShardPlan, capture: Capture, width: int, bar: Any
) -> dict[str, torch.Tensor]:
    """Activations of a shard's counted positions, in context order."""
    tensors: dict[str, torch.Tensor] = {}
    end = 0
    for batch in shard.batches:
        rows = torch.from_numpy(batch)
        keep = contexts.keep[rows].bool()
        acts = capture(contexts.token_ids[rows])[keep.to(capture.subject.device)].cpu()
        if not tensors:
            # Filled in place: a list of batches and their concatenation would hold the shard twice.
            tensors["acts"] = torch.empty(shard.n_tokens, width, dtype=acts.dtype)
            tensors["context"] = torch.empty(shard.n_tokens, dtype=torch.int32)
            tensors["position"] = torch.empty(shard.n_tokens, dtype=torch.int16)
        row, position = keep.nonzero(as_tuple=True)
        start, end = end, end + len(acts)
        tensors["acts"][start:end] = acts
        tensors["context"][start:end] = rows[row]
        tensors["position"][start:end] = position
        bar.update(len(acts))
    return tensors


def _rows_of_splits(contexts: Contexts, splits: Sequence[str]) -> dict[str, list[int]]:
    """Return [start, stop] of each split over all shards: contexts, and so rows, are in the order of splits."""
    ranges: dict[str, list[int]] = {}
    start = 0
    for split in _in_order(splits):
        n_tokens = int(contexts.keep[torch.from_numpy(contexts.of_split(split))].sum())
        ranges[split] = [start, start + n_tokens]
        start += n_tokens
    return ranges
