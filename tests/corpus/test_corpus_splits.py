from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.corpus.selection import spool_documents
from latentese.corpus.settings import ContextSettings
from latentese.corpus.source import Document
from latentese.corpus.splits import split_of, text_sha256
from latentese.errors import SettingError


@dataclass
class Listed:
    """Documents given as titles and texts."""

    listed: Sequence[tuple[str, str]]
    name: str = "listed"

    def documents(self) -> Iterator[Document]:
        yield from (Document(title, text) for title, text in self.listed)


SHARES = {"train": 0.5, "explain": 0.25, "calibrate": 0.0, "select": 0.125, "test": 0.125}


@pytest.mark.parametrize(
    ("end", "split"),
    [
        ("0000000000000", "train"),
        ("7ffffffffffff", "train"),
        ("8000000000000", "explain"),  # exactly 1/2
        ("bffffffffffff", "explain"),
        ("c000000000000", "select"),  # 3/4: calibrate has no width
        ("e000000000000", "test"),
        ("fffffffffffff", "test"),
    ],
)
def test_the_last_digits_of_the_hash_choose_the_split(end: str, split: str) -> None:
    assert split_of("0" * 51 + end, SHARES) == split


def test_shares_that_sum_to_a_little_less_than_1_leave_no_document_to_a_split_without_a_share() -> None:
    assert split_of("f" * 64, {"train": 0.5, "explain": 0.4999999, "test": 0.0}) == "explain"


@pytest.mark.parametrize("labels", [("b", "a"), ("a", "b")])
def test_of_duplicates_the_first_by_source_and_title_stays_in_any_order(labels: Sequence[str], tmp_path: Path) -> None:
    texts = {"a": [("z", "same"), ("y", "same ")], "b": [("x", "same")]}
    sources = {label: Listed(texts[label]) for label in labels}
    spool = spool_documents(sources, SHARES, tmp_path / "spool")
    assert [(ref.source, ref.title) for ref in spool.refs] == [("a", "y")]
    assert (spool.read(spool.refs), spool.n_duplicates) == (["same"], 2)


def test_the_hash_is_of_the_utf8_text() -> None:
    assert text_sha256("straße") == hashlib.sha256("straße".encode()).hexdigest()


@given(st.text())
def test_every_text_has_a_split_that_has_a_share(text: str) -> None:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    assert SHARES[split_of(digest, SHARES)] > 0


def test_shares_are_met() -> None:
    splits = [split_of(text_sha256(str(i)), SHARES) for i in range(4000)]
    for split, share in SHARES.items():
        # Four standard deviations of a binomial share.
        assert abs(splits.count(split) / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5 + 1e-9


GOOD = {
    "ctx_len": 8,
    "n_tokens": dict.fromkeys(SHARES, 100),
    "split_shares": SHARES,
    "max_contexts_per_document": 4,
    "min_tokens": 2,
}


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("ctx_len", 1, "ctx_len=1 is not allowed: at least 2"),
        ("min_tokens", 9, r"min_tokens=9 is not allowed: in 2\.\.ctx_len=8"),
        ("max_contexts_per_document", 0, "at least 1"),
        ("n_tokens", {"train": 5}, "a value for each of train, explain, calibrate, select, test"),
        ("n_tokens", {**dict.fromkeys(SHARES, 100), "test": -1}, "0 or more"),
        ("split_shares", {**SHARES, "test": 0.2}, "sum to 1, not 1.075"),
        ("split_shares", {**SHARES, "test": -0.125, "select": 0.375}, "0 or more"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting: str, value: object, message: str) -> None:
    ContextSettings(**GOOD)
    with pytest.raises(SettingError, match=message):
        ContextSettings(**{**GOOD, setting: value})
