"""One command adds a person's explanation where the study explains the unit, and says what to run next."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from planted_study import PlantedStudy, write_planted_study

from flows import annotate, explain, fires
from flows.config import Params, compose
from flows.hydra_plugins.latentese_resolvers import annotations_path
from latentese.errors import ArtifactError, LatenteseError, SettingError
from latentese.examples.store import Examples
from latentese.explainers.annotations import Annotation, read_annotations


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    return write_planted_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def project(study: PlantedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the study's artifacts where the flows look for them, of 3 units."""
    target = tmp_path / "artifacts" / "targets" / "neurons"
    target.mkdir(parents=True)
    (target / "examples").symlink_to(study.places.examples)
    (target / "dictionary").symlink_to(study.places.dictionary)
    (tmp_path / "artifacts" / "contexts").symlink_to(study.places.contexts)
    monkeypatch.chdir(tmp_path)
    configure()
    return tmp_path


def configure(**explainers: object) -> None:
    params: Params = {
        "targets": {"neurons": {"hookpoint": "layers.0.mlp_act"}},
        "explaining": {"n_units": 3},
        "explainers": explainers,
        "annotations_path": annotations_path(OmegaConf.create(explainers)),
    }
    OmegaConf.save(OmegaConf.create(params), "params.yaml")


def studied(study: PlantedStudy) -> list[int]:
    return [unit.unit for unit in Examples(study.places.examples).study(3)]


def test_a_line_is_added_for_a_unit_of_the_study(
    project: Path, study: PlantedStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = studied(study)[1]
    annotate.main("neurons", str(unit), " names of metals ", "--author", "Ada")
    assert read_annotations(project / "annotations.jsonl") == [Annotation("neurons", unit, "names of metals", "Ada")]
    assert "+explainer@explainers.human=human" in capsys.readouterr().out


def test_the_configured_file_is_the_one_that_is_added_to(
    project: Path, study: PlantedStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(human={"_target_": "latentese.explainers.human.HumanExplainer", "path": "mine.csv"})
    annotate.main("neurons", str(studied(study)[0]), "names of metals")
    assert (project / "mine.csv").is_file() and not (project / "annotations.jsonl").exists()
    assert "`dvc repro` scores it" in capsys.readouterr().out


def test_what_cannot_be_annotated_is_one_line_and_writes_nothing(project: Path, study: PlantedStudy) -> None:
    unit = str(studied(study)[0])
    outside = next(number for number in range(12) if number not in studied(study))
    with pytest.raises(SettingError, match=r"target='latents' is not allowed: one of neurons"):
        annotate.main("latents", unit, "x1")
    with pytest.raises(SettingError, match=rf"unit={outside} is not allowed: one of the 3 units"):
        annotate.main("neurons", str(outside), "x1")
    with pytest.raises(SettingError, match="explanation"):
        annotate.main("neurons", unit, " ... ")
    assert not (project / "annotations.jsonl").exists()
    annotate.main("neurons", unit, "first")
    with pytest.raises(ArtifactError, match="already: 'first'; edit that line"):
        annotate.main("neurons", unit, "second")
    (project / "artifacts" / "targets" / "neurons" / "examples").unlink()
    for command in (lambda: annotate.main("neurons", unit, "x1"), lambda: fires.main("neurons", "x1")):
        with pytest.raises(LatenteseError, match="not there yet: run `dvc repro sample`"):
            command()


def test_dvc_watches_the_file_where_a_person_explains(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    without = OmegaConf.create(compose())
    assert without.annotations_path == "artifacts/checked.txt"
    with_person = OmegaConf.create(compose(["+explainer@explainers.human=human", "explainers.human.path=mine.csv"]))
    assert with_person.annotations_path == "mine.csv"
    deps = OmegaConf.to_container(OmegaConf.load("dvc.yaml"), resolve=False)["stages"]["explain"]["do"]["deps"]  # type: ignore[index,call-overload]
    assert "${annotations_path}" in deps


def test_each_target_is_given_its_own_lines(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(root)
    file = tmp_path / "annotations.jsonl"
    file.touch()
    overrides = ["+explainer@explainers.human=human", f"explainers.human.path={file}"]
    params: Params = OmegaConf.to_container(OmegaConf.create(compose(overrides)))  # type: ignore[assignment]
    given = {target: explain.prepare(params, target).args[2]["human"].target for target in params["targets"]}  # type: ignore[attr-defined]
    assert given == {"latents": "latents", "neurons": "neurons"}


def test_a_misspelt_target_stops_before_any_stage_runs(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(root)
    file = tmp_path / "annotations.jsonl"
    file.write_text('{"target": "latent", "unit": 3, "explanation": "months"}\n')
    overrides = ["+explainer@explainers.human=human", f"explainers.human.path={file}"]
    params: Params = OmegaConf.to_container(OmegaConf.create(compose(overrides)))  # type: ignore[assignment]
    with pytest.raises(ArtifactError, match=r"line 1: target='latent' is not allowed: one of latents, neurons"):
        explain.prepare(params, "latents")


def test_two_files_of_a_persons_explanations_are_refused() -> None:
    spec = {"_target_": "latentese.explainers.human.HumanExplainer"}
    two = OmegaConf.create({name: spec | {"path": f"{name}.jsonl"} for name in ("bob", "ada")})
    with pytest.raises(ValueError, match=r"at most, found ada\.jsonl, bob\.jsonl"):
        annotations_path(two)
    twice = OmegaConf.create({name: spec | {"path": "ada.jsonl"} for name in ("bob", "ada")})
    assert annotations_path(twice) == "ada.jsonl"
