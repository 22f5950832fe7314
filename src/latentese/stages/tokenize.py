"""Stage `tokenize`: cut documents into fixed-length contexts and assign every document to one split."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from latentese.corpus.contexts import ContextsWriter
from latentese.corpus.cutting import TokenizedText, cut_windows, tokenize_texts
from latentese.corpus.selection import DocumentRef, Spool, TokenBudget, spool_documents
from latentese.corpus.settings import ContextSettings
from latentese.corpus.source import SourceShare, check_shares
from latentese.errors import SettingError
from latentese.records import SPLITS
from latentese.store.artifact import Draft, open_draft
from latentese.subject.shape import read_shape
from latentese.weights.load import load_tokenizer
from latentese.weights.source import ModelSource

DOCUMENTS_AT_ONCE = 64

log = logging.getLogger(__name__)


def tokenize(sources: Mapping[str, SourceShare], subject: ModelSource, settings: ContextSettings, out: Path) -> Path:
    """Write the contexts artifact from texts, with the subject's tokenizer.

    sources: label -> source and share. Documents are taken in the order of their hashes until each source has filled
    its share of each split; one that runs out leaves its share unfilled, which the counts say. Raises SettingError for
    a context longer than the subject's, an empty corpus, or a split that would stay empty.
    """
    _check(sources, subject, settings)
    names = {label: {"name": share.source.name, "share": share.share} for label, share in sources.items()}
    described = {"contexts": asdict(settings), "sources": names, "subject": subject.name}
    with open_draft(out, "contexts", {}, described) as draft:
        work = draft.path / "work"
        shutil.rmtree(work, ignore_errors=True)  # an interrupted run begins anew: this stage takes seconds
        work.mkdir()
        spool = spool_documents(
            {label: share.source for label, share in sources.items()}, settings.split_shares, work / "documents"
        )
        if not spool.refs:
            raise SettingError("corpus", sorted(sources), "sources with at least one document that is not empty")
        draft.publish(_write_contexts(spool, sources, load_tokenizer(subject.folder()), settings, draft))
    return out


def _check(sources: Mapping[str, SourceShare], subject: ModelSource, settings: ContextSettings) -> None:
    if not sources:
        raise SettingError("corpus", {}, "at least one source")
    check_shares("corpus shares", {label: share.share for label, share in sources.items()})
    shape = read_shape(subject.folder())
    if settings.ctx_len > shape.max_ctx_len:
        raise SettingError("ctx_len", settings.ctx_len, f"at most {shape.max_ctx_len}, the longest of {subject.name}")


def _write_contexts(
    spool: Spool, sources: Mapping[str, SourceShare], tokenizer: Any, settings: ContextSettings, draft: Draft
) -> dict[str, Any]:
    """Cut split after split and return the counts of the manifest."""
    pad_id = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    n_tokens = sum(settings.n_tokens.values())
    with (
        closing(ContextsWriter(draft.path, draft.path / "work", settings.ctx_len, pad_id)) as writer,
        tqdm(total=n_tokens, desc="tokenize", unit="tok", unit_scale=True) as bar,
    ):
        cutting = _Cutting(spool, sources, tokenizer, settings, writer, bar)
        missing = {split: cutting.fill(split) for split in SPLITS}
        counts = writer.finish()
    per_source = {
        label: {
            "n_documents": spool.n_read[label],
            "n_tokens": writer.source_tokens[label],
            "missing": {split: of_source[label] for split, of_source in missing.items() if label in of_source},
        }
        for label in sources
    }
    return {**counts, "sources": per_source, "n_duplicates": spool.n_duplicates, "n_short": cutting.n_short}


@dataclass
class _Cutting:
    """A corpus being cut into contexts."""

    spool: Spool
    sources: Mapping[str, SourceShare]
    tokenizer: Any
    settings: ContextSettings
    writer: ContextsWriter
    bar: Any
    n_short: int = 0

    def fill(self, split: str) -> dict[str, int]:
        """Fill one split and return how many tokens each source that ran out still owes."""
        n_tokens = self.settings.n_tokens[split]
        budget = TokenBudget({label: round(share.share * n_tokens) for label, share in self.sources.items()})
        for ref, tokenized in self._tokenized(self.spool.of_split(split), budget):
            self._add(ref, tokenized, budget)
        if n_tokens and split not in self.writer.splits:
            raise SettingError("corpus", sorted(self.sources), f"enough documents that split {split!r} gets one")
        for label, n_missing in budget.missing().items():
            log.warning("corpus: %s ran out in %s, %d tokens short of its share", label, split, n_missing)
        return budget.missing()

    def _tokenized(
        self, refs: Sequence[DocumentRef], budget: TokenBudget
    ) -> Iterator[tuple[DocumentRef, TokenizedText]]:
        """Tokenize documents in order, some at a time, skipping those of sources that have their share."""
        for start in range(0, len(refs), DOCUMENTS_AT_ONCE):
            wanted = [ref for ref in refs[start : start + DOCUMENTS_AT_ONCE] if budget.owed(ref.source) > 0]
            for ref, tokenized in zip(wanted, tokenize_texts(self.tokenizer, self.spool.read(wanted)), strict=True):
                if budget.owed(ref.source) > 0:
                    yield ref, tokenized

    def _add(self, ref: DocumentRef, tokenized: TokenizedText, budget: TokenBudget) -> None:
        """Write as many windows of a document as its source still owes."""
        ctx_len = self.settings.ctx_len
        n_max = self.sources[ref.source].max_contexts_per_document or self.settings.max_contexts_per_document
        windows = cut_windows(tokenized, ctx_len, n_max, self.settings.min_tokens)
        if not windows:
            self.n_short += 1
            return
        n_tokens = self.writer.add(ref, windows[: -(-budget.owed(ref.source) // (ctx_len - 1))])
        budget.taken[ref.source] += n_tokens
        self.bar.update(n_tokens)
