from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import make_tiny_gpt2, make_tiny_llama
from torch import Tensor, nn

from latentese.errors import SettingError
from latentese.subject.intervene import Reading, intervene_at
from latentese.subject.model import Subject, load_subject
from latentese.weights.local import LocalModel

IDS = torch.arange(1, 25).view(3, 8)
KEEP = torch.ones(3, 8, dtype=torch.bool)
KEEP[:, 0] = False
KEEP[2, 6:] = False  # padding
SITES = ("resid_post", "mlp_act", "mlp_out")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = make_tiny_llama(tmp_path_factory.mktemp("llama"), num_hidden_layers=3)
    return load_subject(LocalModel(folder), "float32", "cpu")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = make_tiny_gpt2(tmp_path_factory.mktemp("gpt2"), n_layer=3)
    return load_subject(LocalModel(folder), "float32", "cpu")


@pytest.fixture(params=["llama", "gpt2"])
def subject(request: pytest.FixtureRequest) -> Subject:
    found: Subject = request.getfixturevalue(request.param)
    return found


def own_logits(subject: Subject, token_ids: Tensor = IDS) -> Tensor:
    with torch.no_grad():
        logits: Tensor = subject.model(token_ids).logits
    return logits


def by_hand(subject: Subject, layer: int, site: str, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits of a plain forward pass in which the module that makes or reads the activations is wrapped."""
    module = subject.layers[layer] if site == "resid_post" else subject.down_projection(layer)
    plain = module.forward

    def wrapped(acts: Tensor, *args: Any, **kwargs: Any) -> Any:
        if site == "mlp_act":
            return plain(change(acts), *args, **kwargs)
        output = plain(acts, *args, **kwargs)
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    module.forward = wrapped  # type: ignore[method-assign]
    try:
        return own_logits(subject)
    finally:
        module.forward = plain  # type: ignore[method-assign]


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_an_edit_at_each_site_agrees_with_a_forward_pass_changed_by_hand(
    subject: Subject, layer: int, site: str
) -> None:
    intervention = intervene_at(subject, f"layers.{layer}.{site}")
    found = intervention.logits(intervention.read(IDS, KEEP), lambda acts: 2 * acts + 1)
    expected = by_hand(subject, layer, site, lambda acts: torch.where(KEEP[..., None], 2 * acts + 1, acts))
    torch.testing.assert_close(found, expected)
    assert (found - own_logits(subject)).abs().max() > 1e-4


def test_an_edited_embedding_is_what_the_layers_read(subject: Subject) -> None:
    intervention = intervene_at(subject, "embed")
    reading = intervention.read(IDS, KEEP)
    embedding = subject.model.get_input_embeddings()
    assert reading.entering is None
    assert torch.equal(reading.acts, embedding(IDS))
    found = intervention.logits(reading, lambda acts: 2 * acts + 1)
    with torch.no_grad():  # the head, where it is tied to the embedding, must stay as it is
        plain = embedding(IDS)
        expected = subject.model(inputs_embeds=torch.where(KEEP[..., None], 2 * plain + 1, plain)).logits
    torch.testing.assert_close(found, expected)
    assert (found - own_logits(subject)).abs().max() > 1e-4
    assert torch.equal(intervention.logits(reading, lambda acts: acts.double()), own_logits(subject))


@pytest.mark.parametrize("site", SITES)
def test_an_edit_that_changes_nothing_changes_no_bit(subject: Subject, site: str) -> None:
    intervention = intervene_at(subject, f"layers.1.{site}")
    reading = intervention.read(IDS, KEEP)
    assert torch.equal(intervention.logits(reading), own_logits(subject))
    assert torch.equal(intervention.logits(reading, lambda acts: acts.double()), own_logits(subject))


def test_position_0_and_padding_stay_as_they_are(llama: Subject) -> None:
    seen: list[Tensor] = []
    watch = llama.layers[2].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    intervention = intervene_at(llama, "layers.1.resid_post")
    reading = intervention.read(IDS, KEEP)
    intervention.logits(reading, torch.zeros_like)
    watch.remove()
    assert torch.equal(seen[-1][~KEEP], reading.acts[~KEEP])
    assert bool((seen[-1][KEEP] == 0).all())


def test_only_the_chosen_positions_are_edited_and_nothing_before_them_changes(subject: Subject) -> None:
    intervention = intervene_at(subject, "layers.0.mlp_out")
    reading = intervention.read(IDS, KEEP)
    where = torch.zeros_like(KEEP)
    where[1, 3] = True
    given: list[Tensor] = []
    logits = intervention.logits(reading, lambda acts: given.append(acts) or acts + 1, where)
    assert torch.equal(given[0], reading.acts[1, 3][None])
    same = (logits == own_logits(subject)).all(dim=2)
    # Attention is causal: only this context, from this position on.
    assert bool(same[0].all()) and bool(same[2].all()) and bool(same[1, :3].all())
    assert not bool(same[1, 3:].any())


def test_layers_before_the_hookpoint_run_once_per_reading(llama: Subject) -> None:
    ran: list[int] = []
    watches = [
        layer.mlp.register_forward_hook(lambda _m, _i, _o, number=number: ran.append(number))
        for number, layer in enumerate(llama.layers)
    ]
    intervention = intervene_at(llama, "layers.1.resid_post")
    reading = intervention.read(IDS, KEEP)
    assert ran == [0, 1]
    intervention.logits(reading)
    intervention.logits(reading, torch.zeros_like)
    assert ran == [0, 1, 1, 2, 1, 2]
    for watch in watches:
        watch.remove()


def test_the_model_is_left_as_it_was_even_when_an_edit_fails(subject: Subject) -> None:
    def state() -> list[tuple[int, int, set[str]]]:
        modules: list[nn.Module] = list(subject.model.modules())
        return [(len(m._forward_hooks), len(m._forward_pre_hooks), set(vars(m))) for m in modules]

    logits, before = own_logits(subject), state()
    intervention = intervene_at(subject, "layers.1.mlp_act")
    reading = intervention.read(IDS, KEEP)
    intervention.logits(reading, torch.zeros_like)
    with pytest.raises(RuntimeError, match="shape"):
        intervention.logits(reading, lambda acts: acts[:2])
    odd = Reading(IDS + 4000, reading.keep, reading.acts, reading.entering)
    with pytest.raises(IndexError):  # token 4000 does not exist
        intervention.logits(odd, torch.zeros_like)
    assert state() == before
    assert torch.equal(own_logits(subject), logits)


def test_readings_do_not_mix(llama: Subject) -> None:
    intervention = intervene_at(llama, "layers.2.mlp_act")
    first, second = intervention.read(IDS, KEEP), intervention.read(IDS + 7, KEEP)
    assert torch.equal(intervention.logits(first), own_logits(llama))
    assert torch.equal(intervention.logits(second), own_logits(llama, IDS + 7))


def test_uncounted_positions_are_never_edited(llama: Subject) -> None:
    intervention = intervene_at(llama, "layers.0.resid_post")
    reading = intervention.read(IDS, KEEP)
    with pytest.raises(ValueError, match="never edited"):
        intervention.logits(reading, torch.zeros_like, torch.ones_like(KEEP))


def test_an_unknown_hookpoint_is_refused(llama: Subject) -> None:
    with pytest.raises(SettingError, match=r"hookpoint='layers.9.resid_post' is not allowed"):
        intervene_at(llama, "layers.9.resid_post")


def test_a_subject_in_another_dtype_is_a_copy(llama: Subject) -> None:
    assert llama.in_dtype("float32") is llama
    half = llama.in_dtype("bfloat16")
    assert (half.dtype, llama.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(own_logits(half).float(), own_logits(llama), atol=0.02, rtol=0.05)
