"""A unit's activation replaced: the divergence by hand, and every kind of dictionary on a tiny model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import make_tiny_llama

from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.gated import Gated
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.random import RandomDirections
from latentese.dictionaries.topk import TopK
from latentese.reading.base import Loaded
from latentese.reading.replacing import Replacing, jensen_shannon
from latentese.subject.model import Subject, load_subject
from latentese.weights.local import LocalModel

TEXTS = [tuple(range(20, 32)), tuple(range(40, 47)), (300, 7, 8, 9), tuple(range(100, 112))]


def logits(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities]).log()


def test_the_divergence_by_hand() -> None:
    # p = 1/2 1/2, q = 1/4 3/4, m = 3/8 5/8.
    kl_p = 0.5 * math.log(0.5 / 0.375) + 0.5 * math.log(0.5 / 0.625)
    kl_q = 0.25 * math.log(0.25 / 0.375) + 0.75 * math.log(0.75 / 0.625)
    found = jensen_shannon(logits(0.5, 0.5), logits(0.25, 0.75))
    assert found.tolist() == pytest.approx([(kl_p + kl_q) / 2])
    # Logits are not probabilities: a constant says nothing.
    assert jensen_shannon(logits(0.5, 0.5) + 3, logits(0.25, 0.75) - 2).tolist() == pytest.approx(found.tolist())


def test_equal_and_disjoint_distributions_are_the_ends() -> None:
    one = torch.tensor([[0.0, -1.0, 2.0]])
    assert jensen_shannon(one, one).tolist() == [0.0]
    apart = jensen_shannon(torch.tensor([[500.0, 0.0]]), torch.tensor([[0.0, 500.0]]))
    assert apart.tolist() == pytest.approx([math.log(2)])


def test_a_small_difference_is_not_lost_in_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    first = 3 * torch.randn(4, 5000, generator=generator)
    second = first + 1e-4 * torch.randn(4, 5000, generator=generator)
    p, q = first.double().softmax(-1), second.double().softmax(-1)
    m = (p + q) / 2
    exact = ((p * (p / m).log()).sum(-1) + (q * (q / m).log()).sum(-1)) / 2
    assert exact.max() < 1e-8
    np.testing.assert_allclose(jensen_shannon(first, second), exact, rtol=0.02)


row = st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4)


@given(row, row)
def test_it_is_symmetric_and_between_0_and_log_2(first: list[float], second: list[float]) -> None:
    one, other = torch.tensor([first]), torch.tensor([second])
    there, back = float(jensen_shannon(one, other)), float(jensen_shannon(other, one))
    assert there == pytest.approx(back, rel=1e-4, abs=1e-9)
    assert 0 <= there <= math.log(2) + 1e-6


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = make_tiny_llama(tmp_path_factory.mktemp("llama"), num_hidden_layers=3, initializer_range=0.3)
    return load_subject(LocalModel(folder), "float32", "cpu")


def sae() -> Dictionary:
    return TopK(d_model=16, n_latents=24, k=6, norm="unit_norm", seed=0)


CASES: dict[str, tuple[str, Callable[[], Dictionary]]] = {
    "neuron": ("layers.1.mlp_act", lambda: Neurons(24)),
    "latent": ("layers.1.resid_post", sae),
    "direction": ("layers.0.mlp_out", lambda: RandomDirections(16, 8, "layernorm_std")),
    "embedding": ("embed", lambda: Gated(16, 24)),
}


@pytest.fixture(params=CASES)
def loaded(request: pytest.FixtureRequest, subject: Subject) -> Loaded:
    hookpoint, make = CASES[request.param]
    return Loaded(subject, make(), hookpoint)


def busiest(loaded: Loaded) -> int:
    """The unit that does most in the texts."""
    replacing = Replacing.of(loaded, "float32", 2)
    sizes = [np.abs(np.concatenate(replacing.acts(unit, TEXTS))).sum() for unit in range(loaded.dictionary.n_units)]
    return int(np.argmax(sizes))


def test_the_units_own_activation_changes_nothing(loaded: Loaded) -> None:
    read = Replacing.of(loaded, "float32", 3).read(busiest(loaded), TEXTS)
    assert [len(acts) for acts in read.acts] == [11, 6, 3, 11]
    assert read.divergences([read.acts]).tolist() == [[0.0] * 4]


def test_what_is_read_for_a_scale_is_what_is_replaced(loaded: Loaded) -> None:
    replacing, unit = Replacing.of(loaded, "float32", 2), busiest(loaded)
    fitted_on, replaced = replacing.acts(unit, TEXTS), replacing.read(unit, TEXTS).acts
    for alone, read in zip(fitted_on, replaced, strict=True):
        np.testing.assert_allclose(alone, read, atol=1e-5)
    assert np.abs(np.concatenate(replaced)).max() > 0


def test_farther_replacements_change_more_and_batches_change_nothing(loaded: Loaded) -> None:
    unit = busiest(loaded)
    read = Replacing.of(loaded, "float32", 3).read(unit, TEXTS)
    near, far = ([acts + size for acts in read.acts] for size in (0.1, 2.0))
    told: list[int] = []
    found = read.divergences([near, far, read.acts], told.append)
    assert (found[0] > 0).all() and (found[0] < found[1]).all()
    assert sum(told) == 3 * 4
    one_by_one = Replacing.of(loaded, "float32", 1).read(unit, TEXTS).divergences([near, far])
    np.testing.assert_allclose(found[:2], one_by_one, rtol=1e-3)


def by_hand(loaded: Loaded, text: tuple[int, ...], change: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Divergence from plain forward passes, one of them with a hook that changes all positions but the first."""
    model: Any = loaded.subject.model
    layer = loaded.subject.layers[1]
    with torch.no_grad():
        original = model(torch.tensor([text])).logits[0]

        def changed(acts: torch.Tensor) -> torch.Tensor:
            return torch.cat([acts[:, :1], change(acts[0, 1:])[None]], dim=1)

        if loaded.hookpoint.endswith("mlp_act"):
            down = loaded.subject.down_projection(1)
            handle = down.register_forward_pre_hook(lambda _m, inputs: (changed(inputs[0]),))
        else:
            handle = layer.register_forward_hook(lambda _m, _i, output: changed(output))
        try:
            replaced = model(torch.tensor([text])).logits[0]
        finally:
            handle.remove()
    p, q = original[1:].double().softmax(-1), replaced[1:].double().softmax(-1)
    m = (p + q) / 2
    return float(((p * (p / m).log()).sum() + (q * (q / m).log()).sum()) / 2)


def test_a_neurons_channel_is_set(subject: Subject) -> None:
    loaded = Loaded(subject, Neurons(24), "layers.1.mlp_act")
    values = np.linspace(-1, 2, len(TEXTS[0]) - 1)

    def change(acts: torch.Tensor) -> torch.Tensor:
        acts = acts.clone()
        acts[:, 5] = torch.from_numpy(values).float()
        return acts

    [[found]] = Replacing.of(loaded, "float32", 2).read(5, TEXTS[:1]).divergences([[values]])
    assert found == pytest.approx(by_hand(loaded, TEXTS[0], change), rel=1e-4)
    assert found > 0


def test_a_latents_part_is_exchanged_and_the_error_kept(subject: Subject) -> None:
    loaded = Loaded(subject, sae(), "layers.1.resid_post")
    unit, dictionary = busiest(loaded), loaded.dictionary
    read = Replacing.of(loaded, "float32", 2).read(unit, TEXTS[:1])
    values = np.full(len(TEXTS[0]) - 1, 0.7)
    own = torch.from_numpy(read.acts[0])

    def change(acts: torch.Tensor) -> torch.Tensor:
        # Unit norm: an activation is of the token after its mean is taken off and its length made 1.
        norm = (acts - acts.mean(dim=1, keepdim=True)).norm(dim=1, keepdim=True)
        return acts + (0.7 - own)[:, None] * norm * dictionary.W_dec[unit]  # type: ignore[union-attr, index]

    [[found]] = read.divergences([[values]])
    assert found == pytest.approx(by_hand(loaded, TEXTS[0], change), rel=1e-3)
    assert found > 0
