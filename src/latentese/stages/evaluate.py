"""Stage `evaluate`: what the dictionary is worth on documents it was not fitted to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from latentese.dictionaries import checkpoints
from latentese.errors import ArtifactError, SettingError
from latentese.evaluation.densities import HISTOGRAM, density_histogram, density_quantiles
from latentese.evaluation.reconstruction import DENSITIES, EvaluateSettings, Reconstruction, measure_reconstruction
from latentese.store.artifact import open_artifact, open_draft
from latentese.store.files import write_json
from latentese.store.shards import Activations
from latentese.store.tables import write_table


def evaluate(contexts: Path, activations: Path, dictionary: Path, settings: EvaluateSettings, out: Path) -> Path:
    """Write the evaluation artifact: `metrics.json`, `densities.parquet`, `density_histogram.parquet`."""
    texts, source = open_artifact(contexts, "contexts"), Activations(activations)
    if source.artifact.manifest.inputs.get("contexts") != texts.sha256:
        raise ArtifactError(activations, f"not collected from {contexts}; run the collect stage again")
    measured = checkpoints.load(dictionary)
    if measured.d_model != source.width:
        raise SettingError("dictionary.d_model", measured.d_model, f"{source.width}, the width of {activations}")
    inputs = {"contexts": texts, "activations": source.artifact, "dictionary": open_artifact(dictionary, "dictionary")}
    with open_draft(out, "evaluation", inputs, asdict(settings)) as draft:
        n_tokens = len(source.rows_of(settings.split))
        with tqdm(total=n_tokens, unit="tok", unit_scale=True, desc="evaluate", disable=None) as bar:
            found = measure_reconstruction(measured, source, settings, bar.update)
        densities = found.densities()
        histogram = density_histogram(densities["density"].to_numpy(), found.n_tokens, settings.bins_per_decade)
        write_table(densities, DENSITIES, draft.path / "densities.parquet")
        write_table(histogram, HISTOGRAM, draft.path / "density_histogram.parquet")
        write_json(_metrics(found, measured.signed), draft.path / "metrics.json")
        draft.publish({"n_units": measured.n_units, "n_tokens": found.n_tokens})
    return out


def _metrics(found: Reconstruction, signed: bool) -> dict[str, object]:
    """Collect the figures. Signed units fire above a threshold, so for them counts of non-zeros are left out."""
    figures: dict[str, object] = {
        "signed": signed,
        "fvu": found.fvu,
        "fvu_raw": found.fvu_raw,
        "l0": found.l0,
        "n_tokens": found.n_tokens,
    }
    if signed:
        return figures
    density = density_quantiles(found.densities()["density"].to_numpy())
    return {**figures, "dead_share": found.dead_share, "density": density}
