"""Safetensors written tensor by tensor, so that a file larger than memory can be made."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from latentese.store.files import whole_file

_DTYPE_NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.uint8: "U8",
}


class TensorSpec(NamedTuple):
    """What a file's header says of a tensor before its values are known."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Size of the tensor on disk."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_tensors(
    specs: Mapping[str, TensorSpec],
    pieces: Iterable[tuple[str, torch.Tensor]],
    path: Path,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write one safetensors file, whole or not at all, holding one piece in memory at a time.

    `pieces` are rows of the tensors in the order of `specs`: several pieces of one name follow one another. `notes` are
    kept in the header. Raises ValueError when pieces do not add up to what `specs` says.
    """
    header = _header(specs, notes or {})
    left = {name: spec.n_bytes for name, spec in specs.items()}
    order = list(specs)
    with whole_file(path) as part, part.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name, piece in pieces:
            while order and order[0] != name and not left[order[0]]:
                order.pop(0)
            if not order or order[0] != name or piece.dtype != specs[name].dtype:
                raise ValueError(f"{path.name}: unexpected piece {name} of {piece.dtype}")
            left[name] -= file.write(_bytes_of(piece))
        if any(left.values()):
            raise ValueError(f"{path.name}: bytes missing or too many: { {n: b for n, b in left.items() if b} }")


def _header(specs: Mapping[str, TensorSpec], notes: Mapping[str, str]) -> bytes:
    """JSON header, padded with spaces to a multiple of 8 bytes so that tensors are aligned."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt", **notes}}
    offset = 0
    for name, spec in specs.items():
        end = offset + spec.n_bytes
        entries[name] = {"dtype": _DTYPE_NAMES[spec.dtype], "shape": list(spec.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _bytes_of(piece: torch.Tensor) -> memoryview:
    """Bytes of a tensor, not copied where they lie in order; numpy has no bfloat16, so all dtypes go through uint8."""
    return piece.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
