"""An ensemble by itself: it names members, and asks nothing."""

from __future__ import annotations

import asyncio

import pytest
from toy_units import make_context, make_explanation

from latentese.errors import SettingError
from latentese.simulators.ensemble import EnsembleSimulator


@pytest.mark.parametrize("members", [(), ("a",), ("a", "a"), tuple("abcdefghi")])
def test_it_takes_two_to_eight_different_members(members: tuple[str, ...]) -> None:
    with pytest.raises(SettingError, match=r"simulators\.ensemble\.members"):
        EnsembleSimulator(members)


def test_it_cannot_be_asked() -> None:
    ensemble = EnsembleSimulator(("a", "b"))
    assert not ensemble.reads(make_explanation("boats"))
    with pytest.raises(SettingError, match="combines what others answered"):
        asyncio.run(ensemble.simulate(make_explanation("boats"), [make_context(1, "a b")]))
