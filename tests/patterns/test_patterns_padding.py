"""Padding: which candidates there are, and that the quietest is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from latentese.patterns.n2g import Firing, Strength, TokenIds
from latentese.patterns.padding import choose_pad, pad_candidates


def test_candidates_are_special_tokens_first_and_then_frequent_ones_once_each() -> None:
    config = SimpleNamespace(pad_token_id=None, eos_token_id=[7, 2], bos_token_id=2)
    token_ids = np.array([5, 5, 5, 2, 2, 2, 2, 9, 9, 4])
    # 2 is special and the most frequent; 5 and 9 follow
    assert pad_candidates(config, token_ids, 3) == [7, 2, 0, 5, 9]
    assert pad_candidates(SimpleNamespace(), token_ids, 1) == [0, 2]


def unit(loud: int) -> Strength:
    """Fires on 5 with 4, but with 1 behind the padding `loud`, and with 2 behind token 6."""

    def strength(texts: Sequence[TokenIds]) -> list[float]:
        before = {loud: 1.0, 6: 2.0}
        return [before.get(text[-2], 4.0) if text[-1] == 5 else 0.0 for text in texts]

    return strength


def test_the_padding_that_takes_least_is_chosen() -> None:
    firings = [Firing((3, 6, 5), (" a", " b", " c"), 4.0)]
    # One token: 1/4 behind 10, all behind others. Two tokens: 2/4 whatever the padding.
    assert choose_pad([10, 11, 12], [(unit(10), firings)]) == 11
    # Of two units each objects to one candidate.
    assert choose_pad([10, 11, 12], [(unit(10), firings), (unit(11), firings)]) == 12
    # Among equals the first.
    assert choose_pad([12, 11], [(unit(10), firings)]) == 12


def test_more_than_the_whole_activation_counts_as_the_whole() -> None:
    firings = [Firing((5,), (" a",), 4.0), Firing((6,), (" b",), 1.0)]

    def strength(texts: Sequence[TokenIds]) -> list[float]:
        # behind 10 one firing is ten times too strong and the other is lost; behind 11 both keep 3/4
        return [{(10, 5): 40.0, (10, 6): 0.0, (11, 5): 3.0, (11, 6): 0.75}[text[-2], text[-1]] for text in texts]

    assert choose_pad([10, 11], [(strength, firings)]) == 11
