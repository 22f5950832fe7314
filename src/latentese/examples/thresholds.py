"""What a unit must exceed to fire."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
from torch import Tensor

from latentese.examples.settings import SampleSettings
from latentese.examples.stream import Encoder
from latentese.store.shards import Activations

UNITS_AT_ONCE = 256


@torch.no_grad()
def fire_thresholds(encoder: Encoder, activations: Activations, settings: SampleSettings) -> Tensor:
    """Threshold of each unit, [n_units] fp32.

    0 for latents. For signed units a fixed quantile on a seeded sample of `explain` tokens, but at least 0: an
    activation that counts as firing must be larger than the 0 that silence is stored as.
    """
    if not encoder.signed:
        return torch.zeros(encoder.n_units)
    rows = np.asarray(activations.rows_of("explain"))
    generator = np.random.default_rng([settings.seed, 0])
    chosen = generator.choice(rows, min(settings.threshold_tokens, len(rows)), replace=False)
    pre_acts = encoder.pre_acts(activations.gather(np.sort(chosen)))
    rank = max(1, ceil(settings.quantile * len(pre_acts)))
    parts = [part.t().contiguous().kthvalue(rank, dim=1).values for part in torch.split(pre_acts, UNITS_AT_ONCE, dim=1)]
    return torch.cat(parts).clamp_min(0.0)
