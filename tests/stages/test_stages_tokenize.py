from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
from tiny_models import make_tiny_llama

from latentese.corpus.contexts import Contexts
from latentese.corpus.settings import ContextSettings
from latentese.corpus.source import Document, SourceShare
from latentese.corpus.splits import split_of, text_sha256
from latentese.errors import SettingError
from latentese.records import SPLITS
from latentese.stages.tokenize import tokenize
from latentese.store.artifact import open_artifact
from latentese.weights.load import load_tokenizer
from latentese.weights.local import LocalModel

SETTINGS = ContextSettings(
    ctx_len=16,
    n_tokens={"train": 600, "explain": 300, "calibrate": 100, "select": 200, "test": 200},
    split_shares={"train": 0.4, "explain": 0.2, "calibrate": 0.1, "select": 0.15, "test": 0.15},
    max_contexts_per_document=3,
    min_tokens=4,
)


@dataclass(frozen=True)
class Texts:
    """A source in memory."""

    texts: tuple[str, ...]
    name: str = "texts"

    def documents(self) -> Iterator[Document]:
        for text in self.texts:
            yield Document(text[:8], text)


def texts(prefix: str, n: int, n_words: int = 20) -> tuple[str, ...]:
    return tuple(f"{prefix} {i}: " + " ".join(f"river {i * j} 🙂" for j in range(n_words)) for i in range(n))


SOURCES = {
    "a": SourceShare(Texts(texts("The old mill", 200)), 0.75),
    "b": SourceShare(Texts(texts("Der Fluß", 100)), 0.25),
}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return LocalModel(make_tiny_llama(tmp_path_factory.mktemp("subject") / "tiny"))


@pytest.fixture(scope="module")
def contexts(subject: LocalModel, tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return Contexts(tokenize(SOURCES, subject, SETTINGS, tmp_path_factory.mktemp("out") / "contexts"))


def test_every_document_is_in_the_one_split_that_its_text_says(contexts: Contexts) -> None:
    by_text = {text_sha256(text): text for share in SOURCES.values() for text in share.source.texts}
    documents = contexts.documents
    assert documents["sha256"].n_unique() == len(documents)
    for row in documents.iter_rows(named=True):
        assert row["split"] == split_of(row["sha256"], SETTINGS.split_shares)
        assert by_text[row["sha256"]].startswith(row["title"])
    joined = contexts.table.join(documents, on="document", suffix="_of_document")
    assert len(joined) == contexts.n_contexts
    assert (joined["split"] == joined["split_of_document"]).all()
    assert (joined["source"] == joined["source_of_document"]).all()


def test_splits_are_contiguous_ranges_that_cover_all_contexts(contexts: Contexts) -> None:
    numbers = [int(number) for split in SPLITS for number in contexts.of_split(split)]
    assert numbers == list(range(contexts.n_contexts))
    for split in SPLITS:
        rows = contexts.table.filter(pl.col("split") == split)
        assert rows["context"].to_list() == contexts.of_split(split).tolist()


def test_tokens_are_what_was_read(contexts: Contexts, subject: LocalModel) -> None:
    tokenizer = load_tokenizer(subject.folder())
    by_text = {text_sha256(text): text for share in SOURCES.values() for text in share.source.texts}
    sha256s = contexts.documents["sha256"].to_list()
    for context in contexts.get(range(contexts.n_contexts)):
        n = len(context.keep) - context.keep[::-1].index(True)  # what follows is padding
        assert context.keep == (False, *[True] * (n - 1), *[False] * (16 - n))
        assert n >= SETTINGS.min_tokens
        ids = contexts.token_ids[context.context].tolist()
        text = by_text[sha256s[context.document]]
        assert context.text in text
        assert "".join(context.tokens[n:]) == ""
        # Characters cut by a window's edge decode to U+FFFD; all others are the window's text.
        assert tokenizer.decode(ids[:n]).strip("\ufffd") in text
        assert set(ids[n:]) <= {tokenizer.pad_token_id}


def test_sources_fill_their_share_of_every_split(contexts: Contexts) -> None:
    counts = contexts.artifact.manifest.counts
    for split, n_tokens in SETTINGS.n_tokens.items():
        for source, share in (("a", 0.75), ("b", 0.25)):
            taken = counts["sources"][source]["n_tokens"][split]
            # The last context may go past the share by less than a context.
            assert share * n_tokens <= taken < share * n_tokens + 16, (split, source)
    assert counts["n_tokens"] == int(contexts.keep.sum()) == sum(s["n_tokens"] for s in counts["splits"].values())
    assert counts["sources"]["a"]["missing"] == {}
    per_document = contexts.table.group_by("document").len()["len"]
    assert per_document.max() == SETTINGS.max_contexts_per_document


def test_the_order_of_documents_and_of_sources_does_not_matter(
    contexts: Contexts, subject: LocalModel, tmp_path: Path
) -> None:
    turned = {
        label: SourceShare(Texts(share.source.texts[::-1]), share.share) for label, share in reversed(SOURCES.items())
    }
    again = Contexts(tokenize(turned, subject, SETTINGS, tmp_path / "contexts"))
    assert again.artifact.manifest.files == contexts.artifact.manifest.files
    assert again.artifact.sha256 == contexts.artifact.sha256


def test_a_corpus_that_grows_moves_no_document(contexts: Contexts, subject: LocalModel, tmp_path: Path) -> None:
    grown = {**SOURCES, "a": SourceShare(Texts((*SOURCES["a"].source.texts, *texts("New", 50))), 0.75)}
    documents = Contexts(tokenize(grown, subject, SETTINGS, tmp_path / "contexts")).documents
    both = contexts.documents.join(documents, on="sha256")
    assert len(both) > 10
    assert (both["split"] == both["split_right"]).all()


def test_exact_duplicates_are_read_once_and_counted(subject: LocalModel, tmp_path: Path) -> None:
    some = texts("The boats", 120)
    doubled = {"x": SourceShare(Texts((*some, *some[:7], "", "  \n")), 0.5), "y": SourceShare(Texts(some[:5]), 0.5)}
    reader = Contexts(tokenize(doubled, subject, SETTINGS, tmp_path / "contexts"))
    assert reader.artifact.manifest.counts["n_duplicates"] == 12
    assert reader.documents["sha256"].n_unique() == len(reader.documents)
    # All of y's documents are x's: y ran out at once, and the manifest says by how much.
    missing = reader.artifact.manifest.counts["sources"]["y"]["missing"]
    assert missing == {split: n // 2 for split, n in SETTINGS.n_tokens.items()}


def test_a_source_may_have_its_own_limit(subject: LocalModel, tmp_path: Path) -> None:
    long = {"long": SourceShare(Texts(texts("Long", 100, n_words=60)), 1.0, max_contexts_per_document=7)}
    reader = Contexts(tokenize(long, subject, SETTINGS, tmp_path / "contexts"))
    assert reader.table.group_by("document").len()["len"].max() == 7


def test_records_come_in_the_order_asked_for(contexts: Contexts) -> None:
    asked = [5, 2, 9]
    got = contexts.get(asked)
    assert [context.context for context in got] == asked
    assert list(got[1].tokens) == contexts.table["tokens"][2].to_list()


@pytest.mark.parametrize(
    ("sources", "settings", "message"),
    [
        (SOURCES, replace(SETTINGS, ctx_len=65), "ctx_len=65 is not allowed: at most 64, the longest of tiny@"),
        ({}, SETTINGS, "at least one source"),
        ({"a": SourceShare(Texts(("", " ")), 1.0)}, SETTINGS, "at least one document that is not empty"),
        ({"a": SourceShare(Texts(texts("a", 1)), 1.0)}, SETTINGS, r"enough documents that split '\w+' gets one"),
        ({"a": SourceShare(Texts(texts("a", 1)), 0.5)}, SETTINGS, "corpus shares=.*sum to 1, not 0.5"),
    ],
)
def test_what_cannot_work_stops_with_one_line(
    sources: dict[str, SourceShare], settings: ContextSettings, message: str, subject: LocalModel, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=message) as error:
        tokenize(sources, subject, settings, tmp_path / "contexts")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "contexts").exists()


def test_an_interrupted_draft_is_begun_anew(contexts: Contexts, subject: LocalModel, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Failing(Texts):
        def documents(self) -> Iterator[Document]:
            yield from super().documents()
            raise KeyboardInterrupt

    broken = {**SOURCES, "b": SourceShare(Failing(SOURCES["b"].source.texts), 0.25)}
    with pytest.raises(KeyboardInterrupt):
        tokenize(broken, subject, SETTINGS, tmp_path / "contexts")
    tokenize(SOURCES, subject, SETTINGS, tmp_path / "contexts")
    assert open_artifact(tmp_path / "contexts", "contexts").sha256 == contexts.artifact.sha256
