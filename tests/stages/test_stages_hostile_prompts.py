"""Each hostile text alone, in every prompt and file: it changes no line but its own, and is no mark, column or turn."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hostile_study import HOSTILE
from toy_units import make_context, make_example, make_explanation

from latentese.errors import AnswerError
from latentese.explainers.answer import clean_answer
from latentese.explainers.rendering import MarkedExcerpts, Rendering, TokenValues
from latentese.explainers.token_table import TokenTableExplainer
from latentese.patterns.token_table import TableSettings
from latentese.records import Example, Unit
from latentese.refinement.base import Counterexample, Evidence
from latentese.refinement.prompt import render_evidence
from latentese.report.visible import visible
from latentese.simulators.prompts import unit_messages
from latentese.store.tables import read_explanations, write_explanations

pytestmark = pytest.mark.parametrize("hostile", list(HOSTILE.values()), ids=list(HOSTILE))
EXCERPTS = MarkedExcerpts()


def example_with(token: str, act: float) -> Example:
    """The third token is `token`; the unit fires on ` river`, and on `token` as told."""
    usual = make_example(make_context(1, "the old x river ran home"), {"river"})
    tokens = (*usual.context.tokens[:2], token, *usual.context.tokens[3:])
    return replace(usual, context=replace(usual.context, tokens=tokens), acts=(0.0, 0.0, act, *usual.acts[3:]))


@pytest.mark.parametrize("act", [0.0, 4.0])
def test_marked_excerpts_keep_their_lines_and_marks(hostile: str, act: float) -> None:
    usual, shown = (EXCERPTS.render([example_with(token, act)]) for token in (" x", hostile))
    assert len(shown.splitlines()) == len(usual.splitlines()) == 2
    assert (shown.count("<<"), shown.count(">>")) == (usual.count("<<"), usual.count(">>"))
    assert "<|" not in shown and "|>" not in shown
    assert shown.isprintable() or set(filter(lambda c: not c.isprintable(), shown)) == {"\n"}


@pytest.mark.parametrize("act", [0.0, 4.0])
def test_value_lines_have_one_tab_and_a_level(hostile: str, act: float) -> None:
    rendering: Rendering = TokenValues()
    usual, shown = (rendering.render([example_with(token, act)]).splitlines() for token in (" x", hostile))
    assert len(shown) == len(usual)
    assert [line.split("\t")[1:] for line in shown] == [line.split("\t")[1:] for line in usual]


def test_all_at_once_lines_have_one_tab_and_the_mark_stands_behind_it(hostile: str) -> None:
    [message], marks = unit_messages(hostile, ["a", hostile, " b"])
    lines = message.content.splitlines()
    assert lines[2:4] == ["Activations:", "<start>"]
    assert len(lines) == 7
    assert [line.split("\t")[1:] for line in lines[4:]] == [["unknown"]] * 3
    assert [message.content[mark - 1] for mark in marks] == ["\t"] * 3
    assert [message.content[mark : mark + 7] for mark in marks] == ["unknown"] * 3


def test_the_revision_prompt_keeps_its_sections(hostile: str) -> None:
    def shown(token: str) -> list[str]:
        example = example_with(token, 0.0)
        found = (
            Counterexample(example, (0.0, 0.0, 1.0, 0.0, 0.0, 0.0), "false_positive"),
            Counterexample(example, (0.0,) * 6, "false_negative"),
        )
        return render_evidence(f"say {token} of it", Evidence((example,), found, ()), 3, EXCERPTS).splitlines()

    usual, harmful = shown(" x"), shown(hostile)
    assert len(harmful) == len(usual)
    for ours, theirs in zip(usual, harmful, strict=True):
        assert [theirs.count(mark) for mark in ("<<", "{{")] == [ours.count(mark) for mark in ("<<", "{{")]


def test_an_answer_becomes_one_phrase_or_a_reason(hostile: str) -> None:
    try:
        text = clean_answer(f" {hostile}", "Fires on", 30)
    except AnswerError as reason:
        assert "\n" not in str(reason)
    else:
        assert len(text.splitlines()) == 1
        assert "<<" not in text


def test_files_give_back_what_was_written(hostile: str, tmp_path: Path) -> None:
    hostile_one = make_explanation(hostile, 1, table=((hostile, 1.0),), error=hostile)
    written = [make_explanation("a", 0), hostile_one, make_explanation("b", 2)]
    write_explanations(written, tmp_path / "explanations.jsonl")
    assert read_explanations(tmp_path / "explanations.jsonl") == written


def test_a_table_keeps_the_token_and_names_it_on_one_line(hostile: str) -> None:
    explainer = TokenTableExplainer(table=TableSettings(n_prior=0.0))
    found = asyncio.run(explainer.explain(Unit(1, 0.1, 4.0, 4.0, 0.0), [example_with(hostile, 4.0)]))
    assert dict(found.table)[hostile] == 4.0
    assert len((found.text or "").splitlines()) == 1


def test_what_people_see_hides_and_ends_nothing(hostile: str) -> None:
    shown = visible(hostile)
    assert len(shown.splitlines()) == 1
    assert not set(shown) & set("\u202e\u202c\u200b\ufeff\x00\x1b\t")
