"""A model on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentese.errors import AssetError
from latentese.weights.source import MODEL_FILES


@dataclass(frozen=True)
class HubModel:
    """A model by hub id; name a commit as revision, because a branch moves."""

    id: str
    revision: str = "main"

    @property
    def name(self) -> str:
        """Id and revision."""
        return f"{self.id}@{self.revision}"

    def folder(self) -> Path:
        """Folder in the hub's own cache; downloads what is missing."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            folder = Path(snapshot_download(self.id, revision=self.revision, allow_patterns=list(MODEL_FILES)))
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise AssetError(f"{self.name}: {_reason(error)}") from error
        if not any(folder.glob("*.safetensors")):
            raise AssetError(f"{self.name}: has no safetensors weights; pickled weights are not loaded")
        return folder


def _reason(error: Exception) -> str:
    """One line for a person: not found, no access, or no network."""
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        return "no such revision on the hub"
    if isinstance(error, RepositoryNotFoundError):
        return "not found on the hub (or private: log in with `hf auth login`)"
    if isinstance(error, HFValidationError):
        return "not a hub id; expected organisation/model"
    return "not in the local hub cache, and the hub cannot be reached; check the network, or name a local folder"
