"""Write down what you think a unit responds to; it is scored like any other explanation.

    python -m flows.annotate latents 1933 "rivers, lakes and villages" --author Ada
    python -m flows.pipeline +explainer@explainers.human=human

The first adds a line to annotations.jsonl (or to the file that `explainers.human.path` names), and leaves all other
lines alone; the second, needed once, makes the file an explainer, whose changes `dvc repro` notices from then on. Look
at `explain` examples alone before you write, or the scores will flatter you.
"""

from __future__ import annotations

from pathlib import Path

from flows.config import Params, read_params
from flows.entry import command_line, run
from flows.paths import of_target
from latentese.errors import LatenteseError, SettingError
from latentese.examples.store import Examples
from latentese.explainers.annotations import Annotation, append_annotation, check_studied

FILE = "annotations.jsonl"
"""Where none is configured; what conf/explainer/human.yaml names."""


def main(*words: str) -> None:
    """Add one explanation to the file."""
    parser = command_line("annotate", __doc__)
    parser.add_argument("target", help="a target of the study, such as latents")
    parser.add_argument("unit", type=int, help="number of a unit that the study explains")
    parser.add_argument("explanation", help="what it responds to, in one line")
    parser.add_argument("--author", default="", help="who says so")
    arguments = parser.parse_args(words)
    params = read_params()
    check_unit(params, arguments.target, arguments.unit)
    annotation = Annotation(arguments.target, arguments.unit, arguments.explanation.strip(), arguments.author.strip())
    configured = params["annotations_path"].endswith((".jsonl", ".csv"))
    path = Path(params["annotations_path"] if configured else FILE)
    append_annotation(annotation, path)
    then = "dvc repro" if configured else "python -m flows.pipeline +explainer@explainers.human=human"
    print(f"{path}: unit {annotation.unit} of {annotation.target} is explained; `{then}` scores it")


def check_unit(params: Params, target: str, unit: int) -> None:
    """Raise LatenteseError for a unit that the study does not explain."""
    if target not in params["targets"]:
        raise SettingError("target", target, f"one of {', '.join(params['targets'])}")
    if not of_target(target, "examples").is_dir():
        raise LatenteseError(f"{of_target(target, 'examples')} is not there yet: run `dvc repro sample`")
    n_units = params["explaining"]["n_units"]
    check_studied(unit, [each.unit for each in Examples(of_target(target, "examples")).study(n_units)])


if __name__ == "__main__":
    run(main)
