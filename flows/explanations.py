"""Compare versions of explanations, and exchange them with others, without running the pipeline.

    python -m flows.explanations diff main workspace               what changed since a Git revision
    python -m flows.explanations diff k16 k32 --target neurons     between two DVC experiments
    python -m flows.explanations export latents out/               files of the 2023 release, two per unit
    python -m flows.explanations import out/ imported/             such files, as our tables, one folder per layer
    python -m flows.explanations import neurons.txt imported/      the same, from a list of paths or addresses
    python -m flows.explanations list imported/layer_9             explanations and scores of any such folder
    python -m flows.explanations list latents                      or of a target

The release's files carry excerpts without documents: intervals of what is imported resample excerpts.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import fields
from pathlib import Path

from flows.config import read_params
from flows.entry import command_line, run
from flows.paths import CONTEXTS, TARGETS, of_target
from flows.released import released_files
from flows.revisions import Revision, open_revision
from latentese.errors import LatenteseError, SettingError
from latentese.metrics.intervals import Bootstrap
from latentese.report.difference import difference, show_difference
from latentese.report.explanation_set import ExplanationSet, SetArtifacts, SetChoice, read_set
from latentese.stages.exchange import ExportInputs, ImportSettings, export_target, import_release


def main(*words: str) -> None:
    """Compare, export, import or list."""
    parser = command_line("explanations", __doc__)
    commands = parser.add_subparsers(required=True, metavar="diff|export|import|list")
    _add_diff(commands.add_parser("diff", help="list units whose explanation or score changed between revisions"))
    _add_export(commands.add_parser("export", help="write a target as files of the 2023 release"))
    _add_import(commands.add_parser("import", help="read files of the 2023 release into our tables"))
    _add_list(commands.add_parser("list", help="list explanations with their scores on test"))
    arguments = parser.parse_args(words)
    arguments.command(arguments)


def _add_diff(parser: argparse.ArgumentParser) -> None:
    for name in ("before", "after"):
        parser.add_argument(
            name, metavar=f"REV_{name.upper()}", help="Git revision, DVC experiment, folder, or `workspace`"
        )
    parser.add_argument("--target", default="latents")
    parser.add_argument("--explainer", help="whose explanations (default: report.primary_explainer of each)")
    parser.add_argument("--simulator", help="whose simulations (default: report.primary_simulator of each)")
    parser.add_argument("--contexts", default="top_and_random", help="top_and_random or random_only")
    parser.add_argument("--first", action="store_true", help="first explanations, not those refinement ended with")
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.set_defaults(command=_diff)


def _diff(arguments: argparse.Namespace) -> None:
    with open_revision(arguments.before) as before, open_revision(arguments.after) as after:
        for revision in (before, after):
            revision.require("report", "targets")
        _require_same_units(before, after, arguments.target)
        old, new = (_set_of(revision, arguments) for revision in (before, after))
    found = difference(old, new, Bootstrap(level=old.level))
    if arguments.json:
        print(json.dumps(found.as_json(), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    Console().print(show_difference(found))


def _set_of(revision: Revision, arguments: argparse.Namespace) -> ExplanationSet:
    chosen = revision.params["report"]
    choice = SetChoice(
        explainer=arguments.explainer or chosen["primary_explainer"],
        simulator=arguments.simulator or chosen["primary_simulator"],
        final=not arguments.first,
        contexts=arguments.contexts,
    )

    def fetch(name: str) -> Path:
        return revision.fetch(of_target(arguments.target, name))

    artifacts = SetArtifacts(fetch("explanations"), fetch("scores"), fetch("refined") if choice.final else None)
    return read_set(revision.name, artifacts, choice)


def _require_same_units(before: Revision, after: Revision, target: str) -> None:
    """Stop where unit 7 of one revision is not unit 7 of the other: another hookpoint, subject, or other weights."""
    old, new = (_what_units_are_of(revision, target) for revision in (before, after))
    for what in old:
        if old[what] != new[what]:
            names = f"{before.name} and {after.name}"
            raise LatenteseError(f"{names} have another {what} for {target}: their units are not the same ones")


def _what_units_are_of(revision: Revision, target: str) -> dict[str, object]:
    """Everything that makes a unit the one it is. Neurons have the same weights in every subject of their width."""
    params = revision.params
    if target not in params["targets"]:
        raise SettingError("--target", target, f"one of {revision.name}: {', '.join(params['targets'])}")
    manifest = revision.fetch(of_target(target, "dictionary") / "manifest.json")
    files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
    # Mirrors are places of the same bytes; a local folder may hold other bytes by now, which its files' stamp tells.
    subject = {key: value for key, value in params["subject"].items() if key != "mirrors"}
    return {
        "hookpoint": params["targets"][target]["hookpoint"],
        "subject": (subject, params.get("subject_files", "none")),
        "dictionary": [files.get(name) for name in ("cfg.json", "dictionary.safetensors")],
    }


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--simulator", help="whose simulations are written (default: report.primary_simulator)")
    parser.set_defaults(command=_export)


def _export(arguments: argparse.Namespace) -> None:
    params = read_params()
    if arguments.target not in params["targets"]:
        raise SettingError("target", arguments.target, f"one of {', '.join(params['targets'])}")
    layer = layer_of(params["targets"][arguments.target]["hookpoint"])
    folders = {field.name: of_target(arguments.target, field.name) for field in fields(ExportInputs)}
    inputs = ExportInputs(**{**folders, "contexts": CONTEXTS})
    simulator = arguments.simulator or params["report"]["primary_simulator"]
    exported = export_target(inputs, layer, simulator, arguments.folder)
    print(f"{exported.n_explanations} explanations of {exported.n_units} units in {arguments.folder}")
    if exported.n_failed:
        print(f"left out: {exported.n_failed} simulations without an answer, which the format has no place for")


def layer_of(hookpoint: str) -> int:
    """Read the number of the layer off a hookpoint: the release's files are numbered by it."""
    found = re.match(r"layers\.(\d+)\.", hookpoint)
    if not found:
        raise SettingError("hookpoint", hookpoint, "layers.<n>.*: files of the 2023 release are numbered by layer")
    return int(found[1])


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="a file, a folder, or a .txt list of paths and addresses")
    parser.add_argument("out", type=Path)
    parser.add_argument("--explainer", default=ImportSettings.explainer, help="its name: the files have none")
    parser.add_argument("--simulator", default=ImportSettings.simulator, help="its name: the files have none")
    parser.set_defaults(command=_import)


def _import(arguments: argparse.Namespace) -> None:
    settings = ImportSettings(arguments.explainer, arguments.simulator)
    for found in import_release(released_files(arguments.source), settings, arguments.out):
        print(f"layer {found.layer}: {found.n_explanations} explanations in {arguments.out}/layer_{found.layer}")
        if found.n_disagreeing:
            print(f"  {found.n_disagreeing} state another correlation than their simulations have")
        if found.n_without_truth:
            print(f"  left out: {found.n_without_truth} simulations with a true activation that is not a number")
    print("Intervals resample excerpts: the files do not say which document an excerpt is from.")


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="a target, or a folder with the artifacts explanations and scores")
    parser.add_argument("--simulator", help="whose scores (default: the first that has a correlation)")
    parser.add_argument("--metric", help="default: correlation, or auroc of yes-or-no questions")
    parser.add_argument("--lines", type=int, default=40, help="the best so many (default: 40)")
    parser.set_defaults(command=_list)


def _list(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from latentese.report.listing import ListSettings, list_explanations

    folder = Path(arguments.folder)
    folder = folder if (folder / "explanations").is_dir() else TARGETS / arguments.folder
    Console().print(list_explanations(folder, ListSettings(arguments.simulator, arguments.metric, arguments.lines)))


if __name__ == "__main__":
    run(main)
