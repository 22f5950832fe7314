from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from latentese.evaluation.selectivity import Chosen, Firing
from latentese.evaluation.slices import UNITS, Changes, own_and_others, unit_table
from latentese.metrics.intervals import Bootstrap

BOOTSTRAP = Bootstrap(200)
FIRING = Firing(("code", "prose"), np.array([[0.5, 0.0, 0.25], [0.0, 0.0, 0.75]]), np.ones(3))


def changes_by_hand() -> Changes:
    """Three documents, one unit: code (4 tokens), code (1 token), prose (5 tokens)."""
    nats = np.array([[[8.0, 4.0]], [[2.0, 6.0]], [[0.5, -5.0]]])
    return Changes(nats, np.array([4.0, 1.0, 5.0]), np.array(["code", "code", "prose"]))


def test_contexts_add_up_to_documents() -> None:
    contexts = pl.DataFrame({"document": [7, 7, 3], "source": ["code", "code", "prose"]})
    changes = Changes.by_document(np.array([[[1.0]], [[2.0]], [[4.0]]]), np.array([10, 20, 40]), contexts)
    assert changes.source.tolist() == ["prose", "code"]
    assert changes.n_tokens.tolist() == [40.0, 30.0]
    assert changes.nats.tolist() == [[[4.0]], [[3.0]]]


def test_a_row_per_unit_and_source_in_nats_per_token() -> None:
    table = unit_table(changes_by_hand(), [Chosen(2, "prose")], FIRING, BOOTSTRAP)
    assert table.schema == UNITS
    code, prose = table.to_dicts()
    # (8 + 2) / (4 + 1) = 2 and (4 + 6) / 5 = 2
    assert (code["source"], code["n_documents"], code["n_tokens"], code["ablated"], code["steered"]) == (
        "code", 2, 5, 2.0, 2.0
    )  # fmt: skip
    # both documents have 2 nats per token when ablated, 1 and 6 when steered
    assert (code["ablated_low"], code["ablated_high"]) == (2.0, 2.0)
    assert (code["steered_low"], code["steered_high"]) == (1.0, 6.0)
    assert (prose["ablated"], prose["steered"], prose["ablated_low"]) == (0.1, -1.0, None)  # one document alone
    assert (code["density"], prose["density"], prose["selective_for"]) == (0.25, 0.75, "prose")


def test_own_others_and_their_difference() -> None:
    figures = own_and_others(changes_by_hand(), [Chosen(0, "code")], BOOTSTRAP)
    assert figures["ablated"]["own"]["value"] == 2.0
    assert figures["ablated"]["others"]["value"] == pytest.approx(0.1)
    assert figures["ablated"]["own_over_others"]["value"] == pytest.approx(1.9)
    assert figures["steered"]["own_over_others"]["value"] == pytest.approx(3.0)
    assert figures["ablated"]["own_over_others"]["low"] <= 1.9 <= figures["ablated"]["own_over_others"]["high"] + 1e-9


def test_means_are_over_units() -> None:
    nats = np.stack([changes_by_hand().nats[:, 0], 3 * changes_by_hand().nats[:, 0]], axis=1)
    both = Changes(nats, changes_by_hand().n_tokens, changes_by_hand().source)
    figures = own_and_others(both, [Chosen(0, "code"), Chosen(1, "code")], BOOTSTRAP)
    assert figures["ablated"]["own"]["value"] == pytest.approx((2.0 + 6.0) / 2)


def test_without_other_sources_there_is_nothing_to_compare() -> None:
    alone = Changes(np.ones((2, 1, 2)), np.ones(2), np.array(["code", "code"]))
    figures = own_and_others(alone, [Chosen(0, "code")], BOOTSTRAP)
    assert figures["ablated"]["own"]["value"] == 1.0
    assert figures["ablated"]["others"] == {"value": None, "low": None, "high": None}
    assert figures["ablated"]["own_over_others"]["value"] is None
