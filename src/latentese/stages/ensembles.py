"""What stage `score` does for ensembles: fit them to their members' simulations, and combine these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from latentese import schemas
from latentese.errors import SettingError
from latentese.metrics.ensemble import combine, fit_ensemble
from latentese.metrics.scores import FITTED_ON
from latentese.simulators.base import Simulator
from latentese.simulators.ensemble import EnsembleSimulator
from latentese.stages.scoring import ScoreSettings


def check_members(simulators: Mapping[str, Simulator], settings: ScoreSettings) -> None:
    """Raise SettingError for a member that is no simulator of the study, and where there is nothing to fit on.

    So it does for the limit of an ensemble: it combines whatever its members simulated.
    """
    for name, ensemble in _ensembles(simulators).items():
        if name in settings.limits:
            allowed = f"no limit: those of its members, {', '.join(ensemble.members)}, hold"
            raise SettingError(f"scoring.limits.{name}", settings.limits[name], allowed)
        if FITTED_ON not in settings.splits:
            raise SettingError("scoring.splits", list(settings.splits), f"{FITTED_ON} among them, to fit {name} on")
        for member in ensemble.members:
            if member not in (known := without_ensembles(simulators)):
                raise SettingError(f"simulators.{name}.members", member, f"one of {', '.join(known)}")
            settings.check_fitted(member, name)


def combine_members(
    simulations: pl.DataFrame, simulators: Mapping[str, Simulator], wrong: Mapping[str, Mapping[str, str]]
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Combine the simulations of every ensemble (schema SIMULATIONS), and describe each for the manifest.

    wrong: of each simulator, whose explanation stood in for each explanation. Where members were shown different ones,
    their ensemble has no control.
    """
    tables, described = [schemas.SIMULATIONS.to_frame()], {}
    for name, ensemble in _ensembles(simulators).items():
        members = list(ensemble.members)
        fit = fit_ensemble(simulations, members)
        alike = [own for own in wrong[members[0]] if len({wrong[member].get(own) for member in members}) == 1]
        comparable = (pl.col("control") == "none") | pl.col("explanation").is_in(alike)
        tables.append(combine(simulations.filter(comparable), name, members, fit.weights))
        described[name] = {
            "weights": dict(zip(members, fit.weights, strict=True)),
            "shares": dict(zip(members, fit.shares, strict=True)),
            "n_units": fit.n_units,
        }
    return pl.concat(tables), described


def without_ensembles(simulators: Mapping[str, Simulator]) -> dict[str, Simulator]:
    """Keep the simulators that ask something themselves."""
    return {name: s for name, s in simulators.items() if not isinstance(s, EnsembleSimulator)}


def _ensembles(simulators: Mapping[str, Simulator]) -> dict[str, EnsembleSimulator]:
    return {name: s for name, s in simulators.items() if isinstance(s, EnsembleSimulator)}
