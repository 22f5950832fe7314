"""Puzzles from files: the packaged ones are sound, and a mistake in one's own is one line that names it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from toy_puzzles import FIRING, SILENT, toy_puzzle, write_toy

from latentese.errors import ArtifactError
from latentese.puzzles.files import packaged_files, read_puzzles
from latentese.puzzles.puzzle import KINDS, Puzzle, kinds_of, unit_of

PUZZLES = read_puzzles(packaged_files())
EACH = pytest.mark.parametrize("puzzle", PUZZLES, ids=[puzzle.name for puzzle in PUZZLES])


def test_there_are_enough_of_every_kind() -> None:
    counts = Counter(puzzle.kind for puzzle in PUZZLES)
    assert len(PUZZLES) >= 20
    assert set(counts) == set(KINDS) == set(kinds_of(PUZZLES))
    assert min(counts.values()) >= 3


@EACH
def test_packaged_contexts_are_of_the_size_of_real_ones(puzzle: Puzzle) -> None:
    assert {20 <= len(example.context.tokens) <= 64 for example in puzzle.examples} == {True}


@EACH
def test_a_packaged_unit_fires_seldom_and_never_where_nothing_counts(puzzle: Puzzle) -> None:
    for example in puzzle.examples:
        assert example.acts[0] == 0
        assert not example.context.keep[0]
        assert len(example.acts) == len(example.context.tokens)
    # More than a third of all tokens would be a kind of text, which no puzzle is about.
    assert unit_of(puzzle, puzzle.examples).density < 1 / 3


@EACH
def test_no_packaged_context_is_told_apart_by_its_length_alone(puzzle: Puzzle) -> None:
    firing = [len(example.context.tokens) for example in puzzle.firing]
    silent = [len(example.context.tokens) for example in puzzle.examples if example not in puzzle.firing]
    assert min(firing) <= max(silent)
    assert min(silent) <= max(firing)


def test_contexts_have_numbers_of_their_own() -> None:
    numbers = [example.context.context for puzzle in PUZZLES for example in puzzle.examples]
    assert len(set(numbers)) == len(numbers)
    assert len({puzzle.unit for puzzle in PUZZLES}) == len(PUZZLES)


def test_the_toy_by_hand(tmp_path: Path) -> None:
    puzzle = toy_puzzle(tmp_path)
    assert [example.context.text for example in puzzle.examples] == [*FIRING, *SILENT]
    assert puzzle.examples[0].context.tokens == ("a", " red", " cat")
    assert puzzle.examples[0].acts == (0, 4, 0)
    assert [example.kind for example in puzzle.examples] == ["top"] * 6 + ["random"] * 4
    assert [e.text for e in puzzle.explanations] == ["red", "blue", "cat", "nothing"]
    assert [e.explanation for e in puzzle.explanations] == ["0.true.0", "0.false.1", "0.false.2", "0.false.3"]
    # Six of the twenty counted tokens ("no ink here" has two, as all have) fire with 4.
    unit = unit_of(puzzle, puzzle.examples)
    assert (unit.density, unit.max_act, unit.mean_act, unit.threshold) == (6 / 20, 4, 4, 0)


def test_halves_share_no_context_and_hold_both_sorts(tmp_path: Path) -> None:
    shown, held_out = toy_puzzle(tmp_path).halves()
    assert [e.context.text for e in shown] == ["a red cat", "my red hat", "big red bus", "a tall cat", "my green hat"]
    assert [e.context.text for e in held_out] == [
        "the red hen", "no red ink", "old red car", "the blue hen", "no ink here"
    ]  # fmt: skip
    assert [e.kind for e in shown] == ["top", "top", "top", "near_miss", "near_miss"]
    assert [e.kind for e in held_out] == ["top", "top", "top", "random", "random"]
    assert {e.context.split for e in shown} == {"explain"}
    assert {e.context.split for e in held_out} == {"test"}


def test_activations_may_be_given_by_hand(tmp_path: Path) -> None:
    contexts = [{"tokens": ["x", f" t{i}", " y"], "acts": [7, float(i < 6), 0]} for i in range(10)]
    written = ", ".join(f'{{ tokens = ["x", " t{i}", " y"], acts = {c["acts"]} }}' for i, c in enumerate(contexts))
    file = write_toy(
        tmp_path,
        ("fires = [{ on = '\\bred\\b', act = 4 }]\n", ""),
        (f"texts = {[*FIRING, *SILENT]}", f"contexts = [{written}]"),
    )
    (puzzle,) = read_puzzles([file])
    # The first token never counts, whatever the file says.
    assert [example.acts for example in puzzle.examples] == [(0, 1, 0)] * 6 + [(0, 0, 0)] * 4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "lexical"', 'kind = "lexicall"', r"puzzle 'red': kind='lexicall' is not allowed: one of lexical"),
        ('"nothing"', '"Red "', r"puzzle 'red': false=.* all different"),
        (', "nothing"', "", r"puzzle 'red': false=.* 3 explanations"),
        ("on = '", "on = '(", r"fires\.on=.* a regular expression"),
        ("act = 4", "act = -4", r"fires\.act=-4 is not allowed: a number above 0"),
        ("act = 4", "act = inf", r"fires\.act=inf is not allowed: a number above 0"),
        ("act = 4", "strength = 4", r"puzzle 'red'=.*strength"),
        ("bred", "bblue", r"puzzle 'red': contexts='1 \+ 9' is not allowed: at least 6 .* and 4 in which"),
        ("fires =", "fire =", r"puzzle 'red'=\[.*'fire'.* either fires and texts or contexts"),
        ("'my red hat'", "'a red cat'", r"puzzle 'red': contexts=10 is not allowed: contexts that are all different"),
        ("'no ink here'", "'ink'", r"puzzle 'red': contexts='ink' is not allowed: contexts of at least 2 tokens"),
        ("'no ink here'", "''", r"puzzle 'red'=.*a text, not ''"),
        ("'no ink here'", "7", r"puzzle 'red'=.*a text, not 7"),
        ("'no ink here'", ", ".join(f"'ink {i}'" for i in range(992)), "contexts=1001 .* at most 1000"),
        ("false = [", 'false = "bcd" # [', r"puzzle 'red'=.*a list of texts, not 'bcd'"),
        ("[[puzzle]]", "[[riddle]]", r"has no \[\[puzzle\]\]"),
        ("true =", "true", r"is not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_file(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = write_toy(tmp_path, (old, new))
    with pytest.raises(ArtifactError, match=said) as raised:
        read_puzzles([file])
    assert str(raised.value).startswith(f"{file}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('{ tokens = ["x", "y"], acts = [0, nan] }', r"activations of 0 or more, not \(0\.0, nan\)"),
        ('{ tokens = ["x", "y"], acts = [0, inf] }', "activations of 0 or more"),
        ('{ tokens = ["x", "y"], acts = [0, -1] }', "activations of 0 or more"),
        ('{ tokens = ["x", "y"], acts = [0] }', "one activation per token, not 1 for 2"),
        ('{ tokens = "xy", acts = [0, 1] }', "a list of texts, not 'xy'"),
    ],
)
def test_contexts_by_hand_that_are_none_are_refused(tmp_path: Path, written: str, said: str) -> None:
    changes = [
        ("fires = [{ on = '\\bred\\b', act = 4 }]\n", ""),
        (f"texts = {[*FIRING, *SILENT]}", f"contexts = [{written}]"),
    ]
    with pytest.raises(ArtifactError, match=said):
        read_puzzles([write_toy(tmp_path, *changes)])


def test_two_puzzles_of_one_name_are_refused(tmp_path: Path) -> None:
    files = [write_toy(tmp_path / "a"), write_toy(tmp_path / "b")]
    with pytest.raises(ArtifactError, match=r"b/toy\.toml: there is another puzzle called 'red'"):
        read_puzzles(files)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no such file"):
        read_puzzles([tmp_path / "none.toml"])
