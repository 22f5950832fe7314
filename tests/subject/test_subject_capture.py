from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_tiny_gpt2, make_tiny_llama
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, Qwen2Config, Qwen2ForCausalLM

from latentese.errors import AssetError, SettingError
from latentese.subject.capture import capture_at
from latentese.subject.hookpoints import hookpoint_width, parse_hookpoint
from latentese.subject.model import Subject, load_subject
from latentese.subject.shape import Shape, read_shape, shape_of
from latentese.weights.local import LocalModel

IDS = torch.arange(1, 25).view(3, 8)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = make_tiny_llama(tmp_path_factory.mktemp("llama"), num_hidden_layers=3)
    return load_subject(LocalModel(folder), "float32", "cpu")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = make_tiny_gpt2(tmp_path_factory.mktemp("gpt2"), n_layer=3)
    return load_subject(LocalModel(folder), "float32", "cpu")


def residual_streams(subject: Subject) -> list[Tensor]:
    """Residual stream before each layer, as transformers returns it."""
    with torch.no_grad():
        return list(subject.model(IDS, output_hidden_states=True).hidden_states)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_resid_post_is_the_hidden_state_behind_the_layer(family: str, request: pytest.FixtureRequest) -> None:
    subject: Subject = request.getfixturevalue(family)
    hidden = residual_streams(subject)
    for layer in (0, 1):
        assert torch.equal(capture_at(subject, f"layers.{layer}.resid_post")(IDS), hidden[layer + 1])
    # transformers norms the last hidden state; the residual stream is what goes into that norm.
    last = capture_at(subject, "layers.2.resid_post")(IDS)
    norm = subject.model.base_model.norm if family == "llama" else subject.model.base_model.ln_f
    torch.testing.assert_close(norm(last), hidden[3])


def test_mlp_act_of_a_gated_mlp_is_gate_times_up(llama: Subject) -> None:
    layer = llama.layers[1]
    with torch.no_grad():
        before = residual_streams(llama)[1]
        attended = (
            before
            + layer.self_attn(
                layer.input_layernorm(before),
                position_embeddings=llama.model.model.rotary_emb(before, torch.arange(8)[None]),
                attention_mask=torch.full((8, 8), -torch.inf).triu(1)[None, None],
            )[0]
        )
        inside = layer.post_attention_layernorm(attended)
        gated = torch.nn.functional.silu(layer.mlp.gate_proj(inside)) * layer.mlp.up_proj(inside)
        torch.testing.assert_close(capture_at(llama, "layers.1.mlp_act")(IDS), gated)
        torch.testing.assert_close(capture_at(llama, "layers.1.mlp_out")(IDS), layer.mlp.down_proj(gated))
        # The residual stream behind the layer is the one before the MLP plus the MLP's output.
        behind = capture_at(llama, "layers.1.resid_post")(IDS)
        torch.testing.assert_close(behind - capture_at(llama, "layers.1.mlp_out")(IDS), attended)


def test_mlp_act_of_gpt2_is_what_follows_its_activation_function(gpt2: Subject) -> None:
    block = gpt2.layers[2]
    acts = capture_at(gpt2, "layers.2.mlp_act")(IDS)
    with torch.no_grad():
        out = block.mlp.c_proj(acts)
        torch.testing.assert_close(capture_at(gpt2, "layers.2.mlp_out")(IDS), out)
        before_mlp = capture_at(gpt2, "layers.2.resid_post")(IDS) - out
        torch.testing.assert_close(block.mlp.act(block.mlp.c_fc(block.ln_2(before_mlp))), acts, atol=1e-5, rtol=1e-4)
    assert acts.shape == (3, 8, 64)


OTHERS: dict[str, Callable[[], Any]] = {
    "neox": lambda: GPTNeoXForCausalLM(
        GPTNeoXConfig(vocab_size=99, hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2)
    ),
    "qwen2": lambda: Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=99,
            hidden_size=16,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    ),
}


@pytest.mark.parametrize("family", OTHERS)
def test_other_families_need_no_code_of_their_own(family: str) -> None:
    torch.manual_seed(0)
    model = OTHERS[family]().eval()
    subject = Subject(family, model, shape_of(model.config))
    assert torch.equal(capture_at(subject, "layers.0.resid_post")(IDS), residual_streams(subject)[1])
    assert torch.equal(capture_at(subject, "embed")(IDS), residual_streams(subject)[0])
    acts = capture_at(subject, "layers.1.mlp_act")(IDS)
    assert acts.shape == (3, 8, 40)
    with torch.no_grad():
        out = subject.down_projection(1)(acts)
    torch.testing.assert_close(capture_at(subject, "layers.1.mlp_out")(IDS), out)


def test_nothing_behind_the_hookpoint_runs(llama: Subject) -> None:
    reached: list[str] = []
    watched = {"down": llama.down_projection(1), "next": llama.layers[2], "head": llama.model.lm_head}
    handles = [
        module.register_forward_pre_hook(lambda _m, _i, name=name: reached.append(name))
        for name, module in watched.items()
    ]
    capture_at(llama, "layers.1.resid_post")(IDS)
    assert reached == ["down"]
    capture_at(llama, "layers.0.mlp_act")(IDS)
    assert reached == ["down"]
    for handle in handles:
        handle.remove()


def test_a_capture_leaves_the_model_as_it_was(llama: Subject) -> None:
    def n_hooks() -> int:  # transformers keeps some of its own
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in llama.model.modules())

    with torch.no_grad():
        logits, hooks = llama.model(IDS).logits, n_hooks()
        capture_at(llama, "layers.1.mlp_act")(IDS)
        with pytest.raises(IndexError):  # token 4000 does not exist: the hook goes on an error, too
            capture_at(llama, "layers.1.mlp_act")(IDS + 4000)
        assert torch.equal(llama.model(IDS).logits, logits)
        assert n_hooks() == hooks


def test_padding_at_the_end_changes_nothing_before_it(llama: Subject) -> None:
    capture = capture_at(llama, "layers.2.resid_post")
    padded = torch.cat([IDS[:, :5], torch.zeros(3, 3, dtype=IDS.dtype)], dim=1)
    torch.testing.assert_close(capture(padded)[:, :5], capture(IDS)[:, :5])


def test_bfloat16_stays_bfloat16(tmp_path: Path) -> None:
    subject = load_subject(LocalModel(make_tiny_llama(tmp_path)), "bfloat16", "cpu")
    assert capture_at(subject, "layers.0.mlp_act")(IDS).dtype == torch.bfloat16


def test_embed_is_the_row_of_each_token_and_no_layer_runs(llama: Subject, gpt2: Subject) -> None:
    ids = torch.tensor([[5, 7, 5, 5]])
    for subject in (llama, gpt2):
        reached: list[int] = []
        watch = subject.layers[0].register_forward_pre_hook(lambda _m, _i, reached=reached: reached.append(0))
        acts = capture_at(subject, "embed")(ids)
        watch.remove()
        assert reached == []
        weight = subject.model.get_input_embeddings().weight
        assert torch.equal(acts, weight[ids])
        assert torch.equal(acts[0, 0], acts[0, 3])  # GPT-2 adds positions behind it: a word is one vector
    assert torch.equal(capture_at(llama, "embed")(IDS), residual_streams(llama)[0])
    positions = gpt2.model.base_model.wpe.weight[:8]
    torch.testing.assert_close(capture_at(gpt2, "embed")(IDS) + positions, residual_streams(gpt2)[0])


@pytest.mark.parametrize(
    ("hookpoint", "n_layers"),
    [("embed", 0), ("layers.0.resid_post", 1), ("layers.0.mlp_act", 1), ("layers.2.mlp_out", 3)],
)
def test_a_hookpoint_knows_its_name_and_how_many_layers_run(hookpoint: str, n_layers: int) -> None:
    parsed = parse_hookpoint(hookpoint, Shape(n_layers=3, d_model=16, d_mlp=24, max_ctx_len=64))
    assert (str(parsed), parsed.n_layers) == (hookpoint, n_layers)


def test_embeddings_of_another_width_than_the_layers_are_refused(llama: Subject) -> None:
    wide = Subject("projected", llama.model, Shape(n_layers=3, d_model=32, d_mlp=24, max_ctx_len=64))
    with pytest.raises(AssetError, match="projected: token embeddings of width 16, where layers have 32"):
        capture_at(wide, "embed")


@pytest.mark.parametrize(
    "hookpoint",
    ["layers.3.resid_post", "layers.1.mlp_in", "layers.-1.mlp_act", "layers.0.embed", "embed.0", "layers.1", ""],
)
def test_an_unknown_hookpoint_is_refused_with_what_is_allowed(hookpoint: str) -> None:
    shape = Shape(n_layers=3, d_model=16, d_mlp=24, max_ctx_len=64)
    with pytest.raises(
        SettingError, match=r"hookpoint=.* is not allowed: layers\.<0\.\.2>\.<resid_post\|mlp_act\|mlp_out> or embed"
    ):
        parse_hookpoint(hookpoint, shape)


def test_widths_and_sizes_are_known_from_the_configuration(tmp_path: Path) -> None:
    shape = read_shape(make_tiny_llama(tmp_path / "llama"))
    assert shape == Shape(n_layers=2, d_model=16, d_mlp=24, max_ctx_len=64)
    assert read_shape(make_tiny_gpt2(tmp_path / "gpt2")) == Shape(n_layers=2, d_model=16, d_mlp=64, max_ctx_len=64)
    widths = {site: hookpoint_width(shape, f"layers.1.{site}") for site in ("resid_post", "mlp_act", "mlp_out")}
    assert widths == {"resid_post": 16, "mlp_act": 24, "mlp_out": 16}
    assert hookpoint_width(shape, "embed") == 16


def test_a_folder_that_says_no_sizes_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="not a causal language model's config"):
        read_shape(tmp_path)


def test_a_layer_without_a_dense_mlp_is_refused(llama: Subject) -> None:
    wrong = Subject("odd", llama.model, Shape(n_layers=3, d_model=16, d_mlp=25, max_ctx_len=64))
    with pytest.raises(AssetError, match="layer 1 has no dense MLP of 25 neurons"):
        capture_at(wrong, "layers.1.mlp_act")
