"""Convert between our dictionaries and other libraries' checkpoints, without running the pipeline.

    python -m flows.convert import sae_lens path/to/sae models/dictionary
    python -m flows.convert export sparsify artifacts/targets/latents/dictionary path/to/sae

FORMAT is sae_lens, sparsify, dictionary_learning or openai (read only). What is imported is a dictionary artifact: a
study uses it as `dictionary=pretrained dictionary.format=latentese dictionary.path=models/dictionary`. The checkpoint
itself can be named there just as well.
"""

from __future__ import annotations

from pathlib import Path

from flows.entry import run
from latentese.errors import LatenteseError
from latentese.stages.convert import export_dictionary, import_checkpoint

USAGE = "usage: python -m flows.convert import|export FORMAT PATH OUT"


def main(*words: str) -> None:
    """Convert, and say of an import how the checkpoint was understood."""
    match words:
        case ("import", format_, path, out):
            meaning = import_checkpoint(format_, Path(path), Path(out))
            for name in ("architecture", "norm", "bias", "threshold", "latents"):
                print(f"{name:<14}{getattr(meaning, name)}")
        case ("export", format_, path, out):
            export_dictionary(format_, Path(path), Path(out))
        case _:
            raise LatenteseError(USAGE)


if __name__ == "__main__":
    run(main)
