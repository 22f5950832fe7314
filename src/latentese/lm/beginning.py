"""The beginning that an answer was given or asked to have, where the answer repeats it."""

from __future__ import annotations

import re


def without_beginning(text: str, beginning: str) -> str:
    """Take off a beginning that the text repeats, in whatever case, and blanks before it.

    Not when its last word goes on: `Fires only on numbers` does not repeat `Fires on`, nor `words` the beginning
    `word`.
    """
    # A beginning such as `Fires on:` ends with no word, so anything may follow it.
    return re.sub(rf"\A\s*{re.escape(beginning)}(?!(?<=\w)\w)", "", text, count=1, flags=re.IGNORECASE)
