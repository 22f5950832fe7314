"""The two kinds of files of the 2023 release, as records.

`collated-activations/<layer>/<neuron>.json` holds excerpts with one neuron's activations; `explanations/<layer>/
<neuron>.jsonl` its explanations, each with what a simulator expected on some excerpts and how that correlates with the
truth. Excerpts carry no document: which of them are from one text is not known. Every object names its type in
`dataclass_name`, which older files lack.

Source: github.com/openai/automated-interpretability, field names only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentese.errors import LatenteseError
from latentese.exchange.fields import Fields

Json = dict[str, Any]

OWN_SCALE = "simulated_normalized_activations"
"""What the release calls simulations on the simulator's scale, not the neuron's."""
STATED = {
    "ev_correlation_score": "correlation",
    "rsquared_score": "r2",
    "absolute_dev_explained_score": "absolute_deviation",
}
"""The release's names of scores, and ours."""
MOST_BANDS = 128
"""A band's number is 8 bits."""


@dataclass(frozen=True)
class Neuron:
    """Which unit a file is about."""

    layer: int
    neuron: int


@dataclass(frozen=True)
class Excerpt:
    """Tokens and one neuron's activation on each."""

    tokens: tuple[str, ...]
    acts: tuple[float, ...]


@dataclass(frozen=True)
class NeuronRecord:
    """Excerpts of one neuron."""

    neuron: Neuron
    top: tuple[Excerpt, ...]
    random: tuple[Excerpt, ...]
    by_quantile: tuple[tuple[Excerpt, ...], ...] = ()
    boundaries: tuple[float, ...] = ()
    mean: float | None = None


@dataclass(frozen=True)
class SimulatedExcerpt:
    """One excerpt with what was expected of the neuron there."""

    tokens: tuple[str, ...]
    true_acts: tuple[float, ...]
    expected_acts: tuple[float, ...]
    correlation: float | None


@dataclass(frozen=True)
class ScoredText:
    """One explanation, its simulations, and the scores that the file states, by our names."""

    text: str
    simulated: tuple[SimulatedExcerpt, ...]
    scores: dict[str, float | None]


@dataclass(frozen=True)
class NeuronResults:
    """All explanations of one neuron."""

    neuron: Neuron
    explanations: tuple[ScoredText, ...]


def read_release(data: bytes, file: str) -> NeuronRecord | NeuronResults:
    """Read one file of either kind: results have explanations, records have excerpts."""
    fields = Fields.parse(data, file)
    if fields.has("scored_explanations"):
        return _results(fields)
    if fields.has("most_positive_activation_records") or fields.has("random_sample"):
        return _record(fields)
    raise LatenteseError(f"{file}: neither scored_explanations nor activation records, so no file of the release")


def _neuron(fields: Fields) -> Neuron:
    identity = fields.child("neuron_id")
    return Neuron(identity.index("layer_index"), identity.index("neuron_index"))


def _record(fields: Fields) -> NeuronRecord:
    by_quantile = fields.nested("random_sample_by_quantile")
    if len(by_quantile) > MOST_BANDS:
        fields.wrong("random_sample_by_quantile", f"{len(by_quantile)} bands, at most {MOST_BANDS} are read")
    return NeuronRecord(
        neuron=_neuron(fields),
        top=tuple(map(_excerpt, fields.children("most_positive_activation_records"))),
        random=tuple(map(_excerpt, fields.children("random_sample"))),
        by_quantile=tuple(tuple(map(_excerpt, row)) for row in by_quantile),
        boundaries=fields.numbers("quantile_boundaries") if fields.has("quantile_boundaries") else (),
        mean=fields.number("mean"),
    )


def _excerpt(fields: Fields) -> Excerpt:
    tokens, acts = fields.texts("tokens"), fields.numbers("activations")
    _require_length(fields, "activations", len(acts), len(tokens))
    return Excerpt(tokens, acts)


def _results(fields: Fields) -> NeuronResults:
    return NeuronResults(_neuron(fields), tuple(map(_scored, fields.children("scored_explanations"))))


def _scored(fields: Fields) -> ScoredText:
    scored = fields.child("scored_simulation")
    return ScoredText(
        text=fields.text("explanation"),
        simulated=tuple(map(_simulated, scored.children("scored_sequence_simulations"))),
        scores={ours: scored.number(theirs) for theirs, ours in STATED.items()},
    )


def _simulated(fields: Fields) -> SimulatedExcerpt:
    simulation, true_acts = fields.child("simulation"), fields.numbers("true_activations")
    tokens, expected = simulation.texts("tokens"), simulation.numbers("expected_activations")
    _require_length(simulation, "expected_activations", len(expected), len(tokens))
    _require_length(fields, "true_activations", len(true_acts), len(tokens))
    return SimulatedExcerpt(tokens, true_acts, expected, fields.number("ev_correlation_score"))


def _require_length(fields: Fields, key: str, found: int, wanted: int) -> None:
    if found != wanted:
        fields.wrong(key, f"{found} values for {wanted} tokens")


def record_json(record: NeuronRecord) -> Json:
    """Write excerpts of one neuron in the release's fields; moments that are not known are null."""
    return _named(
        "NeuronRecord",
        neuron_id=_neuron_json(record.neuron),
        random_sample=list(map(_excerpt_json, record.random)),
        random_sample_by_quantile=[list(map(_excerpt_json, row)) for row in record.by_quantile],
        quantile_boundaries=list(record.boundaries),
        mean=record.mean,
        variance=None,
        skewness=None,
        kurtosis=None,
        most_positive_activation_records=list(map(_excerpt_json, record.top)),
    )


def results_json(results: NeuronResults) -> Json:
    """Write the explanations of one neuron in the release's fields."""
    explanations = list(map(_scored_json, results.explanations))
    return _named("NeuronSimulationResults", neuron_id=_neuron_json(results.neuron), scored_explanations=explanations)


def _scored_json(scored: ScoredText) -> Json:
    simulation = _named(
        "ScoredSimulation",
        scored_sequence_simulations=list(map(_simulated_json, scored.simulated)),
        **{theirs: scored.scores.get(ours) for theirs, ours in STATED.items()},
    )
    return _named("ScoredExplanation", explanation=scored.text, scored_simulation=simulation)


def _simulated_json(excerpt: SimulatedExcerpt) -> Json:
    """Write one simulation; its distribution is certain of the expected value, for no other is known."""
    simulation = _named(
        "SequenceSimulation",
        tokens=list(excerpt.tokens),
        expected_activations=list(excerpt.expected_acts),
        activation_scale=OWN_SCALE,
        distribution_values=[[act] for act in excerpt.expected_acts],
        distribution_probabilities=[[1.0] for _ in excerpt.expected_acts],
        uncalibrated_simulation=None,
    )
    return _named(
        "ScoredSequenceSimulation",
        simulation=simulation,
        true_activations=list(excerpt.true_acts),
        ev_correlation_score=excerpt.correlation,
        rsquared_score=None,
        absolute_dev_explained_score=None,
    )


def _excerpt_json(excerpt: Excerpt) -> Json:
    return _named("ActivationRecord", tokens=list(excerpt.tokens), activations=list(excerpt.acts))


def _neuron_json(neuron: Neuron) -> Json:
    return _named("NeuronId", layer_index=neuron.layer, neuron_index=neuron.neuron)


def _named(dataclass_name: str, **fields: Any) -> Json:
    return {"dataclass_name": dataclass_name, **fields}
