"""What `make demo` runs on either kind of processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config import composed_params
from flows.demo import ON_PROCESSOR, OVERRIDES
from latentese.weights.devices import definite_dtype


def test_every_kind_of_processor_has_a_demo() -> None:
    assert definite_dtype("auto", "cpu") in OVERRIDES
    assert OVERRIDES.keys() == ON_PROCESSOR.keys()


def test_the_demo_is_the_defaults_and_without_bfloat16_a_part_of_them(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    whole, small = (composed_params(OVERRIDES[dtype]) for dtype in ("bfloat16", "float32"))
    assert whole == composed_params([])
    assert (whole["study"], small["study"]) == ("demo", "small")
    assert small["explaining"]["n_units"] < whole["explaining"]["n_units"]
    for split, n_tokens in small["contexts"]["n_tokens"].items():
        assert n_tokens < whole["contexts"]["n_tokens"][split]
    for group in ("lm", "explainers", "simulators", "targets", "dictionary"):
        assert small[group] == whole[group], "the same path, by the same models"
