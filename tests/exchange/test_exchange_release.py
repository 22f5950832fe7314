"""Files of the release as other tools write them: read field by field, refused in one line, written back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from latentese.errors import LatenteseError
from latentese.exchange.release import (
    Excerpt,
    Neuron,
    NeuronRecord,
    NeuronResults,
    ScoredText,
    SimulatedExcerpt,
    read_release,
    record_json,
    results_json,
)

TOKENS = [" Can", "ada", "\n"]


def results() -> dict[str, Any]:
    """A neuron's results as the release writes them, without names of types as in its older files."""
    simulation = {
        "tokens": TOKENS,
        "expected_activations": [0.5, 7.25, 0],
        "activation_scale": "simulated_normalized_activations",
        "distribution_values": [[0, 1], [7, 8], [0]],
        "distribution_probabilities": [[0.5, 0.5], [0.75, 0.25], [1.0]],
    }
    sequence = {"simulation": simulation, "true_activations": [0.0, 2.5, -0.1], "ev_correlation_score": "NaN"}
    scored = {"scored_sequence_simulations": [sequence], "ev_correlation_score": 0.9, "rsquared_score": None}
    return {
        "neuron_id": {"layer_index": 3, "neuron_index": 41},
        "scored_explanations": [{"explanation": "countries", "scored_simulation": scored}],
    }


def record() -> dict[str, Any]:
    excerpt = {"tokens": TOKENS, "activations": [0, 2.5, -0.1]}
    return {
        "dataclass_name": "NeuronRecord",
        "neuron_id": {"dataclass_name": "NeuronId", "layer_index": 0, "neuron_index": 7},
        "random_sample": [excerpt],
        "random_sample_by_quantile": [[excerpt], []],
        "quantile_boundaries": [0.5, 0.9, 0.99],
        "mean": 0.125,
        "variance": None,
        "most_positive_activation_records": [excerpt, excerpt],
    }


def data(value: object) -> bytes:
    return json.dumps(value).encode()


def changed(value: dict[str, Any], path: str, new: object) -> dict[str, Any]:
    """The same object with the value at a path replaced, such as `scored_explanations.0.explanation`."""
    value = json.loads(json.dumps(value))  # no object is shared within it
    at: Any = value
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        at = at[step]
    at[last] = new
    return value


def test_results_are_read() -> None:
    read = read_release(data(results()), "41.jsonl")
    assert isinstance(read, NeuronResults)
    assert read.neuron == Neuron(3, 41)
    (scored,) = read.explanations
    assert scored.text == "countries"
    assert scored.scores == {"correlation": 0.9, "r2": None, "absolute_deviation": None}
    assert scored.simulated == (SimulatedExcerpt(tuple(TOKENS), (0.0, 2.5, -0.1), (0.5, 7.25, 0.0), None),)


def test_a_record_is_read_with_its_bands() -> None:
    read = read_release(data(record()), "7.json")
    excerpt = Excerpt(tuple(TOKENS), (0.0, 2.5, -0.1))
    bands = ((excerpt,), ())
    assert read == NeuronRecord(Neuron(0, 7), (excerpt, excerpt), (excerpt,), bands, (0.5, 0.9, 0.99), 0.125)


@pytest.mark.parametrize("missing", [None, "absent"])
def test_a_record_without_bands_is_a_record(missing: str | None) -> None:
    value = changed(changed(record(), "random_sample_by_quantile", None), "quantile_boundaries", None)
    if missing:
        del value["random_sample_by_quantile"]
    read = read_release(data(value), "7.json")
    assert isinstance(read, NeuronRecord)
    assert (read.by_quantile, read.boundaries) == ((), ())


@pytest.mark.parametrize("text", ["NaN", '"NaN"', "null", "Infinity", '"-Infinity"'])
def test_numbers_that_are_none_become_no_score(text: str) -> None:
    raw = data(results()).replace(b'"ev_correlation_score": 0.9', f'"ev_correlation_score": {text}'.encode())
    read = read_release(raw, "41.jsonl")
    assert isinstance(read, NeuronResults)
    assert read.explanations[0].scores["correlation"] is None


def test_the_first_line_of_json_lines_counts_as_in_the_release_and_half_a_surrogate_does_not_survive() -> None:
    first = changed(results(), "scored_explanations.0.explanation", "half \ud83d, whole \U0001f600")
    read = read_release(data(first) + b"\n" + data(results()) + b"\n", "41.jsonl")
    assert isinstance(read, NeuronResults)
    assert read.explanations[0].text == "half \ufffd, whole \U0001f600"
    read.explanations[0].text.encode()


@pytest.mark.parametrize(
    ("path", "new", "line"),
    [
        ("neuron_id", [3, 41], "41.jsonl.neuron_id: should be an object, is a list"),
        ("neuron_id.layer_index", "3", "neuron_id.layer_index: should be a whole number from 0 on, is a text"),
        ("neuron_id.layer_index", True, "should be a whole number from 0 on, is true or false"),
        ("neuron_id.neuron_index", 2**31, "should be a whole number from 0 on, is 2147483648"),
        ("neuron_id.neuron_index", -1, "should be a whole number from 0 on, is -1"),
        ("scored_explanations", {}, "41.jsonl.scored_explanations: should be a list, is an object"),
        ("scored_explanations.0.explanation", None, "[0].explanation: should be a text, is missing or null"),
        ("scored_explanations.0.scored_simulation", None, "scored_simulation: should be an object, is missing or null"),
        (
            "scored_explanations.0.scored_simulation.scored_sequence_simulations.0.true_activations",
            [1.0],
            "scored_sequence_simulations[0].true_activations: 1 values for 3 tokens",
        ),
        (
            "scored_explanations.0.scored_simulation.scored_sequence_simulations.0.simulation.tokens",
            ["a", 1, "b"],
            "simulation.tokens[1]: should be a text, is 1",
        ),
        (
            "scored_explanations.0.scored_simulation.scored_sequence_simulations.0.simulation.expected_activations",
            [0.0, "high", 1.0],
            "simulation.expected_activations[1]: should be a number, is a text",
        ),
        ("scored_explanations.0.scored_simulation.ev_correlation_score", 10**400, "is too large for a 32-bit number"),
        (
            "scored_explanations.0.scored_simulation.scored_sequence_simulations.0.true_activations",
            [0.0, -1e39, 1.0],
            "true_activations[1]: is too large for a 32-bit number",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_names_the_place(path: str, new: object, line: str) -> None:
    with pytest.raises(LatenteseError) as raised:
        read_release(data(changed(results(), path, new)), "41.jsonl")
    said = str(raised.value)
    assert said.startswith("41.jsonl")
    assert line in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"", "x: not JSON"),
        (b"{", "x: not JSON"),
        (b"\xff\xfe{}", "x: not JSON"),
        (b"[" * 100_000, "x: not JSON"),
        (b"[]", "x: should be an object, is a list"),
        (b"{}", "x: neither scored_explanations nor activation records"),
    ],
)
def test_what_is_no_file_of_the_release_is_refused(raw: bytes, line: str) -> None:
    with pytest.raises(LatenteseError) as raised:
        read_release(raw, "x")
    assert str(raised.value).startswith(line)
    assert "\n" not in str(raised.value)


def test_a_record_with_other_lengths_is_refused() -> None:
    value = changed(record(), "most_positive_activation_records.1.activations", [1.0])
    with pytest.raises(LatenteseError, match=r"7.json.most_positive_activation_records\[1\].activations: 1 values for"):
        read_release(data(value), "7.json")


def test_a_record_with_more_bands_than_a_table_can_number_is_refused() -> None:
    value = changed(record(), "random_sample_by_quantile", [[]] * 129)
    with pytest.raises(LatenteseError, match=r"7\.json\.random_sample_by_quantile: 129 bands, at most 128 are read"):
        read_release(data(value), "7.json")


def test_what_is_written_is_read_back_the_same() -> None:
    simulated = SimulatedExcerpt((" a", "\u2028", '"'), (0.0, 1.5, 0.25), (0.0, 0.5, 9.0), None)
    scores = {"correlation": 0.25, "r2": None, "absolute_deviation": None}
    written = NeuronResults(Neuron(12, 5), (ScoredText("line\nend\ttab", (simulated,), scores),))
    assert read_release(data(results_json(written)), "5.jsonl") == written
    excerpt = Excerpt((" a", "b"), (0.0, 2.0))
    record = NeuronRecord(Neuron(12, 5), (excerpt,), (), ((), (excerpt,)), (0.0, 0.5, 1.0), None)
    assert read_release(data(record_json(record)), "5.json") == record


def test_every_object_names_its_type_and_every_token_has_a_distribution() -> None:
    """Readers of the release choose a type by `dataclass_name` and expect probabilities beside values."""
    simulated = SimulatedExcerpt((" a", "b"), (0.0, 1.5), (0.25, 3.0), 1.0)
    value = results_json(NeuronResults(Neuron(1, 2), (ScoredText("x", (simulated,), {"correlation": 1.0}),)))
    scored = value["scored_explanations"][0]
    sequence = scored["scored_simulation"]["scored_sequence_simulations"][0]
    objects = [value, value["neuron_id"], scored, scored["scored_simulation"], sequence, sequence["simulation"]]
    assert [one["dataclass_name"] for one in objects] == [
        "NeuronSimulationResults", "NeuronId", "ScoredExplanation", "ScoredSimulation", "ScoredSequenceSimulation",
        "SequenceSimulation",
    ]  # fmt: skip
    assert sequence["simulation"]["distribution_values"] == [[0.25], [3.0]]
    assert sequence["simulation"]["distribution_probabilities"] == [[1.0], [1.0]]
    assert scored["scored_simulation"]["ev_correlation_score"] == 1.0
