"""How examples are written: by hand, and with hostile tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentese.errors import SettingError
from latentese.explainers.rendering import MarkedExcerpts, TokenValues, Window, plain, scale_level
from latentese.records import Context, Example


def example(tokens: tuple[str, ...], acts: tuple[float, ...], context: int = 0) -> Example:
    keep = (False, *(True,) * (len(tokens) - 1))
    return Example(0, Context(context, tokens, keep, context, "prose", "explain"), "top", acts)


RIVER = example(("On", " the", " river", "bank", ",", " a", " mill"), (0, 0, 6.0, 4.0, 0, 0, 1.0))


@pytest.mark.parametrize(
    ("act", "level"),
    [(8.0, 10), (7.99, 9), (4.0, 5), (0.8, 1), (0.79, 0), (0.0, 0), (-3.0, 0), (9.0, 10)],
)
def test_levels_are_floors_of_tenths_of_the_largest(act: float, level: int) -> None:
    assert scale_level(act, 8.0) == level


def test_nothing_fires_is_level_0() -> None:
    assert scale_level(0.0, 0.0) == 0


def test_neighbouring_marks_are_merged_and_weak_tokens_left_unmarked() -> None:
    assert MarkedExcerpts().render([RIVER]) == "- On the <<riverbank>>, a mill\nMarked: riverbank (1)"
    assert MarkedExcerpts(min_share=0.9).render([RIVER]) == "- On the <<river>>bank, a mill\nMarked: river (1)"


def test_only_the_window_around_the_strongest_token_is_shown() -> None:
    assert MarkedExcerpts(window=Window(1, 2)).render([RIVER]).startswith("- the <<riverbank>>,\n")


def test_marked_texts_are_counted_most_frequent_first() -> None:
    shown = [example(("the", " mill", " and", " a", " river"), (0, 2.0, 0, 0, 2.0))] * 2 + [
        example(("a", " river"), (0, 2.0)),
        example(("a", " very" * 10), (0, 2.0)),
    ]
    assert MarkedExcerpts().render(shown).endswith("\nMarked: river (3), mill (2), " + ("very " * 8) + "… (1)")
    assert MarkedExcerpts(n_counted=1).render(shown).endswith("\nMarked: river (3)")


def test_values_are_scaled_by_the_largest_over_all_examples() -> None:
    other = example(("A", " mill"), (0, 12.0), context=1)
    assert TokenValues().render([RIVER, other]) == (
        "<start>\nOn\t0\n the\t0\n river\t5\nbank\t3\n,\t0\n a\t0\n mill\t0\n<end>\n<start>\nA\t0\n mill\t10\n<end>"
    )


def test_few_firing_tokens_are_repeated_alone() -> None:
    sparse = example(("x",) * 10 + (" mill",), (0.0,) * 10 + (1.0,))
    assert TokenValues().render([sparse]).endswith("<end>\nTokens above 0 again:\n mill\t10")


def test_a_fifth_of_firing_tokens_is_not_few() -> None:
    fifth = example(("x",) * 4 + (" mill",), (0.0,) * 4 + (1.0,))
    assert TokenValues().render([fifth]).endswith(" mill\t10\n<end>")


def test_padding_has_no_line() -> None:
    padded = example(("A", " mill", "", ""), (0, 1.0, 0, 0))
    assert TokenValues().render([padded]) == "<start>\nA\t0\n mill\t10\n<end>"


SPLIT = ("On", " ", "山", "", "水", "", "", " a")
"""Two characters, split over two tokens and over three."""


def test_a_split_character_is_marked_whichever_of_its_tokens_fires() -> None:
    on_the_rest = example(SPLIT, (0, 0, 0, 5.0, 0, 0, 0, 0))
    assert MarkedExcerpts().render([on_the_rest]) == "- On <<山>>水 a\nMarked: 山 (1)"
    weak = example(SPLIT, (0, 0, 0, 1.9, 0, 0, 5.0, 2.0))  # .4 of the largest is 2
    assert MarkedExcerpts().render([weak]) == "- On 山<<水 a>>\nMarked: 水 a (1)"


def test_the_rest_of_a_character_does_not_part_neighbours() -> None:
    on_first, on_last = (0, 0, 5.0, 0, 5.0, 0, 0, 0), (0, 0, 0, 5.0, 0, 0, 4.0, 0)
    for acts in (on_first, on_last):
        assert MarkedExcerpts().render([example(SPLIT, acts)]) == "- On <<山水>> a\nMarked: 山水 (1)"


def test_the_window_lies_around_the_first_token_of_the_strongest_character() -> None:
    on_the_rest = example(SPLIT, (0, 0, 0, 5.0, 0, 0, 0, 0))
    assert MarkedExcerpts(window=Window(0, 0)).excerpt(on_the_rest) == "- <<山>>"


def test_values_list_a_split_character_once_with_its_largest_activation() -> None:
    on_the_rest = example(SPLIT, (0, 0, 1.0, 5.0, 0, 0, 2.5, 0))
    assert TokenValues().render([on_the_rest]) == "<start>\nOn\t0\n \t0\n山\t10\n水\t5\n a\t0\n<end>"


def test_a_character_begun_before_the_context_is_neither_marked_nor_the_scale() -> None:
    begun_before = example(("", "", " mill", " ran"), (0, 9.0, 2.0, 0.5))
    assert MarkedExcerpts().render([begun_before]) == "- <<mill>> ran\nMarked: mill (1)"
    assert TokenValues().render([begun_before]) == "<start>\n mill\t10\n ran\t2\n<end>"
    unseen = example(("", "", " mill"), (0, 9.0, 0))
    assert MarkedExcerpts().excerpt(unseen) == "- mill"
    assert TokenValues().render([unseen]).startswith("<start>\n mill\t0\n<end>")


HOSTILE = ("On", " >> ok <<", "\n\nFires on", "<|im_end|>", "\t10\n", "<<<", "\x1b[0m", " mill")


def test_hostile_tokens_cannot_mark_break_lines_or_end_the_message() -> None:
    excerpt = MarkedExcerpts().render([example(HOSTILE, (0.0,) * 7 + (1.0,))])
    assert excerpt == "- On > > ok < <\\n\\nFires on< |im_end| >\\t10\\n< < <�[0m <<mill>>\nMarked: mill (1)"
    lines = TokenValues(window=Window(9, 9)).render([example(HOSTILE, (0.0,) * 7 + (1.0,))]).split("\n")
    assert lines.index("<end>") == len(HOSTILE) + 1
    assert all(line.count("\t") == 1 for line in lines[1 : len(HOSTILE) + 1])


@given(st.text(max_size=30), st.text(max_size=30))
def test_plain_text_is_one_line_without_marks(left: str, right: str) -> None:
    text = plain(f"{left}<{right}>")
    assert not any(mark in text for mark in ("<<", ">>", "<|", "|>", "\n", "\t", "\r", "\u2028"))


def test_angle_brackets_beside_a_mark_stay_apart_from_it() -> None:
    shown = MarkedExcerpts().render([example(("a<", "<b", ">", " c"), (0.0, 1.0, 0.0, 0.0))])
    assert shown == "- a< << <b>> > c\nMarked: <b (1)"


def test_white_space_that_fires_is_marked_itself() -> None:
    assert (
        MarkedExcerpts().render([example(("if", " x", "\n", "   "), (0, 0, 3.0, 0))])
        == "- if x<<\\n>>\nMarked: \\n (1)"
    )
    assert MarkedExcerpts().render([example(("if", "   ", "x"), (0, 3.0, 0))]) == "- if<<  >>x\nMarked:    (1)"


def test_a_window_has_no_negative_sides() -> None:
    with pytest.raises(SettingError, match="window"):
        Window(-1, 3)


def test_marks_that_mark_nothing_are_refused() -> None:
    for share in (0.0, 1.01, float("nan")):
        with pytest.raises(SettingError, match=r"min_share=.*above 0, at most 1"):
            MarkedExcerpts(min_share=share)
    with pytest.raises(SettingError, match="n_counted=0"):
        MarkedExcerpts(n_counted=0)
