import pytest
import torch
from small_dictionaries import AUTOENCODERS, N_LATENTS, NONE_DEAD, agree, dense, disturb_, identity_, random_acts
from torch import Tensor

from latentese.dictionaries.losses import normalised_error
from latentese.dictionaries.matryoshka import Matryoshka
from latentese.dictionaries.norm import apply_norm
from latentese.errors import SettingError


def test_every_prefix_reconstructs_and_the_whole_is_logged():
    dictionary = identity_(Matryoshka(3, 3, 3, [1, 2], norm="none"))
    loss = dictionary.loss(torch.tensor([[3.0, 2.0, 1.0]]), torch.zeros(3, dtype=torch.bool))
    # without latents 1, 2: 4 + 1; without latent 2: 1; whole: 0. Variance is 1 before prepare_.
    assert loss.fvu.item() == 0.0
    assert loss.total.item() == pytest.approx((5 + 1 + 0) / 3)


def naive_loss(dictionary: Matryoshka, acts: Tensor, dead: Tensor) -> Tensor:
    x = apply_norm(acts, dictionary.norm).acts
    pre_acts = (x - dictionary.b_dec) @ dictionary.W_enc + dictionary.b_enc
    chosen = pre_acts.relu().flatten().topk(dictionary.k * len(x))
    latents = torch.zeros(pre_acts.numel()).scatter(0, chosen.indices, chosen.values).view_as(pre_acts)
    fvus = []
    for m in (*dictionary.prefix_sizes, N_LATENTS):
        recon = latents[:, :m] @ dictionary.W_dec[:m] + dictionary.b_dec
        fvus.append((x - recon).square().sum(dim=1).mean() / dictionary.variance)
    error = (x - recon).detach()
    kth_dead = pre_acts.masked_fill(~dead, -torch.inf).topk(dictionary.aux.k, dim=1).values[:, -1:]
    revived = torch.where(dead & (pre_acts >= kth_dead), pre_acts, torch.zeros(())).relu()
    return sum(fvus) / len(fvus) + dictionary.aux.coef * normalised_error(error, revived @ dictionary.W_dec)


def test_gradients_agree_with_a_naive_dense_version():
    dead = torch.arange(N_LATENTS) % 3 == 0  # some in every prefix
    ours, naive = (AUTOENCODERS["matryoshka"](aux_coef=0.7) for _ in range(2))
    for dictionary in (ours, naive):
        dictionary.prepare_(random_acts(500))
        disturb_(dictionary)
    acts = random_acts()
    loss, expected = ours.loss(acts, dead), naive_loss(naive, acts, dead)
    torch.testing.assert_close(loss.total, expected, atol=1e-5, rtol=1e-5)
    loss.total.backward()
    expected.backward()
    for name, parameter in ours.named_parameters():
        agree(name, parameter.grad, naive.get_parameter(name).grad)


def test_without_prefixes_it_is_batch_topk():
    nested, plain = AUTOENCODERS["matryoshka"](prefix_sizes=[]), AUTOENCODERS["batch_topk"]()
    for dictionary in (nested, plain):
        dictionary.prepare_(random_acts(500))
    acts = random_acts()
    assert nested.loss(acts, NONE_DEAD).total.item() == plain.loss(acts, NONE_DEAD).total.item()
    assert torch.equal(dense(nested, acts), dense(plain, acts))


def test_sizes_come_as_a_list_or_a_tuple_and_leave_as_a_list():
    assert Matryoshka(3, 9, 2, (1, 4)).args["prefix_sizes"] == [1, 4]
    assert Matryoshka(3, 9, 2, [1, 4]).args == Matryoshka(3, 9, 2, (1, 4)).args


@pytest.mark.parametrize("sizes", [[0], [4, 4], [15, 4], [4, 40], [41]])
def test_sizes_that_do_not_rise_towards_the_whole_are_refused(sizes):
    with pytest.raises(SettingError, match=r"dictionary.prefix_sizes=.* is not allowed: rising .* n_latents - 1 = 39"):
        AUTOENCODERS["matryoshka"](prefix_sizes=sizes)


def test_more_active_latents_than_there_are_are_refused():
    with pytest.raises(SettingError, match=r"dictionary.k=41 is not allowed: 1 to n_latents=40"):
        AUTOENCODERS["matryoshka"](k=41)
