from __future__ import annotations

from math import exp, log
from typing import Any

import polars as pl
import pytest
import torch
from planted_subject import N_CODE, A, Study, code_logit, leave_random_, make_study, plant_directions, two_latents

from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import SettingError
from latentese.evaluation.selectivity import FiringSample
from latentese.evaluation.slices import UNITS
from latentese.evaluation.unit_effects import UnitEffects

N_VOCAB = 400  # of the tiny tokenizer


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("planted"), plant_directions())


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("random"), leave_random_)


def measured(study: Study, dictionary: Any, **settings: Any) -> tuple[dict[str, Any], pl.DataFrame]:
    found = UnitEffects(**{"n_boot": 100} | settings).measure(study.evaluated(dictionary))
    return dict(found.metrics), found.tables["units"]


def cross_entropy(source: str, logit: float) -> float:
    """Nats of a token of a source when every code token has this logit, and every other token 0."""
    total = log(N_CODE * exp(logit) + N_VOCAB - N_CODE)
    return total - logit if source == "code" else total


def test_turning_the_code_unit_off_hurts_code_and_nothing_else(planted: Study) -> None:
    metrics, table = measured(planted, two_latents())
    # Latent 0, which is on code tokens alone, is found; latent 1 is on all tokens and selective for nothing.
    assert table.schema == UNITS
    assert table.select("unit", "selective_for").unique().rows() == [(0, "code")]
    code, prose = table.to_dicts()
    assert (code["source"], prose["source"]) == ("code", "prose")
    assert (code["density"], prose["density"]) == (1.0, 0.0)
    hurt = cross_entropy("code", 0.0) - cross_entropy("code", code_logit(A))
    assert hurt > 2
    assert code["ablated"] == pytest.approx(hurt, abs=1e-4)
    assert code["ablated_low"] == pytest.approx(hurt, abs=1e-4)
    assert (prose["ablated"], prose["ablated_low"], prose["ablated_high"]) == (0.0, 0.0, 0.0)
    assert metrics["n_units"] == 1
    assert metrics["n_contexts"] == 24
    assert metrics["ablated"]["own_over_others"]["value"] == pytest.approx(hurt, abs=1e-4)


def test_pushing_the_code_unit_up_turns_prose_into_code(planted: Study) -> None:
    _, table = measured(planted, two_latents(), steer=1.0)
    code, prose = table.to_dicts()
    # The unit's largest activation is A: prose reads A * d + e, code 2 A * d + e.
    expected = cross_entropy("prose", code_logit(A)) - cross_entropy("prose", 0.0)
    assert prose["steered"] == pytest.approx(expected, abs=1e-4)
    expected = cross_entropy("code", code_logit(2 * A)) - cross_entropy("code", code_logit(A))
    assert code["steered"] == pytest.approx(expected, abs=1e-4)
    assert code["steered"] < 0 < prose["steered"]


def test_given_units_are_measured_with_the_source_they_fire_most_in(planted: Study) -> None:
    metrics, table = measured(planted, two_latents(), units=(1, 0))
    assert table["unit"].to_list() == [1, 1, 0, 0]
    assert table["selective_for"][3] == "code"
    assert metrics["n_units"] == 2
    # Without e the stream of a prose token is 0, and of a code token d alone: its logit is the largest there is.
    code, prose = table[:2].to_dicts()
    expected = cross_entropy("code", code_logit(A, 0.0)) - cross_entropy("code", code_logit(A))
    assert code["ablated"] == pytest.approx(expected, abs=1e-4)
    assert prose["ablated"] == pytest.approx(0.0, abs=1e-5)


def test_a_neuron_is_ablated_to_zero(planted: Study) -> None:
    # Coordinate 3 is the direction d of the planted code tokens.
    _, table = measured(planted, Neurons(16), units=(3,))
    hurt = cross_entropy("code", 0.0) - cross_entropy("code", code_logit(A))
    assert table.filter(source="code")["ablated"].item() == pytest.approx(hurt, abs=1e-4)
    assert table.filter(source="prose")["ablated"].item() == 0.0


def test_the_batch_size_does_not_matter_and_contexts_are_drawn_per_source(random: Study) -> None:
    topk = TopK(16, 12, 3)
    tables = [measured(random, topk, n_contexts=5, units=(2, 7), batch_contexts=n)[1] for n in (3, 10)]
    for column in ("ablated", "steered"):
        assert tables[0][column].to_numpy() == pytest.approx(tables[1][column].to_numpy(), abs=1e-5)
    metrics, table = measured(random, topk, n_contexts=5, units=(2,))
    assert metrics["n_contexts"] == 10
    assert table["n_tokens"].min() > 0  # type: ignore[operator]


def test_an_ablation_changes_the_loss_as_a_forward_pass_without_the_unit(random: Study) -> None:
    topk = TopK(16, 12, 3, norm="none")
    _, table = measured(random, topk, n_contexts=1000, units=(4,))
    model, layer = random.load().model, 0
    numbers = torch.from_numpy(random.contexts.of_split("test"))
    ids, keep = random.contexts.token_ids[numbers].long(), random.contexts.keep[numbers].bool()
    is_code = torch.from_numpy(random.contexts.table["source"].to_numpy()[numbers.numpy()] == "code")
    counted = keep[:, 1:] & keep[:, :-1]

    def losses() -> torch.Tensor:
        logits = model(ids).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")

    def without_unit(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        values, indices, _, _ = topk.encode(output[keep])
        value = (values * (indices == 4)).sum(dim=1, keepdim=True)
        changed = output.clone()
        changed[keep] -= value * topk.W_dec[4]
        return changed

    original = losses()
    model.model.layers[layer].register_forward_hook(without_unit)
    change = (losses() - original) * counted
    for source, rows in (("code", is_code), ("prose", ~is_code)):
        expected = change[rows].sum() / counted[rows].sum()
        assert table.filter(source=source)["ablated"].item() == pytest.approx(expected.item(), abs=1e-5)


def test_no_selective_unit_says_so(planted: Study) -> None:
    everywhere = two_latents()
    with torch.no_grad():
        everywhere.b_enc[0] = -100.0
    found = UnitEffects().measure(planted.evaluated(everywhere))
    assert found.metrics == {"not_measured": "no unit fires more often in one source than in every other"}


def test_a_split_without_contexts_says_so(planted: Study) -> None:
    found = UnitEffects(split="calibrate").measure(planted.evaluated(two_latents()))
    assert found.metrics == {"not_measured": "no context of calibrate has two tokens that count"}


def test_a_unit_that_does_not_exist_is_refused(planted: Study) -> None:
    with pytest.raises(SettingError, match=r"evaluations.unit_effects.units=2 is not allowed: 0 to 1"):
        measured(planted, two_latents(), units=(2,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_contexts": 0}, "evaluations.unit_effects.n_contexts=0"),
        ({"selection": FiringSample(split="test")}, "another than what is measured"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        UnitEffects(**settings)
