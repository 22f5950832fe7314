from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from latentese.store.tensors import TensorSpec, write_tensors


def test_pieces_become_the_tensors_that_the_header_promises(tmp_path: Path) -> None:
    a = torch.arange(12, dtype=torch.int32).view(4, 3)
    b = torch.tensor([0.5, -1.25], dtype=torch.bfloat16)
    empty = torch.empty(0, 3, dtype=torch.uint8)
    specs = {"a": TensorSpec(a.dtype, (4, 3)), "empty": TensorSpec(empty.dtype, (0, 3)), "b": TensorSpec(b.dtype, (2,))}
    write_tensors(specs, [("a", a[:1]), ("a", a[1:]), ("b", b)], tmp_path / "t.safetensors")
    loaded = load_file(tmp_path / "t.safetensors")
    assert {name: tensor.dtype for name, tensor in loaded.items()} == {n: s.dtype for n, s in specs.items()}
    assert torch.equal(loaded["a"], a)
    assert torch.equal(loaded["b"], b)
    assert loaded["empty"].shape == (0, 3)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [("a", torch.zeros(1, 2))],
        [("a", torch.zeros(3, 2))],
        [("b", torch.zeros(2, 2))],
        [("a", torch.zeros(2, 2, dtype=torch.bfloat16))],
    ],
)
def test_pieces_that_do_not_add_up_leave_nothing(pieces: list[tuple[str, torch.Tensor]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"t\.safetensors"):
        write_tensors({"a": TensorSpec(torch.float32, (2, 2))}, pieces, tmp_path / "t.safetensors")
    assert not list(tmp_path.iterdir())


def test_notes_and_wide_numbers_are_kept(tmp_path: Path) -> None:
    numbers = {"step": torch.tensor(2**40), "logs": torch.tensor([[0.1, 1e300]], dtype=torch.float64)}
    specs = {name: TensorSpec(tensor.dtype, tuple(tensor.shape)) for name, tensor in numbers.items()}
    write_tensors(specs, numbers.items(), tmp_path / "t.safetensors", {"made_from": "größer"})
    with safe_open(tmp_path / "t.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "made_from": "größer"}
        for name, tensor in numbers.items():
            assert torch.equal(file.get_tensor(name), tensor)
