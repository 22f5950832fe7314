from __future__ import annotations

import pytest

from latentese.corpus.clean import strip_html, strip_wikitext, tidy_spaces


@pytest.mark.parametrize(
    ("wikitext", "plain"),
    [
        ("'''Bold''' and ''italic''.", "Bold and italic."),
        ("A [[river]] and the [[River Thames|Thames]].", "A river and the Thames."),
        ("[[cat]]s, [[:Category:Rivers]] aside", "cats, aside"),
        ("[[File:a.jpg|thumb|A [[river]] in [[Bern|the city]]]]After.", "After."),
        ("[[Image:a.png|thumb|Caption with [brackets] inside]]After.", "After."),
        ("One{{cite|a={{nested|b}}}} two.", "One two."),
        ("Before.\n{| class=x\n| cell {| inner |}\n|}\nAfter.", "Before.\n\nAfter."),
        ("Fact.<ref name=a>Book, p. 1</ref> More.<ref name=a/> End.", "Fact. More. End."),
        ("x<!-- hidden\nlines -->y", "xy"),
        ("Area is <math>x^2</math> here.", "Area is here."),
        ("<small>tiny</small> text<br />", "tiny text"),
        ("See [http://a.org the site] or [http://b.org].", "See the site or."),
        ("== History ==\nText.\n* item\n# item\n: indented", "Text."),
        ("Text.\n\n==See also==\n* [[Other]]\nMore.", "Text."),
        ("5 &lt; 6 &amp; 7&nbsp;km", "5 < 6 & 7 km"),
        ("&lt;ref&gt; is shown", "<ref> is shown"),
        ("Name ({{lang|el|x}}) was", "Name was"),
        ("__NOTOC__Text", "Text"),
        ("a = b in the middle | stays", "a = b in the middle | stays"),
        ("", ""),
    ],
)
def test_wikitext_becomes_what_a_reader_sees(wikitext: str, plain: str) -> None:
    assert strip_wikitext(wikitext) == plain


def test_unclosed_markup_ends() -> None:
    for broken in ("{{" * 500, "[[" * 500, "{|" * 500, "<ref>" * 500, "[[File:" * 300, "'" * 999):
        assert isinstance(strip_wikitext(broken), str)


@pytest.mark.parametrize(
    ("fragment", "plain"),
    [
        ("<p>One &amp; two</p><p>three<br>four</p>", "One & two\nthree\nfour"),
        ("a < b and c > d", "a < b and c > d"),
        ("<strong>note:</strong> x", "note: x"),
    ],
)
def test_html_becomes_text(fragment: str, plain: str) -> None:
    assert strip_html(fragment) == plain


def test_spaces_are_tidied() -> None:
    assert tidy_spaces("Damen und Herren !  Ja ,\t gut .\n \n\n\n Ende ") == "Damen und Herren! Ja, gut.\n\nEnde"
    assert tidy_spaces("a :b .5") == "a :b .5"
