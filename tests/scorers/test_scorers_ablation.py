"""The ablation scorer on the planted model, whose neurons and latents have known activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest
from planted import CLASSES
from planted_study import PlantedStudy, write_planted_study

from latentese import schemas
from latentese.corpus.contexts import Contexts
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import LatenteseError, SettingError
from latentese.metrics.ablation import ablation_scores
from latentese.metrics.intervals import Bootstrap
from latentese.reading.base import Loaded, NeedsReader, Reader
from latentese.reading.replacing import Replacing
from latentese.records import Explanation
from latentese.scorers.ablation import NO_SCALE, AblationScorer
from latentese.scorers.base import CausalScorer, Scorer
from latentese.scorers.choice import KindCounts

COLOURS = list(CLASSES).index("colours")
Acts = np.ndarray


@dataclass(frozen=True)
class WithDictionary:
    """A study's reader, with another dictionary in the place of its own."""

    reader: Reader
    dictionary: TopK

    @property
    def loaded(self) -> Loaded:
        return Loaded(self.reader.loaded.subject, self.dictionary, "layers.0.resid_post")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reader, name)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    return write_planted_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module", params=["neuron", "latent"])
def reader(request: pytest.FixtureRequest, study: PlantedStudy) -> Reader:
    own = study.reader()
    return own if request.param == "neuron" else WithDictionary(own, TopK(32, 8, k=4, norm="none"))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def unit(reader: Reader, study: PlantedStudy) -> int:
    """The colours' neuron; of latents, which nobody planted, the one with the largest activations."""
    if isinstance(reader.loaded.dictionary, Neurons):
        return COLOURS
    texts = reader.token_ids(Contexts(study.places.contexts).of_split("calibrate").tolist())
    acts = [np.concatenate(Replacing.of(reader.loaded, "float32", 5).acts(i, texts)) for i in range(8)]
    return int(np.argmax([of_unit.std() for of_unit in acts]))


Simulate = Callable[[Acts, Acts], Acts | None]
"""From a context's activations, and those of all contexts of the split, to what is expected."""


@pytest.fixture(scope="module")
def scored(reader: Reader, study: PlantedStudy, unit: int) -> Callable[..., pl.DataFrame]:
    contexts = Contexts(study.places.contexts)

    def score(calibrations: tuple[str, ...] = ("linear",), **simulators: tuple[Simulate, Simulate]) -> pl.DataFrame:
        """Measure what simulators expect, each on `calibrate` and on `test`."""
        rows = []
        for place, split in enumerate(("calibrate", "test")):
            numbers = contexts.of_split(split).tolist()[:6]  # type: ignore[arg-type]
            acts = Replacing.of(reader.loaded, "float32", 5).acts(unit, reader.token_ids(numbers))
            for name, simulate in simulators.items():
                for number, own in zip(numbers, acts, strict=True):
                    context = contexts.table.row(number, named=True)
                    rows.append(_row(unit, name, split, context, simulate[place](own, np.concatenate(acts))))
        table = pl.DataFrame(rows, schema=schemas.SIMULATIONS)
        scorer = AblationScorer(list(simulators), calibrations=calibrations, batch_contexts=4).with_reader(reader)
        return scorer.measure(table)

    return score


def _row(unit: int, name: str, split: str, context: dict[str, Any], expected: Acts | None) -> dict[str, object]:
    return {
        "explanation": "1.reader.0", "unit": unit, "simulator": name, "control": "none", "split": split,
        "context": context["context"], "document": context["document"], "kind": "top", "true_acts": [],
        "expected_acts": None if expected is None else expected.tolist(),
        "error": "no answer today" if expected is None else None,
    }  # fmt: skip


def value(table: pl.DataFrame, simulator: str, metric: str = "ablation") -> float:
    written = Explanation("1.reader.0", 1, "reader", 0, "colours", "m", "", ())
    scores = ablation_scores(table, [written], Bootstrap(n_boot=20))
    return float(scores.filter(simulator=simulator, metric=metric)["value"].item())


def same(own: Acts, _all: Acts) -> Acts:
    return own


def negative(own: Acts, _all: Acts) -> Acts:
    return -own


def other_scale(own: Acts, _all: Acts) -> Acts:
    return 3 * own - 7


def nothing(own: Acts, _all: Acts) -> Acts:
    return np.zeros_like(own)


def none(_own: Acts, _all: Acts) -> None:
    return None


def test_the_truth_scores_one_whatever_its_scale(scored: Callable[..., pl.DataFrame]) -> None:
    table = scored(("linear", "percentile"), exact=(same, same), scaled=(other_scale, other_scale))
    assert table.schema == schemas.ABLATIONS
    assert table.height == 2 * 2 * 6 and table["split"].unique().to_list() == ["test"]
    for simulator in ("exact", "scaled"):
        assert value(table, simulator) == pytest.approx(1, abs=1e-3)
    assert value(table, "exact", "ablation_effect") > 1e-9
    assert value(table, "exact", "ablation.percentile") > 0


def test_the_mean_scores_zero(scored: Callable[..., pl.DataFrame], reader: Reader, unit: int) -> None:
    # What is fitted is the line s -> s; the mean of `test` is then what takes the unit's place.
    table = scored(mean=(same, lambda own, everything: np.full_like(own, everything.mean())))
    assert value(table, "mean") == pytest.approx(0, abs=1e-3)
    # Nothing is expected anywhere: the line is the mean on `calibrate`, which is not quite that on `test`.
    assert abs(value(scored(constant=(nothing, nothing)), "constant")) < 0.5


def test_the_wrong_sign_scores_below_zero(scored: Callable[..., pl.DataFrame]) -> None:
    assert value(scored(wrong=(same, negative)), "wrong") < -0.5
    # Fitted on what it says itself, a wrong sign is only another scale.
    assert value(scored(wrong=(negative, negative)), "wrong") == pytest.approx(1, abs=1e-3)


def test_half_the_truth_is_between(scored: Callable[..., pl.DataFrame]) -> None:
    def half(own: Acts, everything: Acts) -> Acts:
        return (own + everything.mean()) / 2

    assert 0.5 < value(scored(half=(same, half)), "half") < 0.95


def test_a_failed_context_is_counted_and_is_no_number(scored: Callable[..., pl.DataFrame]) -> None:
    first: list[bool] = []

    def fails_once(own: Acts, _all: Acts) -> Acts | None:
        first.append(True)
        return None if len(first) == 1 else own

    table = scored(flaky=(same, fails_once), mute=(same, none))
    flaky, mute = table.filter(simulator="flaky"), table.filter(simulator="mute")
    assert flaky["simulated"].null_count() == 1 and mute["simulated"].null_count() == 6
    assert flaky["error"].to_list() == ["no answer today", *[None] * 5]
    assert value(table, "flaky") == pytest.approx(1, abs=1e-3)
    assert table["ablated"].null_count() == 0


def test_without_a_scale_nothing_is_scored_and_the_reason_is_told(scored: Callable[..., pl.DataFrame]) -> None:
    table = scored(unfitted=(none, same))
    assert table["simulated"].null_count() == table.height == 6
    assert set(table["error"]) == {NO_SCALE}


def test_it_is_a_causal_scorer_that_needs_a_reader_and_no_other_kind() -> None:
    scorer = AblationScorer(["words"])
    assert isinstance(scorer, CausalScorer) and isinstance(scorer, NeedsReader) and not isinstance(scorer, Scorer)
    assert scorer.measure(schemas.SIMULATIONS.to_frame()).is_empty()
    row = _row(1, "words", "test", {"context": 0, "document": 0}, np.zeros(2))
    with pytest.raises(LatenteseError, match="give it a reader"):
        scorer.measure(pl.DataFrame([row], schema=schemas.SIMULATIONS))


def test_top_and_random_examples_are_chosen_by_default(study: PlantedStudy) -> None:
    chosen = AblationScorer(["words"]).choose(study.examples(COLOURS, "test"))
    assert sorted(example.kind for example in chosen) == ["random"] * 5 + ["top"] * 5
    assert AblationScorer(["words"], examples=KindCounts(1, 0, 0, 0)).choose(chosen)[0].kind == "top"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"simulators": []}, r"scorers\.ablation\.simulators"),
        ({"calibrations": ["cubic"]}, r"scorers\.ablation\.calibrations"),
        ({"calibrations": []}, r"scorers\.ablation\.calibrations"),
        ({"batch_contexts": 0}, r"scorers\.ablation\.batch_contexts"),
        ({"examples": KindCounts(quantile=3, near_miss=0)}, r"scorers\.ablation\.examples\.quantile=3"),
        ({"examples": KindCounts(quantile=0, near_miss=2)}, r"scorers\.ablation\.examples\.near_miss=2"),
    ],
)
def test_bad_settings_stop_at_once(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        AblationScorer(**({"simulators": ["words"]} | fields))
