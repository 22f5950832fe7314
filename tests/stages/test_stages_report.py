from __future__ import annotations

import filecmp
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from toy_report import Toy, build_toy
from toy_study import UNITS

from latentese.errors import ArtifactError, SettingError
from latentese.report.inputs import ReportSettings
from latentese.stages.report import report
from latentese.store.artifact import open_artifact

SETTINGS = ReportSettings(primary_simulator="similarity", primary_explainer="token_activation", n_examples=3, n_boot=50)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return build_toy(tmp_path_factory.mktemp("toy"))


def test_every_unit_has_a_page_and_the_artifact_is_published(toy: Toy, tmp_path: Path) -> None:
    out = report(toy.contexts, toy.targets, SETTINGS, tmp_path / "run")
    artifact = open_artifact(out, "report")
    pages = {name for name in artifact.manifest.files if name.startswith("units/")}
    assert pages == {f"units/{target}/{unit}.html" for target, units in UNITS.items() for unit in units}
    assert {"index.html", "metrics.json", "curves/train_latents.csv"} <= set(artifact.manifest.files)
    # The identity dictionary is not trained and has no curve.
    assert "curves/train_neurons.csv" not in artifact.manifest.files


def test_the_same_inputs_give_the_same_bytes(toy: Toy, tmp_path: Path) -> None:
    first = report(toy.contexts, toy.targets, SETTINGS, tmp_path / "a" / "run")
    second = report(toy.contexts, toy.targets, SETTINGS, tmp_path / "b" / "run")
    names = [str(path.relative_to(first)) for path in first.rglob("*") if path.is_file()]
    same, different, errors = filecmp.cmpfiles(first, second, names, shallow=False)
    assert (different, errors) == ([], [])
    assert len(same) == sum(path.is_file() for path in second.rglob("*"))


def test_the_curve_is_a_table_that_plots_can_read(toy: Toy, tmp_path: Path) -> None:
    out = report(toy.contexts, {"latents": toy.targets["latents"]}, SETTINGS, tmp_path / "run")
    lines = (out / "curves" / "train_latents.csv").read_text().splitlines()
    assert lines[0] == "step,n_tokens,fvu,l0,n_dead,aux_loss,lr"
    assert len(lines) == 11


def test_a_corrupt_input_stops_with_the_file_and_leaves_the_old_report(toy: Toy, tmp_path: Path) -> None:
    out = report(toy.contexts, {"latents": toy.targets["latents"]}, SETTINGS, tmp_path / "run")
    before = open_artifact(out, "report").sha256
    broken = tmp_path / "scores"
    shutil.copytree(toy.targets["latents"].scores, broken)
    (broken / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=r"scores\.parquet: corrupt"):
        report(toy.contexts, {"latents": replace(toy.targets["latents"], scores=broken)}, SETTINGS, out)
    assert open_artifact(out, "report").sha256 == before


@pytest.mark.parametrize("name", ["../outside", "a/b", "", "<b>"])
def test_a_target_name_that_is_no_folder_name_is_refused(toy: Toy, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError, match="letters, digits"):
        report(toy.contexts, {name: toy.targets["latents"]}, SETTINGS, tmp_path / "run")


def test_bad_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="n_examples=0"):
        replace(SETTINGS, n_examples=0)
    with pytest.raises(SettingError, match="contexts='all'"):
        replace(SETTINGS, contexts="all")
