"""From a named checkpoint to a dictionary that is used as it is."""

import os

import pytest
import torch
from foreign_checkpoints import toy, toy_acts, write_openai, write_sae_lens, write_sparsify

from latentese.dictionaries import checkpoints
from latentese.dictionaries.base import Trainable
from latentese.dictionaries.formats.base import Imported, Meaning
from latentese.dictionaries.formats.load import (
    READABLE,
    WRITABLE,
    freeze,
    load_pretrained,
    read_checkpoint,
    write_checkpoint,
)
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.pca import PCA
from latentese.dictionaries.pretrained import Pretrained
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError, SettingError
from latentese.store.artifact import open_draft


def publish(dictionary, out):
    with open_draft(out, "dictionary", {}, {}) as draft:
        checkpoints.save(dictionary, draft.path)
        draft.publish({})
    return out


def test_a_checkpoint_is_loaded_to_be_used_not_trained(tmp_path):
    path, acts = write_sparsify(tmp_path / "sae", toy()), toy_acts()
    loaded = load_pretrained("sparsify", str(path), d_model=6)
    assert isinstance(loaded, Pretrained)
    assert not isinstance(loaded, Trainable)
    assert not loaded.needs_training
    assert (loaded.d_model, loaded.n_units) == (6, 10)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    inner = read_checkpoint("sparsify", path).dictionary
    codes, pre_acts = loaded.encode_with_pre_acts(acts)
    for one, other in zip(codes, inner.encode_with_pre_acts(acts)[0], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(pre_acts, inner.pre_acts(acts))
    assert torch.equal(loaded.pre_acts(acts), pre_acts)
    assert torch.equal(loaded.decode(codes), inner.decode(codes))


def test_what_it_meant_stays_with_it_on_disk(tmp_path):
    loaded = load_pretrained("openai", str(write_openai(tmp_path / "ae.pt", toy())), d_model=6)
    again, acts = checkpoints.load(publish(loaded, tmp_path / "dictionary")), toy_acts()
    assert isinstance(again, Pretrained)
    assert again.meaning == loaded.meaning
    assert Meaning(**again.meaning).norm.startswith("layernorm_std")
    assert torch.equal(again.decode(again.encode(acts)), loaded.decode(loaded.encode(acts)))


def test_our_own_artifacts_are_a_format_too(tmp_path):
    trained, acts = TopK(6, 10, 3), toy_acts()
    loaded = load_pretrained("latentese", str(publish(trained, tmp_path / "dictionary")), d_model=6)
    assert isinstance(loaded, Pretrained)
    assert loaded.meaning["architecture"] == "TopK"
    assert torch.equal(loaded.decode(loaded.encode(acts)), trained.decode(trained.encode(acts)))


def test_units_that_also_go_below_0_still_do_when_they_are_imported(tmp_path):
    pca = PCA(6, n_latents=4)
    pca.prepare_(torch.randn(32, 6, generator=torch.Generator().manual_seed(0)))
    loaded = load_pretrained("latentese", str(publish(pca, tmp_path / "dictionary")), d_model=6)
    assert isinstance(loaded, Pretrained)
    assert loaded.signed  # so that a unit fires above a quantile, not on every second token
    assert not load_pretrained("latentese", str(publish(TopK(6, 8, 2), tmp_path / "topk")), d_model=6).signed


def test_an_imported_artifact_keeps_its_first_meaning(tmp_path):
    first = load_pretrained("sparsify", str(write_sparsify(tmp_path / "sae", toy())), d_model=6)
    second = load_pretrained("latentese", str(publish(first, tmp_path / "dictionary")), d_model=6)
    assert isinstance(second, Pretrained)
    assert isinstance(second.inner, TopK)
    assert second.meaning == first.meaning


def test_what_is_never_trained_stays_itself():
    neurons = Neurons(6)
    meaning = Meaning("latentese", "Neurons", "", "", "", "", "float32", {}, {})
    assert freeze(Imported(neurons, meaning)) is neurons


def test_a_hookpoint_of_another_width_is_one_line(tmp_path):
    path = write_sparsify(tmp_path / "sae", toy())
    with pytest.raises(SettingError, match=r"a dictionary of width 768, as the hookpoint's .*; this one's is 6"):
        load_pretrained("sparsify", str(path), d_model=768)


@pytest.mark.parametrize("format", ["gguf", "os", "base", "sparsify.read"])
def test_an_unknown_format_names_the_known_ones(tmp_path, format):
    with pytest.raises(SettingError, match="one of sae_lens, sparsify, dictionary_learning, openai, latentese"):
        read_checkpoint(format, tmp_path)
    with pytest.raises(SettingError, match=r"one of sae_lens, sparsify, dictionary_learning$"):
        write_checkpoint(format, Neurons(6), tmp_path)


@pytest.mark.parametrize("format", READABLE)
def test_nothing_there_is_one_line(tmp_path, format):
    with pytest.raises(ArtifactError, match=rf"{tmp_path}/nothing.*(no such file|no artifact here)"):
        load_pretrained(format, str(tmp_path / "nothing"), d_model=6)


@pytest.mark.parametrize(
    ("format", "changed"),
    [
        ("sae_lens", {"architecture": ["topk"]}),
        ("sae_lens", {"normalize_activations": {"norm": "none"}}),
        ("sae_lens", {"metadata": "6.0.0"}),
        ("openai", {"activation": ["TopK"]}),
        ("openai", {"activation_state_dict": {"k": torch.tensor([1, 2])}}),
    ],
)
def test_values_of_another_kind_than_the_format_has_are_one_line(tmp_path, format, changed):
    write = {"sae_lens": write_sae_lens, "openai": write_openai}[format]
    path = write(tmp_path / "sae", toy(), **changed)
    with pytest.raises(ArtifactError, match=rf"sae: holds other values than {format} writes \(\w+Error: ") as error:
        read_checkpoint(format, path)
    assert "\n" not in str(error.value)


class Malicious:
    """Its pickle makes a folder when it is loaded."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("format", ["dictionary_learning", "openai"])
def test_a_malicious_checkpoint_is_refused_and_not_run(tmp_path, format):
    (tmp_path / "config.json").write_text('{"trainer": {"dict_class": "AutoEncoderTopK", "k": 3}}')
    torch.save({"encoder.weight": torch.zeros(10, 6), "k": Malicious(tmp_path / "ran")}, tmp_path / "ae.pt")
    path = tmp_path if format == "dictionary_learning" else tmp_path / "ae.pt"
    with pytest.raises(ArtifactError, match=r"ae\.pt: refused: .* can run code when it is loaded"):
        load_pretrained(format, str(path), d_model=6)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("format", WRITABLE)
def test_every_written_format_reads_back_even_from_a_wrapped_dictionary(tmp_path, format):
    loaded, acts = load_pretrained("sparsify", str(write_sparsify(tmp_path / "sae", toy())), d_model=6), toy_acts()
    write_checkpoint(format, loaded, tmp_path / format)
    again = read_checkpoint(format, tmp_path / format).dictionary
    assert torch.equal(again.decode(again.encode(acts)), loaded.decode(loaded.encode(acts)))
