"""A corpus of texts written in a test, with activations that a test computes from them: what evaluations read.

documents = [Written("test", "prose", [["The", " cat", " sat"]])]
evaluated = evaluate_on(tmp_path, documents, acts_of, dictionary)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latentese.corpus.contexts import Contexts, ContextsWriter
from latentese.corpus.cutting import Window
from latentese.corpus.selection import DocumentRef
from latentese.corpus.splits import text_sha256
from latentese.dictionaries.base import Dictionary
from latentese.evaluation.base import Evaluated
from latentese.records import SPLITS, Context
from latentese.store.artifact import open_draft
from latentese.store.shards import Activations, shard_name, write_shard
from latentese.subject.model import Subject

PAD_ID = 0
ActsOf = Callable[[Context], torch.Tensor]
"""Activations [ctx_len, width] of a context."""


@dataclass(frozen=True)
class Written:
    """A document, cut into tokens and contexts by hand; its text is theirs, joined."""

    split: str
    source: str
    contexts: Sequence[Sequence[str]]


def ids_of(documents: Sequence[Written]) -> dict[str, int]:
    """Number of each token text, in order of appearance; 0 is padding."""
    tokens = (token for document in documents for context in document.contexts for token in context)
    return {token: number for number, token in enumerate(dict.fromkeys(tokens), start=PAD_ID + 1)}


def write_corpus(folder: Path, documents: Sequence[Written]) -> Contexts:
    """Write a contexts artifact; documents are put in the order of splits."""
    ids = ids_of(documents)
    ctx_len = max(len(context) for document in documents for context in document.contexts)
    with open_draft(folder, "contexts", {}, {"subject": "written"}) as draft:
        work = draft.path / "work"
        work.mkdir()
        with closing(ContextsWriter(draft.path, work, ctx_len, PAD_ID)) as writer:
            for document in sorted(documents, key=lambda document: SPLITS.index(document.split)):
                text = "".join(token for context in document.contexts for token in context)
                ref = DocumentRef(text_sha256(text.strip()), document.source, text[:20], document.split, 0, 0)
                windows = [Window(tuple(ids[token] for token in tokens), tuple(tokens)) for tokens in document.contexts]
                writer.add(ref, windows)
            draft.publish(writer.finish())
    return Contexts(folder)


def write_acts(folder: Path, contexts: Contexts, acts_of: ActsOf, shard_contexts: int = 7) -> Activations:
    """Write an activations artifact of all splits."""
    records = contexts.get(range(contexts.n_contexts))
    shards = [records[start : start + shard_contexts] for start in range(0, len(records), shard_contexts)]
    with open_draft(folder, "activations", {"contexts": contexts.artifact}, {}) as draft:
        for number, shard in enumerate(shards):
            write_shard(_shard(shard, acts_of), draft.path / shard_name(number))
        draft.publish(
            {
                "n_tokens": sum(sum(record.keep) for record in records),
                "width": acts_of(records[0]).shape[1],
                "dtype": "float32",
                "n_shards": len(shards),
                "shard_rows": [sum(sum(record.keep) for record in shard) for shard in shards],
                "rows": dict(_ranges(records)),
            }
        )
    return Activations(folder)


def _shard(records: Sequence[Context], acts_of: ActsOf) -> dict[str, torch.Tensor]:
    counted = [torch.tensor(record.keep).nonzero()[:, 0] for record in records]
    context = np.repeat([record.context for record in records], [len(positions) for positions in counted])
    return {
        "acts": torch.cat([acts_of(record)[positions] for record, positions in zip(records, counted, strict=True)]),
        "context": torch.from_numpy(context.astype(np.int32)),
        "position": torch.cat(counted).to(torch.int16),
    }


def _ranges(records: Sequence[Context]) -> Iterator[tuple[str, list[int]]]:
    start = 0
    for split in SPLITS:
        stop = start + sum(sum(record.keep) for record in records if record.split == split)
        yield split, [start, stop]
        start = stop


def no_subject() -> Subject:
    """For evaluations that must not ask for the model."""
    raise AssertionError("asked for the subject")


def evaluate_on(folder: Path, documents: Sequence[Written], acts_of: ActsOf, dictionary: Dictionary) -> Evaluated:
    """Write both artifacts into `folder`: what an evaluation of `dictionary` reads."""
    contexts = write_corpus(folder / "contexts", documents)
    activations = write_acts(folder / "activations", contexts, acts_of)
    return Evaluated(dictionary, activations, contexts, "layers.0.resid_post", no_subject)


def noise(width: int, seed: int = 0) -> ActsOf:
    """Standard normal activations, the same for a context whenever it is asked for."""

    def acts_of(context: Context) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1000 * seed + context.context)
        return torch.randn(len(context.tokens), width, generator=generator)

    return acts_of


def plain_documents(n_per_split: int = 4, n_contexts: int = 2, n_tokens: int = 9) -> list[Written]:
    """Documents of words that mean nothing, in every split."""
    return [
        Written(split, "prose", [[f" {split}{i}-{j}-{k}" for k in range(n_tokens)] for j in range(n_contexts)])
        for split in SPLITS
        for i in range(n_per_split)
    ]
