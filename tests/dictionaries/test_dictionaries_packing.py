import torch
from hypothesis import given
from hypothesis import strategies as st

from latentese.dictionaries import packing
from latentese.dictionaries.packing import pack_active


def test_rows_are_as_wide_as_the_busiest_one_and_padded_with_0():
    latents = torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0]])
    values, indices = pack_active(latents, lambda rows: rows, 4)
    assert values.tolist() == [[2.0, 1.0], [0.0, 0.0], [3.0, 0.0]]
    assert indices[0].tolist() == [1, 3]
    assert indices[2, 0].item() == 0
    assert indices.dtype == torch.int64


def test_silence_is_one_column_of_padding():
    values, indices = pack_active(torch.zeros(3, 4), lambda rows: rows, 4)
    assert values.tolist() == indices.tolist() == [[0.0]] * 3


def test_no_tokens_are_no_rows():
    values, indices = pack_active(torch.zeros(0, 4), lambda rows: rows, 4)
    assert values.shape == indices.shape == (0, 1)


def test_few_dense_codes_are_held_at_once(monkeypatch):
    monkeypatch.setattr(packing, "CHUNK_VALUES", 12)
    seen = []

    def code(rows):
        seen.append(len(rows))
        return rows.repeat(1, 4)  # one number per token becomes 4 latents

    values, indices = pack_active(torch.arange(8.0).unsqueeze(1), code, 4)
    assert seen == [3, 3, 2]
    assert values[0].tolist() == [0.0] * 4
    assert values[1:].tolist() == [[float(token)] * 4 for token in range(1, 8)]
    assert indices[1:].tolist() == [[0, 1, 2, 3]] * 7


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 10**6))
def test_packed_rows_hold_the_same_code(n_tokens, n_latents, seed):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(n_tokens, n_latents, generator=generator).relu()
    values, indices = pack_active(latents, lambda rows: rows, n_latents)
    assert values.shape[1] == max(1, int((latents > 0).sum(dim=1).max()))
    assert torch.equal(torch.zeros(n_tokens, n_latents).scatter_add(1, indices, values), latents)
