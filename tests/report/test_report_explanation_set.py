"""One version of a target's explanations: those in use after refinement, and only of whom was refined."""

from __future__ import annotations

import pytest
from toy_report import Toy

from latentese.report.explanation_set import ExplanationSet, SetArtifacts, SetChoice, read_set


def chosen(toy: Toy, explainer: str, final: bool) -> ExplanationSet:
    paths = toy.targets["latents"]
    folders = SetArtifacts(paths.explanations, paths.scores, paths.refined if final else None)
    return read_set("toy", folders, SetChoice(explainer, "similarity", final))


def test_accepted_revisions_are_in_use(toy: Toy) -> None:
    first, last = (chosen(toy, "token_activation", final).explanations for final in (False, True))
    changed = {unit: last[unit].explanation for unit in first if last[unit] != first[unit]}
    assert changed and set(changed.values()) == {f"{unit}.revision.1" for unit in changed}


@pytest.mark.parametrize("final", [False, True])
def test_revisions_are_not_taken_for_those_of_another_explainer(toy: Toy, final: bool) -> None:
    found = chosen(toy, "token_table", final).explanations
    assert {explanation.explainer for explanation in found.values()} == {"token_table"}
