"""Small valid artifacts with planted activations: what the stages read, without a language model or text.

Token `t` of the vocabulary adds the planted direction `t % n_planted` to the activation at its position, so what a
unit responds to is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
import torch

from latentese.records import SPLITS
from latentese.schemas import CONTEXTS, DOCUMENTS
from latentese.store.artifact import open_artifact, open_draft
from latentese.store.shards import shard_name, write_shard
from latentese.store.tables import write_table

N_CONTEXTS: Mapping[str, int] = {"train": 40, "explain": 40, "calibrate": 8, "select": 16, "test": 16}
SOURCES = ("prose", "code")


@dataclass(frozen=True)
class ToyText:
    """Size of the toy corpus."""

    ctx_len: int = 8
    n_vocab: int = 24
    contexts_per_document: int = 2
    short_every: int = 5
    """Every so many contexts, one is short: its last two positions are padding."""
    seed: int = 0
    subject: str = "toy"
    """Name of the model whose tokenizer cut it."""
    own_tokens: bool = False
    """Whether each source has its own half of the vocabulary: prose the lower one, code the upper one."""


@dataclass(frozen=True)
class Planted:
    """How activations follow from tokens."""

    width: int = 16
    n_planted: int = 12
    noise: float = 0.01
    strength: tuple[float, float] = (0.5, 1.5)
    dtype: torch.dtype = torch.float32
    shard_contexts: int = 25
    splits: tuple[str, ...] = SPLITS
    seed: int = 1

    def directions(self) -> torch.Tensor:
        """Unit directions [n_planted, width]."""
        rows = torch.randn(self.n_planted, self.width, generator=torch.Generator().manual_seed(self.seed))
        return rows / rows.norm(dim=1, keepdim=True)

    def acts(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Activations [n_tokens, width] of tokens [n_tokens]: a strength each, plus noise."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        low, high = self.strength
        strength = low + (high - low) * torch.rand(len(token_ids), 1, generator=generator)
        noise = self.noise * torch.randn(len(token_ids), self.width, generator=generator)
        return (strength * self.directions()[token_ids.long() % self.n_planted] + noise).to(self.dtype)


def write_contexts(out: Path, n_contexts: Mapping[str, int] = N_CONTEXTS, text: ToyText | None = None) -> Path:
    """Write a contexts artifact of random tokens; returns its folder."""
    text = text or ToyText()
    splits = [split for split in SPLITS for _ in range(n_contexts.get(split, 0))]
    token_ids = np.random.default_rng(text.seed).integers(0, text.n_vocab, (len(splits), text.ctx_len)).astype(np.int32)
    documents = _documents(splits, text.contexts_per_document)
    if text.own_tokens:
        half = text.n_vocab // 2
        token_ids = token_ids % half + half * (np.array(documents) % 2)[:, None].astype(np.int32)
    keep = np.ones_like(token_ids, dtype=np.uint8)
    keep[:, 0] = 0
    keep[:: text.short_every, -2:] = 0
    real = keep.astype(bool) | (np.arange(text.ctx_len) == 0)
    pieces = [
        [f" w{token}" if is_real else "" for token, is_real in zip(*row, strict=True)]
        for row in zip(token_ids.tolist(), real.tolist(), strict=True)
    ]
    sources = [SOURCES[document % len(SOURCES)] for document in documents]
    table = pl.DataFrame(
        {"context": range(len(splits)), "document": documents, "source": sources, "split": splits, "tokens": pieces},
        schema=CONTEXTS,
    )
    with open_draft(out, "contexts", {}, {"toy": text.seed, "subject": text.subject}) as draft:
        write_shard(
            {"token_ids": torch.from_numpy(token_ids), "keep": torch.from_numpy(keep)},
            draft.path / "contexts.safetensors",
        )
        write_table(table, CONTEXTS, draft.path / "contexts.parquet")
        write_table(_document_table(table), DOCUMENTS, draft.path / "documents.parquet")
        draft.publish(_context_counts(table, keep))
    return out


def _documents(splits: list[str], contexts_per_document: int) -> list[int]:
    """Number of each context's document: consecutive contexts of one split."""
    documents: list[int] = []
    run = 0
    for index, split in enumerate(splits):
        starts = index == 0 or splits[index - 1] != split or run == contexts_per_document
        run = 1 if starts else run + 1
        documents.append((documents[-1] + 1 if documents else 0) if starts else documents[-1])
    return documents


def _document_table(contexts: pl.DataFrame) -> pl.DataFrame:
    rows = contexts.group_by("document", maintain_order=True).agg(pl.col("source", "split").first())
    numbers = rows["document"].to_list()
    return rows.with_columns(
        title=pl.Series([f"document {number}" for number in numbers]),
        sha256=pl.Series([sha256(str(number).encode()).hexdigest() for number in numbers]),
    ).select(DOCUMENTS.names())


def _context_counts(table: pl.DataFrame, keep: np.ndarray) -> dict[str, object]:
    counts: dict[str, object] = {"n_contexts": table.height, "ctx_len": keep.shape[1], "n_tokens": int(keep.sum())}
    splits = {}
    for (split,), rows in table.group_by("split", maintain_order=True):
        numbers = rows["context"].to_numpy()
        splits[split] = {
            "first_context": int(numbers[0]), "n_contexts": rows.height, "n_tokens": int(keep[numbers].sum()),
            "n_documents": rows["document"].n_unique(),
        }  # fmt: skip
    return counts | {"splits": splits, "sources": dict.fromkeys(SOURCES, 0), "n_duplicates": 0}


def write_activations(out: Path, contexts: Path, planted: Planted | None = None) -> Path:
    """Write an activations artifact over toy contexts; returns its folder."""
    planted = planted or Planted()
    source = open_artifact(contexts, "contexts")
    table = pl.read_parquet(source.file("contexts.parquet")).filter(pl.col("split").is_in(planted.splits))
    token_ids, keep = _read_tokens(source.file("contexts.safetensors"))
    numbers = table["context"].to_numpy()
    settings = {
        "width": planted.width, "seed": planted.seed, "splits": list(planted.splits),
        "hookpoint": "layers.0.resid_post", "subject": "toy",
    }  # fmt: skip
    with open_draft(out, "activations", {"contexts": source}, settings) as draft:
        shard_rows = []
        for shard, start in enumerate(range(0, len(numbers), planted.shard_contexts)):
            chosen = numbers[start : start + planted.shard_contexts]
            context, position = np.nonzero(keep[chosen])
            rows = {
                "acts": planted.acts(torch.from_numpy(token_ids[chosen][context, position])),
                "context": torch.from_numpy(chosen[context].astype(np.int32)),
                "position": torch.from_numpy(position.astype(np.int16)),
            }
            write_shard(rows, draft.path / shard_name(shard))
            shard_rows.append(len(context))
        draft.publish(_activation_counts(planted, shard_rows, table, keep))
    return out


def _activation_counts(
    planted: Planted, shard_rows: list[int], table: pl.DataFrame, keep: np.ndarray
) -> dict[str, object]:
    rows, start = {}, 0
    for split in SPLITS:
        stop = start + int(keep[table.filter(split=split)["context"].to_numpy()].sum())
        rows[split], start = [start, stop], stop
    return {
        "n_tokens": sum(shard_rows), "width": planted.width, "dtype": str(planted.dtype).removeprefix("torch."),
        "n_shards": len(shard_rows), "shard_rows": shard_rows, "rows": rows,
    }  # fmt: skip


def _read_tokens(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from safetensors.numpy import load_file

    tensors = load_file(path)
    return tensors["token_ids"], tensors["keep"]
