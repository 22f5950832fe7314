"""Read GGUF files: the header once, tensors one at a time.

Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md. Dequantisation is the `gguf` package's own; its reader is
not used because it parses the metadata several times, which takes minutes for a vocabulary of 150,000.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from latentese.errors import AssetError

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # version 1 had 32-bit lengths
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
N_AXES_MAX = 4


class TensorInfo(NamedTuple):
    """Where a tensor lies in the file."""

    shape: tuple[int, ...]
    """As in PyTorch: the axis that varies slowest first (GGUF writes it last)."""
    kind: GGMLQuantizationType
    offset: int
    """In bytes from the start of the file."""
    n_bytes: int


@dataclass(frozen=True)
class GGUFFile:
    """A GGUF file's metadata and tensors."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]
    data: np.ndarray
    """The whole file as bytes, memory-mapped."""

    def read(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """Dequantise one tensor, or some rows of it (its first axis), to float32."""
        info = self.tensors[name]
        raw = self.data[info.offset : info.offset + info.n_bytes].reshape(info.shape[0], -1)[rows]
        shape = (len(raw), *info.shape[1:])
        # Plain copies are many times quicker than the general way, and norms and biases are float32.
        if info.kind == GGMLQuantizationType.F32:
            return raw.view("<f4").astype(np.float32).reshape(shape)
        values: np.ndarray = dequantize(np.ascontiguousarray(raw).reshape(math.prod(shape[:-1]), -1), info.kind)
        return values.reshape(shape).astype(np.float32, copy=False)


def open_gguf(path: Path) -> GGUFFile:
    """Read the header of a GGUF file; raises AssetError when it is truncated, damaged or of another format."""
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        header = _Header(data.data)
        metadata, tensors = header.read()
    except (struct.error, ValueError, KeyError, OSError) as error:
        raise AssetError(f"{path}: not a readable GGUF file ({error})") from error
    return GGUFFile(path, metadata, tensors, data)


class _Header:
    """Cursor over the header: every read moves it forward."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def read(self) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
        if bytes(self.data[:4]) != MAGIC:
            raise ValueError(f"begins with {bytes(self.data[:4])!r}, not {MAGIC!r}")
        self.at = len(MAGIC)
        version = self.scalar("I")
        if version not in VERSIONS:
            raise ValueError(f"version {version}; versions {VERSIONS} are read")
        n_tensors, n_metadata = self.scalar("Q"), self.scalar("Q")
        metadata = {}
        for _ in range(n_metadata):
            key = self.string()
            metadata[key] = self.value(self.scalar("I"))
        infos = [self.tensor() for _ in range(n_tensors)]
        alignment = metadata.get("general.alignment", 32)
        start = -(-self.at // alignment) * alignment
        return metadata, {name: self.placed(info, start) for name, info in infos}

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.data, self.at)
        self.at += struct.calcsize(f"<{code}")
        return value

    def take(self, n_bytes: int) -> memoryview:
        if n_bytes > len(self.data) - self.at:
            raise ValueError(f"truncated: {n_bytes} bytes wanted at {self.at}, the file has {len(self.data)}")
        taken = self.data[self.at : self.at + n_bytes]
        self.at += n_bytes
        return taken

    def string(self) -> str:
        return bytes(self.take(self.scalar("Q"))).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.scalar(_scalar_code(kind))
        item, length = self.scalar("I"), self.scalar("Q")
        if item == STRING:
            return [self.string() for _ in range(length)]
        code = _scalar_code(item)
        return list(struct.unpack(f"<{length}{code}", self.take(length * struct.calcsize(f"<{code}"))))

    def tensor(self) -> tuple[str, TensorInfo]:
        """One tensor's entry; its offset is still relative to the data section."""
        name = self.string()
        n_axes = self.scalar("I")
        if n_axes > N_AXES_MAX:
            raise ValueError(f"tensor {name} has {n_axes} axes")
        shape = tuple(self.scalar("Q") for _ in range(n_axes))[::-1]
        kind = GGMLQuantizationType(self.scalar("I"))
        block_size, block_bytes = GGML_QUANT_SIZES[kind]
        if not shape or shape[-1] % block_size:
            raise ValueError(f"tensor {name} of shape {shape} does not fit blocks of {block_size}")
        return name, TensorInfo(shape, kind, self.scalar("Q"), math.prod(shape) // block_size * block_bytes)

    def placed(self, info: TensorInfo, start: int) -> TensorInfo:
        if start + info.offset + info.n_bytes > len(self.data):
            raise ValueError(
                f"truncated: a tensor ends at {start + info.offset + info.n_bytes}, the file has {len(self.data)} bytes"
            )
        return info._replace(offset=start + info.offset)


def _scalar_code(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"unknown type of value {kind}")
    return SCALARS[kind]
