"""Characters that a tokenizer splits over several tokens: which token shows what the unit does on them.

Byte-level vocabularies do so with rarer Chinese characters and emoji. The first token holds the character's text, the
others hold ''. The unit often fires on the last, where the subject has read the whole character.
"""

from __future__ import annotations

from dataclasses import replace

from latentese.records import Example


def shown_acts(example: Example) -> dict[int, float]:
    """Give the activation of every token with a text, by position.

    A character that is split over tokens is the text of the first, which has the largest activation of them all. One
    that begins before the context is not in its text, and nothing can be shown of it.
    """
    acts: dict[int, float] = {}
    holder = None
    for i, (token, act) in enumerate(zip(example.context.tokens, example.acts, strict=True)):
        holder = i if token else holder
        if holder is not None:
            acts[holder] = max(act, acts.get(holder, act))
    return acts


def on_first_tokens(example: Example) -> Example:
    """Give the same example with the activations of `shown_acts`, and 0 on the rest of split characters."""
    shown = shown_acts(example)
    return replace(example, acts=tuple(shown.get(position, 0.0) for position in range(len(example.acts))))
