"""The YAMLs of these evaluations say every setting, and choose what the classes choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from flows.config import build
from latentese.errors import SettingError
from latentese.evaluation.n2g import N2G
from latentese.evaluation.probes import Probes
from latentese.evaluation.progressive import Progressive
from latentese.evaluation.shrinkage import Shrinkage


@pytest.mark.parametrize("evaluation", [N2G(), Probes(), Progressive(), Shrinkage()], ids=lambda made: made.name)
def test_a_choice_names_every_setting_and_agrees_with_the_class(root: Path, evaluation: object) -> None:
    name = evaluation.name  # type: ignore[attr-defined]
    spec = OmegaConf.to_container(OmegaConf.load(root / "conf" / "evaluation" / f"{name}.yaml"))
    assert list(spec) == ["_target_", *(field.name for field in fields(evaluation))]  # type: ignore[arg-type, call-overload]
    made = build(spec, f"evaluations.{name}")
    if isinstance(made, Probes):
        assert len(made.sources) == 7
        made = replace(made, sources={})
    assert made == evaluation


@pytest.mark.parametrize("kind", [N2G, Probes, Progressive, Shrinkage])
@pytest.mark.parametrize("wrong", [{"level": 1.5}, {"seed": -1}], ids=["level", "seed"])
def test_intervals_that_cannot_be_made_are_refused_before_anything_is_measured(
    kind: Callable[..., object], wrong: dict[str, float]
) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(SettingError, match=rf"^{name}={value} is not allowed"):
        kind(**wrong)
