"""The table of claims and its figures: what was claimed, found and decided; figures that fit their documents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from latentese.errors import ArtifactError, SettingError
from latentese.metrics.claims import Claim, Matching, judge
from latentese.metrics.contrasts import Figure
from latentese.metrics.intervals import Bootstrap
from latentese.report.claim_figures import DocumentSums, Measure, read_figure
from latentese.report.claims import ClaimFindings, claims_json, page, write_claims
from latentese.store.artifact import Artifact, open_draft
from latentese.store.files import write_json

FVU = {
    "relu": [Figure(0.50), Figure(0.52)],
    "topk": [Figure(0.30), Figure(0.30)],
    "topk_512": [Figure(0.40), None],
}
CLAIMS = {
    "better": Claim("TopK explains more", "paper, 2.3", "fvu", {"relu": 1, "topk": -1}, "above", matched=True),
    "much": Claim("... 3 times | or more", "paper", "fvu", {"relu": 1, "topk": -1}, "above", 3.0, "ratio"),
    "wider": Claim("More latents explain more", "paper", "fvu", {"topk_512": 1, "topk": -1}, "above"),
}


def findings() -> ClaimFindings:
    matching = Matching(0.1, {"relu": 32.0, "topk": 32.0})
    judged = {name: judge(claim, FVU, matching, Bootstrap(n_boot=50)) for name, claim in CLAIMS.items()}
    return ClaimFindings("python -m flows.claims toy", ["six dictionaries"], judged, {"fvu": FVU}, 0.95)


def test_each_claim_is_a_row_with_its_verdict() -> None:
    text = page(findings())
    assert "3 claims: 1 held, 1 did not hold, 1 undecided. Made by `python -m flows.claims toy`" in text
    # .21 -+ 12.706 * .01
    row = "| TopK explains more (paper, 2.3) | fvu | relu 0.51, topk 0.3 | relu - topk > 0 "
    assert row + "| 0.21 [0.08294, 0.3371] | 2 seeds | **held** |" in text
    assert "relu * topk^-1 > 3" in text
    assert "**did not hold**" in text
    assert (
        r"| topk\_512 0.4, topk 0.3 | topk\_512 - topk > 0 | - | - | **undecided**: not defined for topk\_512 |" in text
    )
    assert "3 times \\| or more" in text, "a bar does not break the table"
    assert "- six dictionaries" in text


def test_every_figure_is_shown_with_its_spread_over_seeds() -> None:
    text = page(findings())
    assert "| relu | 0.51 (0.5 to 0.52) |" in text
    assert r"| topk\_512 | 0.4 (0.4 to 0.4) |" in text


def test_json_holds_what_the_page_shows(tmp_path: Path) -> None:
    write_claims(findings(), tmp_path / "claims.md", tmp_path / "claims.json")
    assert (tmp_path / "claims.md").read_text() == page(findings())
    said = json.loads((tmp_path / "claims.json").read_text())
    assert said == json.loads(json.dumps(claims_json(findings()), allow_nan=False))
    assert {name: claim["verdict"] for name, claim in said["claims"].items()} == {
        "better": "held",
        "much": "did not hold",
        "wider": "undecided",
    }
    assert said["claims"]["better"]["found"]["value"] == pytest.approx(0.21)
    assert said["claims"]["much"]["claimed"] == "above 3"
    assert said["figures"]["fvu"]["topk_512"] == [0.4, None]


def evaluation(folder: Path, metrics: object, table: pl.DataFrame | None = None) -> Artifact:
    with open_draft(folder / "evaluation", "evaluation", {}, {}) as draft:
        write_json({"downstream": metrics}, draft.path / "metrics.json")
        if table is not None:
            table.write_parquet(draft.path / "downstream_contexts.parquet")
        return draft.publish({})


# Document 7 has two contexts: 2 tokens at 1.0 each and 1 at 4.0; document 3 has 3 tokens at 2.0: (6 + 6) / (3 + 3) = 2
TABLE = pl.DataFrame({"document": [7, 3, 7], "n_tokens": [2, 3, 1], "kl": [1.0, 2.0, 4.0]})
PER_TOKEN = Measure("downstream", "kl/value", DocumentSums("contexts", "kl", "n_tokens", per_denominator=True))


def test_a_figure_comes_with_its_documents_sums(tmp_path: Path) -> None:
    figure = read_figure(evaluation(tmp_path, {"kl": {"value": 2.0}}, TABLE), PER_TOKEN)
    assert figure.value == 2.0
    np.testing.assert_allclose(figure.sums, [[6.0, 3.0], [6.0, 3.0]])


def test_sums_are_taken_as_they_are_where_they_are_sums(tmp_path: Path) -> None:
    # (1 + 2 + 4) / 6, documents in order: 3 with (2, 3), 7 with (5, 3)
    measure = Measure("downstream", "kl/value", DocumentSums("contexts", "kl", "n_tokens"))
    figure = read_figure(evaluation(tmp_path, {"kl": {"value": 7 / 6}}, TABLE), measure)
    np.testing.assert_allclose(figure.sums, [[2.0, 3.0], [5.0, 3.0]])


def test_a_figure_that_its_documents_do_not_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"kl/value is 2\.1, its documents make 2"):
        read_figure(evaluation(tmp_path, {"kl": {"value": 2.1}}, TABLE), PER_TOKEN)


def test_a_figure_that_is_not_defined_is_none(tmp_path: Path) -> None:
    plain = Measure("downstream", "kl/value")
    assert read_figure(evaluation(tmp_path / "a", {"kl": {"value": None}}), plain) is None
    assert read_figure(evaluation(tmp_path / "b", {"not_measured": "exact"}), plain) is None
    assert read_figure(evaluation(tmp_path / "c", {"kl": {"value": 3}}), plain) == Figure(3.0)


def test_a_path_that_leads_nowhere_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"claims\.measures\.figure='kl/valeu' is not allowed: a path in"):
        read_figure(evaluation(tmp_path, {"kl": {"value": 3}}), Measure("downstream", "kl/valeu"))
