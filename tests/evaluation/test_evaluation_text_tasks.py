"""Every built-in probe task on a text: + before a token marks a positive, - a negative, ? one that takes no part."""

from __future__ import annotations

import pytest

from latentese.errors import SettingError
from latentese.evaluation.labels import NEGATIVE, OUT, POSITIVE, Passage, stands_between
from latentese.evaluation.tasks import SourceTask
from latentese.evaluation.text_tasks import CONTROL, TEXT_TASKS
from latentese.records import Context

SIGNS = {POSITIVE: "+", NEGATIVE: "-", OUT: "?"}
TASKS = {task.name: task for task in TEXT_TASKS}

PROSE = [
    ("digit", "-A|- in|+ 1|+9|-,|- x2|+2"),
    ("punctuation", "-He|- said|+,|+ (|-\n|-it|+).|- a.|+ §"),
    ("comma", '-He|+,|- and|+",|-.,b'),
    ("full_stop", "-He|+.|-,|+...|- x|+\n."),
    ("question_mark", '-Who|+?|-.|+!"|-x'),
    ("colon", "-so|+:|- a|+;|-:a"),
    ("dash", "-a|+ -|-b|+—|--x|+ \u2013"),
    ("quotation_mark", '-He|+ "|-x|+,"|+ „|+»|-\''),
    ("opening_bracket", "-f|+(|-x|-)|+ [|+\n{"),
    ("closing_bracket", "-f|-(|-x|+)|+],|+}"),
    ("currency", "-5|+%|+ $|-5|+ £|-x"),
    ("line_break", "-a|+\n|- b|+\n\n|+ \n  |-c"),
    ("white_space", "-a|+\n|- b|+  |-."),
    ("single_letter", "+I|- am|+ a|- 1|-."),
    ("long_token", "- seven77|+ parliament|- seven|+ ministers"),
    ("accent", "-Fl|+u\u00df|+ é|- e|?"),
    ("capital", "+The|- cat|+ In|?2|?."),
    ("word_piece", "-M|+ad|+rid|- is|?1|?."),
    ("even_digit", "? in|- 1|+8|-5|+ 24|?."),
    ("decimal", "? is|- 3|?.|+1|+4|?,|- 3|?.|? "),
    ("year", "? in|- 1|-9|-8|+4|?,|- 2|-0|-0|-7|-1|?;|- 1|-9|-9|-9|?.|-5"),
    ("capitalised", "? 1|+ Madrid|- NATO|- is|?,|?a"),
    ("all_capitals", "+ NATO|- Nato|- I|?."),
    ("hyphenated", "- well|?-|+known|- man|?."),
    ("short_word", "+ Of|+ a|- man|?."),
    ("long_word", "- minister|? parlia|+mentarian|- is|?."),
    ("plural", "+ houses|- glass|- bus|- this|- gas|- house|?."),
    ("ing", "+ walking|- king|+ thing|- walks|? walk|+ing|?."),
    ("ed", "+ walked|- bed|- red|+ used|?."),
    ("ly", "+ slowly|- fly|- sly|+ only|?."),
    ("abstract_noun", "+ nation|+ movement|- nations|+ kindness|+ city|?."),
    ("article", "+The|- cat|- other|+ a|+ an|?."),
    ("pronoun", "+ I|+ them|- theme|+ It|?."),
    ("possessive", "+ my|- mind|+ Its|- it|?."),
    ("demonstrative", "+ This|- the|+ those|?."),
    ("preposition", "+ Of|- off|+ between|?."),
    ("conjunction", "+ and|- sand|+ Because|?."),
    ("auxiliary", "+ Is|- his|+ been|+ does|?."),
    ("modal", "+ can|- candle|+ Would|?."),
    ("negation", "+ not|- note|? don|+'t|? isn|+\u2019t|? can|+'t|- it|?."),
    ("question_word", "+ Who|- whole|+ which|?."),
    ("number_word", "+ Two|- to|+ million|- millions|?."),
    ("ordinal", "+ first|- firstly|+ Last|?."),
    ("date_word", "+ March|- march|+ Sunday|?."),
    ("direction", "+ North|- northward|+ eastern|?."),
    ("country", "+ France|- French|- france|+ Chad|?."),
    ("in_parentheses", "-a|+ (|+b|+ (|+c|+)|+ d|-).|- e"),
    ("line_start", "-a|- b|-\n|+c|- d|-\n  |-  |+-|- e"),
    ("after_comma", "-a|-,|+ b|-c|-,|+\n"),
    ("after_digit", "-a|- 1|+2|+.|- b"),
    ("first_quarter", "+a|+b|-c|-d|-e|-f|-g|-h"),
    ("last_quarter", "-a|-b|-c|-d|-e|-f|+g|+h"),
    ("address", "-see|+ https|+://|+x|+.org|+/a|- or|+ me|+@|+x|+.|+de|- now"),
    ("in_quotation", '-He|- said|+ "|+go|+ now|-",|- and|+ “|+no|-”|-.'),
    ("sentence_start", '-It|- is|?.|+ He|- sa|?id|?."|?\n|?\n|+We|- go'),
    ("after_article", "-The|+ cat|- saw|- a|? 1|- of|- an|+ ape"),
    ("seen_before", "- the|- cat|? a|+ the|? a|-the|+ cat"),
]

CODE = [
    ("python_keyword", "+def|- f|?(|- x|?):|?\n   |+ return|? returned|-n|?_|- x|?\n"),
    ("python_builtin", "- x|? =|+ len|?(|- y|?)|? +|+ max|- maximal|?\n"),
    ("python_definition", "-class|+ A|?:|?\n   |- def|+ f|?(|-x|?):|- f|?("),
    ("python_attribute", "- a|?.|?b|+c|?(|-d|?).|+e|?,|- f|?\n"),
    ("python_call", "- a|?.|+f|?(|-b|?,|+ g|?()|- c|?\n"),
    ("python_self", "- def|- f|?(|+self|?,|- selfish|?)"),
    ("python_comment", '-x|- =|- "|-#|-"|-  |+#|+ it|+\'s|-\n|-y'),
    ("python_string", "-x|- =|+ \"|+#|+'|+\"|-  |-#|- it|-'s|-\n|-y|+ ='|+z|+'|-\n"),
    ("python_operator", "-x|+ =|- y|+ **|- 2|+ ->|+ !=|-(|- =("),
    ("python_indent", "-if|- x|-:|-\n|+    |-y|-\n|- z"),
]


def signs(name: str, marked: str, source: str) -> tuple[str, str]:
    """Marks as written and as the task gives them."""
    pieces = marked.split("|")
    tokens = tuple(piece[1:] for piece in pieces)
    context = Context(0, tokens, (True,) * len(tokens), 0, source, "test")
    labels = TASKS[name].label(Passage(context, is_code=source == "code"))
    shown = [SIGNS[label] + token for label, token in zip(labels.tolist(), tokens, strict=True)]
    return marked, "|".join(shown)


@pytest.mark.parametrize(("name", "marked"), PROSE, ids=[name for name, _ in PROSE])
def test_prose(name: str, marked: str) -> None:
    written, found = signs(name, marked, "prose")
    assert found == written


@pytest.mark.parametrize(("name", "marked"), CODE, ids=[name for name, _ in CODE])
def test_code(name: str, marked: str) -> None:
    written, found = signs(name, marked, "code")
    assert found == written
    # Nothing is asked about prose.
    assert set(signs(name, marked, "prose")[1].split("|")) == {f"?{piece[1:]}" for piece in marked.split("|")}


def test_every_task_is_tried_here_and_has_one_name_and_one_sentence() -> None:
    assert len(TASKS) == len(TEXT_TASKS) >= 60
    assert {name for name, _ in PROSE + CODE} == set(TASKS)
    for task in (*TEXT_TASKS, CONTROL):
        assert task.definition[0].isupper()
        assert "; among tokens" in task.definition or "; among all tokens" in task.definition
        assert task.definition.endswith(".")
    assert len({task.definition for task in TEXT_TASKS}) == len(TEXT_TASKS)


def passage(*tokens: str, source: str = "prose", context: int = 0) -> Passage:
    return Passage(Context(context, tokens, (True,) * len(tokens), 0, source, "test"), is_code=False)


def test_padding_takes_no_part() -> None:
    for task in TEXT_TASKS:
        assert task.label(passage("The", " cat", "", ""))[2:].tolist() == [OUT, OUT]


def test_quarters_are_of_the_tokens_there_are() -> None:
    padded = passage("a", "b", "c", "d", "", "", "", "")
    assert TASKS["last_quarter"].label(padded).tolist() == [NEGATIVE] * 3 + [POSITIVE] + [OUT] * 4
    split = passage("a", "b", "日", "", "", "本", "", "")  # four tokens with a text
    assert TASKS["last_quarter"].label(split).tolist() == [NEGATIVE] * 3 + [OUT] * 2 + [POSITIVE] + [OUT] * 2


def test_what_closes_without_an_opening_leaves_what_stands_before_it_open() -> None:
    label = stands_between(r"\(", r"\)")
    assert label(passage("a", ")", "b", "(", "c")).tolist() == [OUT, OUT, NEGATIVE, POSITIVE, POSITIVE]


def test_what_nests_is_open_until_the_outermost_closes_and_what_does_not_until_the_first() -> None:
    text = passage("(", "(", "a", ")", "b", ")", "c")
    nested = [POSITIVE] * 5 + [NEGATIVE] * 2
    assert stands_between(r"\(", r"\)")(text).tolist() == nested
    # the second closing has no opening then: what stands before it is unknown
    flat = stands_between(r"\(", r"\)", nests=False)(text).tolist()
    assert flat == [OUT] * 6 + [NEGATIVE]


def test_the_coin_is_fair_and_the_same_for_a_context_whenever_it_is_tossed() -> None:
    tossed = [CONTROL.label(passage(*["a"] * 50, context=i)).tolist() for i in range(40)]
    assert tossed == [CONTROL.label(passage(*["b"] * 50, context=i)).tolist() for i in range(40)]
    heads = sum(label == POSITIVE for labels in tossed for label in labels)
    assert 900 < heads < 1100  # of 2000; five standard deviations are 112


def test_sources_are_told_from_those_named_or_from_all_others() -> None:
    of = {source: passage("a", "b", source=source) for source in ("de", "en", "code")}
    task = SourceTask(["de"], ["en"])
    assert [task.label(of[source])[0] for source in of] == [POSITIVE, NEGATIVE, OUT]
    task = SourceTask(["de"])
    assert [task.label(of[source])[0] for source in of] == [POSITIVE, NEGATIVE, NEGATIVE]
    assert task.definition == "A token of de; among those and tokens of all other sources."


@pytest.mark.parametrize(("positive", "negative"), [([], []), (["a"], ["a", "b"])])
def test_sources_on_both_sides_are_refused(positive: list[str], negative: list[str]) -> None:
    with pytest.raises(SettingError, match=r"positive="):
        SourceTask(positive, negative)
