"""The contexts artifact: windows of documents, numbered in the order of splits, written as they come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import torch
from safetensors import safe_open

from latentese.corpus.cutting import Window
from latentese.corpus.selection import DocumentRef
from latentese.records import Context, Split
from latentese.schemas import CONTEXTS, DOCUMENTS
from latentese.store.artifact import Artifact, open_artifact
from latentese.store.tables import read_table, write_table
from latentese.store.tensors import TensorSpec, write_tensors

TENSORS, TABLE, DOCUMENT_TABLE = "contexts.safetensors", "contexts.parquet", "documents.parquet"
ROWS_AT_ONCE = 4096


class Contexts:
    """Reader of a published contexts artifact.

    Counts in its manifest: n_contexts, ctx_len, n_tokens (counted positions), splits {split: {first_context,
    n_contexts, n_tokens, n_documents}}, sources {source: {n_documents, n_tokens {split: ...}, missing {split: ...}}},
    n_duplicates, n_short.
    """

    def __init__(self, path: Path) -> None:
        self.artifact: Artifact = open_artifact(path, "contexts")
        with safe_open(self.artifact.file(TENSORS), framework="pt") as file:
            self.token_ids: torch.Tensor = file.get_tensor("token_ids")  # [n_contexts, ctx_len] int32, memory-mapped
            self.keep: torch.Tensor = file.get_tensor("keep")  # [n_contexts, ctx_len] uint8: which positions count
        self.n_contexts, self.ctx_len = self.token_ids.shape

    @cached_property
    def table(self) -> pl.DataFrame:
        """One row per context (`schemas.CONTEXTS`), row i being context i."""
        return read_table(self.artifact.file(TABLE), CONTEXTS)

    @cached_property
    def documents(self) -> pl.DataFrame:
        """One row per document (`schemas.DOCUMENTS`)."""
        return read_table(self.artifact.file(DOCUMENT_TABLE), DOCUMENTS)

    def of_split(self, split: Split) -> np.ndarray:
        """Numbers of the contexts of one split: a contiguous range, empty when the artifact has none."""
        counts = self.artifact.manifest.counts["splits"].get(split)
        first, n = (counts["first_context"], counts["n_contexts"]) if counts else (0, 0)
        return np.arange(first, first + n, dtype=np.int32)

    def get(self, contexts: Sequence[int] | np.ndarray) -> list[Context]:
        """Return the records of some contexts, in the order asked for."""
        numbers = [int(context) for context in contexts]
        keeps = self.keep[numbers].bool().tolist()
        rows = self.table[numbers].iter_rows(named=True)
        return [
            Context(
                context=row["context"],
                tokens=tuple(row["tokens"]),
                keep=tuple(keep),
                document=row["document"],
                source=row["source"],
                split=row["split"],
            )
            for row, keep in zip(rows, keeps, strict=True)
        ]


@dataclass
class _Rows:
    """Columns of the table rows that are not on disk yet."""

    rows: list[tuple[int, int, str, str, list[str]]]
    n_written: int = 0


class ContextsWriter:
    """Writes windows as they come, in raw files and table parts; `finish` joins them into the artifact's files."""

    def __init__(self, folder: Path, work: Path, ctx_len: int, pad_id: int) -> None:
        self.folder, self.work = folder, work
        self.ctx_len, self.pad_id = ctx_len, pad_id
        self.n_contexts = 0
        self.documents: list[tuple[int, str, str, str, str]] = []
        self.splits: dict[str, dict[str, int]] = {}
        self.source_tokens: dict[str, dict[str, int]] = defaultdict(dict)
        self._rows = _Rows([])
        self._token_ids: BinaryIO = (work / "token_ids").open("wb")
        self._keep: BinaryIO = (work / "keep").open("wb")

    def add(self, ref: DocumentRef, windows: Sequence[Window]) -> int:
        """Append a document's windows and return how many positions of them count; splits come one after another."""
        document = len(self.documents)
        self.documents.append((document, ref.source, ref.title, ref.split, ref.sha256))
        n_tokens = sum(self._add_window(ref, document, window) for window in windows)
        first = {"first_context": self.n_contexts - len(windows), "n_contexts": 0, "n_tokens": 0, "n_documents": 0}
        split = self.splits.setdefault(ref.split, first)
        split["n_contexts"] += len(windows)
        split["n_tokens"] += n_tokens
        split["n_documents"] += 1
        per_split = self.source_tokens[ref.source]
        per_split[ref.split] = per_split.get(ref.split, 0) + n_tokens
        return n_tokens

    def close(self) -> None:
        """Close the raw files."""
        self._token_ids.close()
        self._keep.close()

    def finish(self) -> dict[str, Any]:
        """Write the artifact's three files and return their counts; nothing can be added afterwards."""
        self._write_rows()
        self.close()
        shape = (self.n_contexts, self.ctx_len)
        specs = {"token_ids": TensorSpec(torch.int32, shape), "keep": TensorSpec(torch.uint8, shape)}
        write_tensors(specs, self._pieces(), self.folder / TENSORS)
        parts = [pl.read_parquet(self.work / f"table-{i:05d}") for i in range(self._rows.n_written)]
        write_table(pl.concat(parts, rechunk=True), CONTEXTS, self.folder / TABLE)
        documents = pl.DataFrame(self.documents, schema=DOCUMENTS, orient="row")
        write_table(documents, DOCUMENTS, self.folder / DOCUMENT_TABLE)
        n_tokens = sum(split["n_tokens"] for split in self.splits.values())
        return {"n_contexts": self.n_contexts, "ctx_len": self.ctx_len, "n_tokens": n_tokens, "splits": self.splits}

    def _add_window(self, ref: DocumentRef, document: int, window: Window) -> int:
        n_pad = self.ctx_len - len(window.token_ids)
        # Position 0 counts nowhere: it attends to itself alone, and its activations are outliers.
        keep = [0] + [1] * (len(window.token_ids) - 1) + [0] * n_pad
        self._token_ids.write(np.array([*window.token_ids, *[self.pad_id] * n_pad], dtype="<i4").tobytes())
        self._keep.write(bytes(keep))
        tokens = [*window.pieces, *[""] * n_pad]
        self._rows.rows.append((self.n_contexts, document, ref.source, ref.split, tokens))
        self.n_contexts += 1
        if len(self._rows.rows) == ROWS_AT_ONCE:
            self._write_rows()
        return sum(keep)

    def _write_rows(self) -> None:
        table = pl.DataFrame(self._rows.rows, schema=CONTEXTS, orient="row")
        table.write_parquet(self.work / f"table-{self._rows.n_written:05d}")
        self._rows = _Rows([], self._rows.n_written + 1)

    def _pieces(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Read the raw files, some rows at a time."""
        for name, dtype in (("token_ids", np.dtype("<i4")), ("keep", np.dtype(np.uint8))):
            n_bytes = ROWS_AT_ONCE * self.ctx_len * dtype.itemsize
            with (self.work / name).open("rb") as file:
                while raw := file.read(n_bytes):
                    yield name, torch.from_numpy(np.frombuffer(raw, dtype).copy())
