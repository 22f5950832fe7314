"""Reading the files of a checkpoint: JSON and tensors, never code.

A `.pt` file is a pickle, a program that builds objects. It is read by torch's restricted reader alone, which knows
tensors and plain containers and stops at anything else, before it runs.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from latentese.errors import ArtifactError


def read_cfg(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        cfg = json.loads(_present(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(path, f"not JSON ({error})") from error
    if not isinstance(cfg, dict):
        raise ArtifactError(path, f"expected a JSON object, found {type(cfg).__name__}")
    return cfg


def read_safetensors(path: Path) -> Tensors:
    """Read a safetensors file."""
    try:
        return Tensors(path, load_file(_present(path)))
    except (SafetensorError, OSError) as error:
        raise ArtifactError(path, f"not a readable safetensors file ({first_line(error)})") from error


def read_pt(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read a `.pt` file that holds one mapping: its tensors, and its other values.

    Raises ArtifactError for a file that holds anything but tensors and plain values; nothing of it is run.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of odd files before it refuses them; one line is enough
            loaded = torch.load(_present(path), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        problem = "refused: it holds more than tensors and plain values, and such a file can run code when it is loaded"
        raise ArtifactError(path, f"{problem}; ask its author for safetensors") from error
    except Exception as error:  # a corrupt file fails in many ways, depending on where
        raise ArtifactError(path, f"not a readable .pt file ({first_line(error)})") from error
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise ArtifactError(path, "expected a mapping of names to tensors (a state dict)")
    tensors = {name: value for name, value in loaded.items() if isinstance(value, Tensor)}
    return Tensors(path, tensors), {name: value for name, value in loaded.items() if name not in tensors}


class Tensors:
    """The named tensors of one file. Each is taken once and checked on the way; one that nobody takes is refused."""

    def __init__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        self.path = path
        self._left = dict(tensors)
        self.dtype = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}))

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, *shape: int | None) -> Tensor:
        """Take a finite tensor of this shape (None: any length) as fp32."""
        if name not in self._left:
            raise ArtifactError(self.path, f"holds no tensor {name!r}; there are {self._names()}")
        tensor = self._left.pop(name)
        fits = tensor.ndim == len(shape) and all(
            wanted in (None, found) for wanted, found in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            wanted = ["any" if length is None else length for length in shape]
            raise ArtifactError(self.path, f"{name!r} has shape {list(tensor.shape)}, expected {wanted}")
        if not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(self.path, f"{name!r} holds NaN or infinite values")
        return tensor.float()

    def drop(self, names: Collection[str]) -> None:
        """Put aside tensors that say nothing about encoding and decoding, such as counters of training."""
        for name in names:
            self._left.pop(name, None)

    def finish(self) -> None:
        """Refuse what was not taken: it would change the result in a way that is not known here."""
        if self._left:
            raise ArtifactError(self.path, f"holds tensors with a meaning unknown to this format: {self._names()}")

    def _names(self) -> str:
        return ", ".join(sorted(self._left)) or "none"


def _present(path: Path) -> Path:
    if not path.is_file():
        raise ArtifactError(path, "no such file")
    return path


def first_line(error: Exception) -> str:
    """First line of what an error says, or its class where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
