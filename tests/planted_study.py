"""The planted model and text as artifacts up to examples: neurons with words that they fire on, and a reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from planted import CLASSES, N_NEURONS, write_model, write_text

from latentese.corpus.contexts import Contexts
from latentese.corpus.folder import Folder
from latentese.corpus.settings import ContextSettings
from latentese.corpus.source import SourceShare
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.train_settings import TrainSettings
from latentese.examples.settings import SampleSettings
from latentese.examples.store import Examples, join_contexts
from latentese.reading.subject_reader import StudyPlaces, SubjectReader
from latentese.records import Example, Split, Unit
from latentese.stages.collect import collect
from latentese.stages.sample import sample
from latentese.stages.tokenize import tokenize
from latentese.stages.train import train
from latentese.subject.model import SubjectChoice
from latentese.subject.settings import CaptureSettings
from latentese.weights.local import LocalModel

HOOKPOINT = "layers.0.mlp_act"
QUANTILE = 1 - 1.6 * 0.2 / len(CLASSES)
"""One word in five is from one of the classes: a neuron fires on the words of its class and, weakly, on some others."""


@dataclass(frozen=True)
class PlantedStudy:
    """Folders of the artifacts, and where the model is."""

    places: StudyPlaces
    model: Path

    @property
    def subject(self) -> SubjectChoice:
        """The model, computing in float32."""
        return SubjectChoice(LocalModel(self.model), "float32", "cpu")

    def reader(self) -> SubjectReader:
        """A reader that has loaded nothing yet."""
        return SubjectReader(self.places, self.subject, HOOKPOINT)

    def unit(self, number: int) -> Unit:
        """One neuron and its statistics."""
        fields = ("unit", "density", "max_act", "mean_act", "threshold")
        return Unit(**Examples(self.places.examples).units.filter(unit=number).select(fields).row(0, named=True))

    def examples(self, unit: int, split: Split) -> list[Example]:
        """The neuron's examples, strongest first."""
        rows = Examples(self.places.examples).of(unit, split)
        return join_contexts(rows, Contexts(self.places.contexts).get(rows["context"].to_list()))


def write_planted_study(root: Path) -> PlantedStudy:
    """Run the stages up to `sample`; a second or two."""
    model = write_model(root / "model")
    subject = LocalModel(model)
    settings = ContextSettings(
        ctx_len=16,
        n_tokens={"train": 100, "explain": 2000, "calibrate": 100, "select": 500, "test": 500},
        split_shares={"train": 0.1, "explain": 0.4, "calibrate": 0.1, "select": 0.2, "test": 0.2},
        max_contexts_per_document=4,
        min_tokens=4,
    )
    sources = {"text": SourceShare(Folder(write_text(root / "text")), 1.0)}
    contexts = tokenize(sources, subject, settings, root / "contexts")
    capture = CaptureSettings(("explain", "calibrate", "select", "test"), "float32", 16, 1000)
    activations = collect(contexts, subject, HOOKPOINT, capture, root / "activations")
    training = TrainSettings(n_tokens=1, batch_tokens=1, lr=None)
    dictionary = train(activations, Neurons(N_NEURONS), training, root / "dictionary", lambda _: None)
    chosen = SampleSettings(n_top=8, n_quantile=2, n_random=8, n_near_miss=2, n_pool_contexts=64, quantile=QUANTILE)
    examples = sample(contexts, activations, dictionary, chosen, root / "examples")
    return PlantedStudy(StudyPlaces(contexts, examples, dictionary), model)
