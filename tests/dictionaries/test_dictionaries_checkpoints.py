import json
from pathlib import Path

import pytest
import torch

from latentese.dictionaries import checkpoints
from latentese.dictionaries.base import Dictionary
from latentese.dictionaries.neurons import Neurons
from latentese.dictionaries.topk import TopK
from latentese.errors import ArtifactError
from latentese.store.artifact import open_draft


def publish(dictionary: Dictionary, out: Path, cfg: dict[str, object] | None = None) -> Path:
    with open_draft(out, "dictionary", {}, {}) as draft:
        checkpoints.save(dictionary, draft.path)
        if cfg is not None:
            (draft.path / "cfg.json").write_text(json.dumps(cfg))
        draft.publish({})
    return out


@pytest.mark.parametrize("dictionary", [TopK(6, 20, 3, norm="layernorm_std", k_aux=5, seed=7), Neurons(6)])
def test_a_saved_dictionary_encodes_and_decodes_the_same(tmp_path, dictionary):
    acts = torch.randn(9, 6)
    loaded = checkpoints.load(publish(dictionary, tmp_path / "dictionary"))
    assert type(loaded) is type(dictionary)
    assert loaded.args == dictionary.args
    for one, other in zip(loaded.encode(acts), dictionary.encode(acts), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(loaded.decode(loaded.encode(acts)), dictionary.decode(dictionary.encode(acts)))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_weights_are_named_and_shaped_as_the_field_does(tmp_path):
    from safetensors.torch import load_file

    weights = load_file(publish(TopK(6, 20, 3), tmp_path / "dictionary") / "dictionary.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    assert shapes == {"W_enc": (6, 20), "W_dec": (20, 6), "b_enc": (20,), "b_dec": (6,), "variance": ()}


@pytest.mark.parametrize("name", ["os.system", "latentese.dictionaries.auxk.AuxK", "latentese.dictionaries.nothing.X"])
def test_only_dictionaries_of_this_package_are_loaded(tmp_path, name):
    path = publish(Neurons(6), tmp_path / "dictionary", {"class": name, "args": {}})
    with pytest.raises(ArtifactError, match=r"is not a dictionary of latentese\.dictionaries"):
        checkpoints.load(path)


def test_weights_of_another_shape_stop_with_one_line(tmp_path):
    args = TopK(6, 20, 3).args | {"n_latents": 21}
    cfg = {"class": "latentese.dictionaries.topk.TopK", "args": args}
    with pytest.raises(ArtifactError, match="does not describe the weights beside it") as error:
        checkpoints.load(publish(TopK(6, 20, 3), tmp_path / "dictionary", cfg))
    assert "\n" not in str(error.value)
