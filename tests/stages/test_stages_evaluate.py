import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from tiny_models import make_tiny_llama
from toy_artifacts import Planted, ToyText, write_activations, write_contexts

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.dictionaries.train_settings import TrainSettings
from latentese.errors import ArtifactError, SettingError
from latentese.evaluation.base import Evaluated, Evaluation, Findings
from latentese.evaluation.densities import HISTOGRAM
from latentese.evaluation.reconstruction import DENSITIES, Reconstruction
from latentese.stages.evaluate import evaluate
from latentese.stages.train import train
from latentese.store.artifact import Artifact, open_artifact
from latentese.store.tables import read_table
from latentese.subject.model import SubjectChoice

TRAINING = TrainSettings(n_tokens=60 * 66, batch_tokens=66, lr=1e-2, decay=0.3, dead_after_tokens=300)
RECONSTRUCTION = {"reconstruction": Reconstruction()}


@dataclass(frozen=True)
class Source:
    """A model that is only fetched when it is needed."""

    path: Path | None = None
    name: str = "toy"

    def folder(self) -> Path:
        assert self.path is not None, "the subject was not needed"
        return self.path


@dataclass(frozen=True)
class Counting:
    """Writes a table, may ask for the subject, is remembered when it measures, and may fail once."""

    name: str
    needs_subject: bool = False
    asked: ClassVar[list[str]] = []
    failing: ClassVar[set[str]] = set()

    def measure(self, evaluated: Evaluated) -> Findings:
        self.asked.append(self.name)
        if self.name in self.failing:
            self.failing.remove(self.name)
            raise RuntimeError("killed")
        n_layers = evaluated.load_subject().shape.n_layers if self.needs_subject else None
        table = pl.DataFrame({"unit": [0, 1]})
        return Findings({"n_layers": n_layers, "hookpoint": evaluated.hookpoint}, {"rows": table})


@dataclass(frozen=True)
class NothingToMeasure:
    """Cannot be done for this target."""

    name: str = "nothing"

    def measure(self, evaluated: Evaluated) -> Findings:
        return Findings.none("the reconstruction is exact")


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    contexts = write_contexts(tmp_path / "contexts")
    return contexts, write_activations(tmp_path / "activations", contexts)


def evaluated_with(
    evaluations: Mapping[str, Evaluation], inputs: tuple[Path, Path], folder: Path, source: Source | None = None
) -> tuple[dict[str, Any], Artifact]:
    """Metrics and artifact of some evaluations of the neurons."""
    if not (folder / "dictionary").is_dir():
        train(inputs[1], Neurons(16), TRAINING, folder / "dictionary", lambda _: None)
    subject = SubjectChoice(source or Source(), "float32", "cpu")
    out = evaluate(*inputs, folder / "dictionary", subject, evaluations, folder / "evaluation")
    artifact = open_artifact(out, "evaluation")
    return json.loads(artifact.file("metrics.json").read_text()), artifact


def reconstruction_of(inputs: tuple[Path, Path], dictionary: Dictionary, folder: Path) -> dict[str, Any]:
    train(inputs[1], dictionary, TRAINING, folder / "dictionary", lambda _: None)
    metrics, _ = evaluated_with(RECONSTRUCTION, inputs, folder)
    found: dict[str, Any] = metrics["reconstruction"]
    return found


def test_latents_of_planted_tokens_generalise_to_test_documents(inputs, tmp_path):
    metrics = reconstruction_of(inputs, TopK(16, 24, 1), tmp_path)
    assert metrics["fvu"] < 0.2
    assert metrics["cosine"]["mean"] > 0.8
    assert metrics["l0"] <= 1.0
    assert 0 <= metrics["dead_share"] < 1


def test_neurons_reconstruct_exactly(inputs, tmp_path):
    metrics = reconstruction_of(inputs, Neurons(16), tmp_path)
    assert (metrics["fvu"], metrics["l0"], metrics["signed"]) == (0.0, 16.0, True)
    # Signed units fire above a threshold that is not known here.
    assert not {"density", "dead_share"} & set(metrics)


def test_tables_have_a_row_per_unit_and_count_every_active_one(inputs, tmp_path):
    metrics = reconstruction_of(inputs, TopK(16, 24, 2), tmp_path)
    artifact = open_artifact(tmp_path / "evaluation", "evaluation")
    densities = read_table(artifact.file("reconstruction_densities.parquet"), DENSITIES)
    histogram = read_table(artifact.file("reconstruction_density_histogram.parquet"), HISTOGRAM)
    assert densities["unit"].to_list() == list(range(24))
    assert histogram["n_units"].sum() == densities.filter(pl.col("n_active") > 0).height
    assert metrics["n_tokens"] == 106
    assert artifact.manifest.counts == {"n_units": 24, "measured": {"reconstruction": True}}


def test_each_evaluation_has_its_figures_and_tables_under_its_name(inputs, tmp_path):
    metrics, artifact = evaluated_with({"a": Counting("a"), "b": Counting("b")}, inputs, tmp_path)
    assert metrics == {name: {"n_layers": None, "hookpoint": "layers.0.resid_post"} for name in ("a", "b")}
    assert set(artifact.manifest.files) == {"metrics.json", "a_rows.parquet", "b_rows.parquet"}
    # The settings of every evaluation are in the manifest: it says what was measured, and how.
    assert set(artifact.manifest.settings["evaluations"]) == {"a", "b"}


def test_the_subject_is_loaded_when_asked_for_and_once(inputs, tmp_path, monkeypatch):
    loaded = []
    load = SubjectChoice.load
    monkeypatch.setattr(SubjectChoice, "load", lambda choice: loaded.append(1) or load(choice))
    source = Source(make_tiny_llama(tmp_path / "model"))
    evaluated_with({"a": Counting("a")}, inputs, tmp_path, source)
    assert loaded == []
    both = {name: Counting(name, needs_subject=True) for name in ("a", "b")}
    metrics, _ = evaluated_with(both, inputs, tmp_path, source)
    assert loaded == [1]
    assert metrics["b"]["n_layers"] == 2


def test_what_cannot_be_measured_says_why_and_stops_nothing(inputs, tmp_path):
    evaluations = {"nothing": NothingToMeasure(), "a": Counting("a")}
    metrics, artifact = evaluated_with(evaluations, inputs, tmp_path)
    assert metrics["nothing"] == {"not_measured": "the reconstruction is exact"}
    assert artifact.manifest.counts["measured"] == {"nothing": False, "a": True}


def test_an_interrupted_run_goes_on_at_the_next_evaluation(inputs, tmp_path):
    evaluations = {"a": Counting("a"), "b": Counting("b")}
    _, undisturbed = evaluated_with(evaluations, inputs, tmp_path / "undisturbed")
    Counting.asked.clear()
    Counting.failing.add("b")
    with pytest.raises(RuntimeError, match="killed"):
        evaluated_with(evaluations, inputs, tmp_path)
    _, artifact = evaluated_with(evaluations, inputs, tmp_path)
    assert Counting.asked == ["a", "b", "b"]
    assert artifact.manifest == undisturbed.manifest


def test_other_settings_are_measured_anew(inputs, tmp_path):
    Counting.failing.add("b")
    with pytest.raises(RuntimeError, match="killed"):
        evaluated_with({"a": Counting("a"), "b": Counting("b")}, inputs, tmp_path)
    Counting.asked.clear()
    source = Source(make_tiny_llama(tmp_path / "model"))
    evaluated_with({"a": Counting("a", needs_subject=True), "b": Counting("b")}, inputs, tmp_path, source)
    assert Counting.asked == ["a", "b"]


def test_activations_of_other_contexts_are_refused(inputs, tmp_path):
    other = write_contexts(tmp_path / "other", text=ToyText(seed=9))
    with pytest.raises(ArtifactError, match="not collected from"):
        evaluated_with(RECONSTRUCTION, (other, inputs[1]), tmp_path)


def test_activations_of_another_subject_are_refused(inputs, tmp_path):
    with pytest.raises(SettingError, match=r"subject='other' is not allowed: the activations are those of toy"):
        evaluated_with(RECONSTRUCTION, inputs, tmp_path, Source(name="other"))


def test_a_dictionary_of_another_width_stops_before_any_work(inputs, tmp_path):
    wide = write_activations(tmp_path / "wide", inputs[0], Planted(width=20))
    train(wide, Neurons(20), TRAINING, tmp_path / "dictionary", lambda _: None)
    with pytest.raises(SettingError, match=r"dictionary.d_model=20 is not allowed"):
        evaluated_with(RECONSTRUCTION, inputs, tmp_path)
