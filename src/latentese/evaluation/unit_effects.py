"""What single units do, per slice of text: turn a German unit off, and German gets harder to predict, not English."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from latentese.dictionaries.base import Dictionary, UnitActs
from latentese.errors import SettingError
from latentese.evaluation.base import Evaluated, Findings
from latentese.evaluation.edits import add, unit_directions
from latentese.evaluation.predictions import counted_predictions, cross_entropies, sum_counted
from latentese.evaluation.sampling import draw, known_split, predicting_contexts
from latentese.evaluation.selectivity import Chosen, Firing, FiringSample, firing_by_source, selective_units
from latentese.evaluation.slices import Changes, own_and_others, unit_table
from latentese.metrics.intervals import Bootstrap
from latentese.subject.intervene import Edit, Intervention, intervene_at


@dataclass(frozen=True)
class UnitEffects:
    """Change in the subject's loss, source by source, when a unit is turned off or pushed up at every token.

    ablated: the unit's part is taken out wherever it is active. steered: `steer` times the unit's largest activation is
    added at every token. Units are given, or chosen on another split as those that fire most selectively per source.

    Figures, of each effect: own (the source a unit is selective for), others and own_over_others, means over units with
    intervals; n_units, n_contexts. Table: `units` (schema `slices.UNITS`), unit by source.
    """

    name: str = "unit_effects"
    split: str = "test"
    n_contexts: int = 16
    """Per source, a seeded draw."""
    batch_contexts: int = 8
    units: Sequence[int] = ()
    """Which units; none chooses the most selective ones."""
    units_per_source: int = 1
    selection: FiringSample = field(default_factory=FiringSample)
    """The tokens on which units are chosen, and their largest activations read."""
    steer: float = 1.0
    n_boot: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        known_split(self.split)
        for name in ("n_contexts", "batch_contexts", "units_per_source"):
            if getattr(self, name) < 1:
                raise SettingError(f"evaluations.{self.name}.{name}", getattr(self, name), "at least 1")
        if self.selection.split == self.split:
            raise SettingError(f"evaluations.{self.name}.selection.split", self.split, "another than what is measured")
        self.bootstrap  # noqa: B018  (checks its fields before anything is measured)

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap(self.n_boot, self.level, self.seed)

    def measure(self, evaluated: Evaluated) -> Findings:
        """Choose units, then run the subject once as it is and twice per unit on every drawn context."""
        firing = firing_by_source(evaluated.dictionary, evaluated.activations, evaluated.contexts, self.selection)
        chosen, numbers = self._choose(firing), self._draw_contexts(evaluated)
        if not chosen:
            return Findings.none("no unit fires more often in one source than in every other")
        if not len(numbers):
            return Findings.none(f"no context of {self.split} has two tokens that count")
        intervention = intervene_at(evaluated.load_subject(), evaluated.hookpoint)
        pushes = [Push(evaluated.dictionary, one.unit, self.steer * float(firing.max_act[one.unit])) for one in chosen]
        changes = self._run(evaluated, intervention, numbers, pushes)
        figures = own_and_others(changes, chosen, self.bootstrap)
        table = unit_table(changes, chosen, firing, self.bootstrap)
        return Findings({"n_units": len(chosen), "n_contexts": len(numbers), **figures}, {"units": table})

    def _choose(self, firing: Firing) -> list[Chosen]:
        n_units = firing.density.shape[1]
        for unit in self.units:
            if not 0 <= unit < n_units:
                raise SettingError(f"evaluations.{self.name}.units", unit, f"0 to {n_units - 1}")
        if self.units:
            return [Chosen(unit, firing.sources[firing.density[:, unit].argmax()]) for unit in self.units]
        return selective_units(firing, self.units_per_source)

    def _draw_contexts(self, evaluated: Evaluated) -> np.ndarray:
        """Draw contexts of every source, in order."""
        numbers = predicting_contexts(evaluated.contexts, self.split)
        source = evaluated.contexts.table["source"].to_numpy()[numbers]
        drawn = [draw(numbers[source == name], self.n_contexts, self.seed) for name in np.unique(source)]
        return np.sort(np.concatenate(drawn)) if drawn else numbers

    def _run(
        self, evaluated: Evaluated, intervention: Intervention, numbers: np.ndarray, pushes: Sequence[Push]
    ) -> Changes:
        changes = []
        with tqdm(total=len(numbers), unit="context", desc=self.name, disable=None) as bar:
            for rows in torch.split(torch.from_numpy(numbers), self.batch_contexts):
                token_ids, keep = evaluated.contexts.token_ids[rows], evaluated.contexts.keep[rows]
                changes.append(batch_changes(intervention, evaluated.dictionary, pushes, token_ids, keep))
                bar.update(len(rows))
        n_tokens = counted_predictions(evaluated.contexts.keep[torch.from_numpy(numbers)]).sum(dim=1)
        contexts = evaluated.contexts.table[numbers.tolist()]
        return Changes.by_document(torch.cat(changes).numpy(), n_tokens.numpy(), contexts)


class Push:
    """One unit, to be taken out, or pushed up by an amount in the space after the input norm."""

    def __init__(self, dictionary: Dictionary, unit: int, amount: float) -> None:
        self.unit, self.amount = unit, amount
        self.direction = unit_directions(dictionary, torch.tensor([unit]))  # [1, d_model]

    def edits(self, unit_acts: UnitActs) -> list[Edit]:
        """Edits of the tokens that were encoded, in the order of `slices.EFFECTS`."""
        value = (unit_acts.values * (unit_acts.indices == self.unit)).sum(dim=1, keepdim=True)
        steered = torch.full_like(value, self.amount)
        return [add(size * unit_acts.norm * self.direction) for size in (-value, steered)]


def batch_changes(
    intervention: Intervention, dictionary: Dictionary, pushes: Sequence[Push], token_ids: Tensor, keep: Tensor
) -> Tensor:
    """Change of cross-entropy, summed over each context's predictions: [n_contexts, n_units, n_effects] fp64."""
    reading, counted = intervention.read(token_ids, keep), counted_predictions(keep)
    unit_acts = dictionary.encode(reading.acts[reading.keep].cpu())
    original = cross_entropies(intervention.logits(reading), token_ids)

    def change(edit: Edit) -> Tensor:
        return sum_counted(cross_entropies(intervention.logits(reading, edit), token_ids) - original, counted)

    changes = [torch.stack([change(edit) for edit in push.edits(unit_acts)], dim=1) for push in pushes]
    return torch.stack(changes, dim=1)
