import pytest
import torch

from latentese.dictionaries.neurons import Neurons
from latentese.errors import SettingError


def test_neurons_are_the_activations_themselves():
    acts = torch.tensor([[1.5, -2.0, 0.0], [0.1, 0.2, 0.3]]).bfloat16()
    neurons = Neurons(3)
    unit_acts = neurons.encode(acts)
    assert torch.equal(neurons.decode(unit_acts), acts.float())
    assert torch.equal(unit_acts.values, neurons.pre_acts(acts))
    assert unit_acts.indices.tolist() == [[0, 1, 2]] * 2


def test_neurons_are_signed_and_not_trained():
    neurons = Neurons(3)
    assert (neurons.signed, neurons.needs_training, neurons.n_units) == (True, False, 3)
    assert list(neurons.parameters()) == []


def test_no_width_is_refused():
    with pytest.raises(SettingError, match=r"dictionary.d_model=0"):
        Neurons(0)
