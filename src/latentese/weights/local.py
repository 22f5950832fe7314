"""A model in a local folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from latentese.errors import AssetError
from latentese.store.files import sha256_file, sha256_json
from latentese.weights.source import MODEL_FILES


@dataclass(frozen=True)
class LocalModel:
    """A folder that `from_pretrained` reads: config.json, safetensors, tokenizer.json.

    Its identity is the content of its files, not where they lie, so artifacts do not change when it moves.
    """

    path: str | Path

    @cached_property
    def name(self) -> str:
        """Folder name and hash of its files."""
        folder = self.folder()
        files = {path.name: sha256_file(path) for kind in MODEL_FILES for path in folder.glob(kind)}
        return f"{folder.resolve().name}@{sha256_json(files)[:12]}"

    def folder(self) -> Path:
        """Return the folder itself; raises AssetError when it holds no model."""
        folder = Path(self.path).expanduser()
        if not (folder / "config.json").is_file():
            raise AssetError(f"{folder}: no model here (config.json is missing)")
        if not any(folder.glob("*.safetensors")):
            raise AssetError(f"{folder}: no weights here (*.safetensors is missing)")
        return folder
