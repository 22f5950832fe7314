from pathlib import Path

import numpy as np
import pytest
import torch
from toy_artifacts import Planted, write_activations, write_contexts

from latentese.corpus.contexts import Contexts
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import SettingError
from latentese.evaluation.base import Evaluated
from latentese.evaluation.reconstruction import CONTEXTS, Reconstruction, measure_reconstruction
from latentese.store.shards import Activations


@pytest.fixture
def activations(tmp_path: Path) -> Activations:
    return Activations(write_activations(tmp_path / "activations", write_contexts(tmp_path / "contexts")))


def ignore(_: int) -> None:
    """Take no notice of progress."""


def test_the_identity_explains_all_and_spends_all(activations):
    found = measure_reconstruction(Neurons(16), activations, Reconstruction(batch_tokens=33), ignore)
    assert (found.fvu, found.fvu_raw, found.l0, found.dead_share) == (0.0, 0.0, 16.0, 0.0)
    assert found.n_tokens == len(activations.rows_of("test"))
    assert found.cosine["mean"] == pytest.approx(1.0)
    assert found.cosine["q01"] == 1.0


@pytest.mark.parametrize("norm", ["none", "unit_norm"])
def test_predicting_a_constant_has_the_fvu_of_that_constant(activations, norm):
    """A dictionary whose latents never fire predicts b_dec; compare with the definition on whole tensors."""
    topk = TopK(16, 8, 2, norm=norm)
    with torch.no_grad():
        topk.b_enc.fill_(-100.0)
        topk.b_dec.fill_(0.1)
    found = measure_reconstruction(topk, activations, Reconstruction(batch_tokens=20), ignore)
    test, explain = (activations.gather(np.asarray(activations.rows_of(split))) for split in ("test", "explain"))
    if norm == "unit_norm":
        test, explain = ((x - x.mean(1, keepdim=True)) for x in (test, explain))
        test, explain = (x / x.norm(dim=1, keepdim=True) for x in (test, explain))
    expected = (test - 0.1).square().sum() / (test - explain.mean(dim=0)).square().sum()
    assert found.fvu == pytest.approx(expected.item(), rel=1e-5)
    assert (found.l0, found.dead_share) == (0.0, 1.0)


def test_cosines_are_those_of_tokens_with_their_reconstruction(activations):
    """A dictionary that predicts the first axis: the cosine is the first coordinate over the norm."""
    topk = TopK(16, 8, 2, norm="none")
    with torch.no_grad():
        topk.b_enc.fill_(-100.0)
        topk.b_dec[0] = 2.0
    found = measure_reconstruction(topk, activations, Reconstruction(batch_tokens=20), ignore)
    test = activations.gather(np.asarray(activations.rows_of("test")))
    expected = test[:, 0] / test.norm(dim=1)
    assert found.cosine["mean"] == pytest.approx(expected.mean().item(), abs=1e-6)
    assert found.cosine["q50"] == pytest.approx(np.quantile(expected, 0.5, method="inverted_cdf"), abs=1e-4)


def test_l0_dead_share_and_densities_count_active_latents(activations):
    topk = TopK(16, 20, 3)
    with torch.no_grad():
        topk.b_enc[:5] = 100.0  # these win on every token
        topk.b_enc[5:10] = -100.0
    found = measure_reconstruction(topk, activations, Reconstruction(), ignore)
    assert found.l0 == 3.0
    densities = found.densities()
    assert densities["unit"].to_list() == list(range(20))
    assert densities["density"].sum() == pytest.approx(3.0)
    assert densities["n_active"][5:].sum() == 0
    assert found.dead_share >= 15 / 20


def test_the_batch_size_does_not_matter(activations):
    topk = TopK(16, 40, 3)
    small, large = (
        measure_reconstruction(topk, activations, Reconstruction(batch_tokens=size), ignore) for size in (7, 1000)
    )
    assert small.fvu == pytest.approx(large.fvu, rel=1e-6)
    assert small.cosine == pytest.approx(large.cosine, abs=1e-4)
    assert torch.equal(small.n_active, large.n_active)


def test_a_split_that_was_not_collected_is_refused(tmp_path):
    contexts = write_contexts(tmp_path / "contexts")
    activations = Activations(write_activations(tmp_path / "a", contexts, Planted(splits=("explain",))))
    with pytest.raises(SettingError, match=r"split='test' is not allowed"):
        measure_reconstruction(Neurons(16), activations, Reconstruction(), ignore)


def test_bad_settings_are_refused():
    with pytest.raises(SettingError, match=r"evaluations.reconstruction.batch_tokens=0"):
        Reconstruction(batch_tokens=0)
    with pytest.raises(
        SettingError, match=r"evaluations.reconstruction.mean_split='test' is not allowed: another than"
    ):
        Reconstruction(mean_split="test")


def test_what_contexts_add_up_to_are_the_figures(tmp_path):
    contexts = Contexts(write_contexts(tmp_path / "contexts"))
    activations = Activations(write_activations(tmp_path / "activations", tmp_path / "contexts"))
    evaluated = Evaluated(TopK(16, 40, 3), activations, contexts, "layers.0.resid_post", lambda: pytest.fail("no need"))
    for batch_tokens in (5, 1000):  # batches that end within contexts, and one batch
        found = Reconstruction(batch_tokens=batch_tokens).measure(evaluated)
        table = found.tables["contexts"]
        assert table.schema == CONTEXTS
        assert table["context"].to_list() == contexts.of_split("test").tolist()
        assert table["document"].to_list() == contexts.table[table["context"].to_list()]["document"].to_list()
        assert table["n_tokens"].to_list() == contexts.keep[table["context"].to_list()].sum(dim=1).tolist()
        assert table["error"].sum() / table["distance"].sum() == pytest.approx(found.metrics["fvu"], rel=1e-12)
        assert table["n_active"].sum() / table["n_tokens"].sum() == found.metrics["l0"]


def test_a_contexts_error_is_that_of_its_own_tokens(activations):
    topk = TopK(16, 40, 3, norm="none")
    found = measure_reconstruction(topk, activations, Reconstruction(batch_tokens=5), ignore)
    context = np.concatenate([shard.context for shard in activations.shards()])
    last = int(found.contexts["context"][-1])
    acts = activations.gather(np.flatnonzero(context == last))
    error = (acts - topk.decode(topk.encode(acts))).double().square().sum()
    assert found.contexts["error"][-1] == pytest.approx(error.item(), rel=1e-9)
