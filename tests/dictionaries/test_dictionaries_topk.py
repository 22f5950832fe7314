import pytest
import torch
from torch import Tensor

from latentese.dictionaries.losses import normalised_error
from latentese.dictionaries.norm import apply_norm
from latentese.dictionaries.topk import TopK
from latentese.errors import SettingError

D_MODEL, N_LATENTS, K = 12, 40, 5


def identity_topk(d_model: int, k: int) -> TopK:
    """Latent i is coordinate i."""
    topk = TopK(d_model, d_model, k, norm="none")
    with torch.no_grad():
        topk.W_enc.copy_(torch.eye(d_model))
        topk.W_dec.copy_(torch.eye(d_model))
    return topk


def random_acts(n_tokens: int = 64, d_model: int = D_MODEL) -> Tensor:
    return torch.randn(n_tokens, d_model, generator=torch.Generator().manual_seed(3)) * 4 + 1


def random_topk(**args: object) -> TopK:
    """Untied, with biases, so that no gradient is zero by symmetry."""
    topk = TopK(D_MODEL, N_LATENTS, K, k_aux=6, **args)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in topk.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return topk


def test_topk_keeps_the_largest_latent_of_each_token():
    topk = identity_topk(d_model=2, k=1)
    acts = torch.tensor([[3.0, 1.0], [0.5, 2.0]])
    torch.testing.assert_close(topk.decode(topk.encode(acts)), torch.tensor([[3.0, 0.0], [0.0, 2.0]]))


def test_negative_pre_activations_are_never_active():
    topk = identity_topk(d_model=3, k=2)
    values = topk.encode(torch.tensor([[-1.0, -2.0, 0.5]])).values
    assert sorted(values[0].tolist()) == [0.0, 0.5]


def test_decode_undoes_the_input_norm():
    topk = TopK(4, 4, 4, norm="unit_norm")
    with torch.no_grad():
        topk.W_dec.copy_(torch.eye(4))
        topk.W_enc.copy_(torch.eye(4))
        topk.b_dec.fill_(-1.0)  # so that all four latents are positive and the reconstruction is exact
    acts = random_acts(10, 4)
    torch.testing.assert_close(topk.decode(topk.encode(acts)), acts)


def test_encode_agrees_with_pre_acts_of_the_same_tokens():
    topk, acts = random_topk(), random_acts()
    unit_acts, pre_acts = topk.encode_with_pre_acts(acts)
    torch.testing.assert_close(pre_acts, topk.pre_acts(acts))
    dense = torch.zeros_like(pre_acts).scatter(1, unit_acts.indices, unit_acts.values)
    assert all(torch.equal(one, other) for one, other in zip(unit_acts, topk.encode(acts), strict=True))
    kth = pre_acts.sort(dim=1, descending=True).values[:, K - 1 : K]
    torch.testing.assert_close(dense, torch.where(pre_acts >= kth, pre_acts, torch.zeros(())).relu())


def naive_loss(topk: TopK, acts: Tensor, dead: Tensor) -> Tensor:
    """The same loss, dense and left to autograd."""
    x = apply_norm(acts, topk.norm).acts
    pre_acts = (x - topk.b_dec) @ topk.W_enc + topk.b_enc
    kth = pre_acts.topk(topk.k, dim=1).values[:, -1:]
    recon = (pre_acts * (pre_acts >= kth)).relu() @ topk.W_dec + topk.b_dec
    error = (x - recon).detach()
    dead_pre = pre_acts.masked_fill(~dead, -torch.inf)
    n_aux = min(topk.aux.k, int(dead.sum()))
    kth_dead = dead_pre.topk(n_aux, dim=1).values[:, -1:]
    dead_acts = torch.where(dead_pre >= kth_dead, pre_acts, torch.zeros(())).relu()
    fvu = (x - recon).square().sum(1).mean() / topk.variance
    loss = fvu + topk.aux.coef * normalised_error(error, dead_acts @ topk.W_dec)
    if topk.multi_coef:
        kth = pre_acts.topk(4 * topk.k, dim=1).values[:, -1:]
        recon = (pre_acts * (pre_acts >= kth)).relu() @ topk.W_dec + topk.b_dec
        loss = loss + topk.multi_coef * (x - recon).square().sum(1).mean() / topk.variance
    return loss


@pytest.mark.parametrize("multi_coef", [0.0, 1 / 8])
@pytest.mark.parametrize("n_dead", [4, 20])  # fewer and more than k_aux
def test_gradients_agree_with_a_naive_dense_version(n_dead, multi_coef):
    acts, dead = random_acts(), torch.arange(N_LATENTS) < n_dead
    sparse, dense = (random_topk(aux_coef=0.7, multi_coef=multi_coef) for _ in range(2))
    loss = sparse.loss(acts, dead)
    expected = naive_loss(dense, acts, dead)
    torch.testing.assert_close(loss.total, expected, atol=1e-5, rtol=1e-5)
    loss.total.backward()
    expected.backward()
    for name, parameter in sparse.named_parameters():
        torch.testing.assert_close(parameter.grad, dense.get_parameter(name).grad, atol=1e-5, rtol=1e-5)


def test_auxk_gradient_reaches_encoder_and_decoder_of_dead_latents_only():
    acts, dead = random_acts(), torch.zeros(N_LATENTS, dtype=torch.bool)
    topk = random_topk()
    dead[topk.pre_acts(acts).mean(dim=0).argsort()[10:14]] = True

    def gradients(with_aux: bool) -> tuple[Tensor, Tensor]:
        topk.zero_grad()
        topk.loss(acts, dead & with_aux).total.backward()
        return topk.W_enc.grad.clone(), topk.W_dec.grad.clone()

    with_enc, with_dec = gradients(True)
    without_enc, without_dec = gradients(False)
    moved_enc = (with_enc - without_enc).norm(dim=0)
    moved_dec = (with_dec - without_dec).norm(dim=1)
    assert (moved_enc[dead] > 1e-4).all()
    assert (moved_dec[dead] > 1e-4).all()
    assert moved_enc[~dead].max() < 1e-6
    assert moved_dec[~dead].max() < 1e-6


def test_multi_topk_gradient_reaches_the_encoder_of_latents_beyond_the_k_largest():
    acts, none_dead = random_acts(1), torch.zeros(N_LATENTS, dtype=torch.bool)  # one token: 5 latents, and 20
    plain, multi = random_topk(), random_topk(multi_coef=1 / 8)
    for topk in (plain, multi):
        topk.loss(acts, none_dead).total.backward()
    active = plain.pre_acts(acts)[0].argsort(descending=True)
    active = active[plain.pre_acts(acts)[0, active] > 0]
    assert len(active) > 10
    moved = plain.W_enc.grad.norm(dim=0), multi.W_enc.grad.norm(dim=0)
    assert (moved[0][active[K:20]] == 0).all()
    assert (moved[1][active[K:20]] > 1e-4).all()
    assert (moved[1][active[20:]] == 0).all()


def test_multi_topk_changes_neither_the_code_nor_fvu():
    acts, none_dead = random_acts(), torch.zeros(N_LATENTS, dtype=torch.bool)
    plain, multi = random_topk(), random_topk(multi_coef=1 / 8)
    alone, both = plain.loss(acts, none_dead), multi.loss(acts, none_dead)
    assert torch.equal(alone.fvu, both.fvu)
    assert torch.equal(alone.l0, both.l0)
    assert torch.equal(alone.fired, both.fired)
    assert both.total > alone.total


def test_multi_topk_takes_the_first_of_equal_latents_too():
    topk = TopK(4, 8, 1, norm="none", multi_coef=1 / 8)
    with torch.no_grad():
        topk.W_enc.copy_(torch.ones(4, 8))
    loss = topk.loss(torch.ones(3, 4), torch.zeros(8, dtype=torch.bool))
    assert loss.fired.tolist() == [True] + [False] * 7


def test_no_dead_latents_or_coefficient_0_mean_no_aux_loss():
    acts, all_dead = random_acts(), torch.ones(N_LATENTS, dtype=torch.bool)
    assert random_topk().loss(acts, ~all_dead).aux.item() == 0.0
    assert random_topk(aux_coef=0.0).loss(acts, all_dead).aux.item() == 0.0
    assert random_topk().loss(acts, all_dead).aux.item() > 0.0


def test_loss_reports_l0_and_which_latents_fired():
    topk = identity_topk(d_model=3, k=2)
    # token 1: latents 0 and 2; token 2: latent 2 alone, the others are not positive
    loss = topk.loss(torch.tensor([[3.0, -1.0, 1.0], [-1.0, -2.0, 2.0]]), torch.zeros(3, dtype=torch.bool))
    assert loss.l0.item() == 1.5
    assert loss.fired.tolist() == [True, False, True]


def test_prepare_starts_at_the_median_with_matching_norms_and_a_tied_encoder():
    topk = TopK(D_MODEL, N_LATENTS, K)
    sample = random_acts(500)
    topk.prepare_(sample)
    x = apply_norm(sample, "unit_norm").acts
    recon = topk.decode(topk.encode(sample))
    encoded = topk.encode(sample)
    centred = (recon - encoded.mean) / encoded.norm - topk.b_dec
    ratio = centred.norm(dim=1).mean() / (x - topk.b_dec).norm(dim=1).mean()
    assert ratio.item() == pytest.approx(1.0, abs=1e-4)
    rows = topk.W_enc.t()
    torch.testing.assert_close(rows / rows.norm(dim=1, keepdim=True), topk.W_dec.data)
    assert topk.variance.item() == pytest.approx((x - x.mean(0)).square().sum(1).mean().item(), rel=1e-5)


def test_least_squares_start_has_the_least_error_of_all_scales():
    sample, none_dead = random_acts(500), torch.zeros(N_LATENTS, dtype=torch.bool)
    topk = TopK(D_MODEL, N_LATENTS, K, start="least_squares")
    topk.prepare_(sample)

    def fvu_at(factor: float) -> float:
        with torch.no_grad():
            topk.W_enc.mul_(factor)
            fvu = topk.loss(sample, none_dead).fvu.item()
            topk.W_enc.div_(factor)
        return fvu

    assert fvu_at(1.0) < min(fvu_at(0.95), fvu_at(1.05))
    matched = TopK(D_MODEL, N_LATENTS, K)
    matched.prepare_(sample)
    assert topk.W_enc.norm() < matched.W_enc.norm()
    assert fvu_at(1.0) < matched.loss(sample, none_dead).fvu.item()


def test_an_untied_start_has_the_same_decoder_and_directions_of_its_own_that_match_norms_too():
    tied, untied = TopK(D_MODEL, N_LATENTS, K), TopK(D_MODEL, N_LATENTS, K, tied_start=False)
    assert torch.equal(tied.W_dec, untied.W_dec)
    rows = untied.W_enc.t()
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(N_LATENTS))
    assert (rows * untied.W_dec).sum(dim=1).abs().mean() < 0.5, "a latent does not read what it writes"
    sample = random_acts(500)
    untied.prepare_(sample)
    encoded = untied.encode(sample)
    centred = (untied.decode(encoded) - encoded.mean) / encoded.norm - untied.b_dec
    x = apply_norm(sample, "unit_norm").acts
    assert centred.norm(dim=1).mean().item() == pytest.approx((x - untied.b_dec).norm(dim=1).mean().item(), rel=1e-4)
    assert TopK(**untied.args).tied_start is False


def test_fvu_of_a_dictionary_that_predicts_the_sample_mean_is_1():
    topk = TopK(D_MODEL, N_LATENTS, K)
    sample = random_acts(500)
    topk.prepare_(sample)
    with torch.no_grad():
        topk.b_dec.copy_(apply_norm(sample, "unit_norm").acts.mean(dim=0))
        topk.b_enc.fill_(-100.0)
    assert topk.loss(sample, torch.zeros(N_LATENTS, dtype=torch.bool)).fvu.item() == pytest.approx(1.0, rel=1e-5)


def test_decoder_rows_lose_the_parallel_gradient_and_keep_unit_norm():
    topk, acts = TopK(D_MODEL, N_LATENTS, K), random_acts()
    topk.loss(acts, torch.zeros(N_LATENTS, dtype=torch.bool)).total.backward()
    topk.before_step_()
    assert (topk.W_dec.grad * topk.W_dec).sum(dim=1).abs().max() < 1e-6
    with torch.no_grad():
        topk.W_dec.add_(torch.randn(N_LATENTS, D_MODEL))
    topk.after_step_()
    torch.testing.assert_close(topk.W_dec.norm(dim=1), torch.ones(N_LATENTS))


def test_encoder_is_stored_by_latent_and_its_gradient_likewise():
    topk = random_topk()
    topk.loss(random_acts(), torch.zeros(N_LATENTS, dtype=torch.bool)).total.backward()
    assert topk.W_enc.shape == (D_MODEL, N_LATENTS)
    assert topk.W_enc.stride() == topk.W_enc.grad.stride() == (1, D_MODEL)


def test_k_aux_defaults_to_the_power_of_two_nearest_to_half_the_width():
    assert TopK(576, 2048, 32).aux.k == 256
    assert TopK(576, 64, 32).aux.k == 64  # never more than there are


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"k": 0}, r"dictionary.k=0 is not allowed: 1 to n_latents=40"),
        ({"k": 41}, r"dictionary.k=41 is not allowed: 1 to n_latents=40"),
        ({"k": 2.5}, r"dictionary.k=2.5 is not allowed: a whole number"),
        ({"k_aux": 41}, r"dictionary.k_aux=41"),
        ({"n_latents": 0}, r"dictionary.n_latents=0"),
        ({"aux_coef": -1.0}, r"dictionary.aux_coef=-1.0"),
        ({"start": "zero"}, r"dictionary.start='zero' is not allowed: one of \['norms', 'least_squares'\]"),
        (
            {"tied_start": False, "start": "least_squares"},
            r"dictionary.start='least_squares' .* norms, unless tied_start",
        ),
        ({"multi_coef": -1.0}, r"dictionary.multi_coef=-1.0"),
        ({"k": 11, "multi_coef": 0.125}, r"dictionary.multi_coef=0.125 is not allowed: 0, since 4 x k is more than"),
        ({"norm": "batch"}, r"dictionary.norm='batch'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(args, message):
    with pytest.raises(SettingError, match=message) as error:
        TopK(**({"d_model": D_MODEL, "n_latents": N_LATENTS, "k": K} | args))
    assert "\n" not in str(error.value)


def test_a_constant_sample_is_refused():
    with pytest.raises(SettingError, match="all sampled activations are equal"):
        TopK(4, 8, 2).prepare_(torch.ones(10, 4))
