"""Exchange explanations with others, without running the pipeline.

    python -m flows.explanations export latents out/               files of the 2023 release, two per unit
    python -m flows.explanations import out/ imported/             such files, as our tables, one folder per layer
    python -m flows.explanations import neurons.txt imported/      the same, from a list of paths or addresses
    python -m flows.explanations list imported/layer_9             explanations and scores of any such folder
    python -m flows.explanations list latents                      or of a target

The release's files carry excerpts without documents: intervals of what is imported resample excerpts.
"""

from __future__ import annotations

import argparse
import re
from argparse import RawDescriptionHelpFormatter
from dataclasses import fields
from pathlib import Path

from flows.config import read_params
from flows.entry import run
from flows.paths import CONTEXTS, TARGETS, of_target
from flows.released import released_files
from latentese.errors import SettingError
from latentese.stages.exchange import ExportInputs, ImportSettings, export_target, import_release


def main(*words: str) -> None:
    """Export, import or list."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.explanations", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="export|import|list")
    _add_export(commands.add_parser("export", help="write a target as files of the 2023 release"))
    _add_import(commands.add_parser("import", help="read files of the 2023 release into our tables"))
    _add_list(commands.add_parser("list", help="list explanations with their scores on test"))
    arguments = parser.parse_args(words)
    arguments.command(arguments)


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
    parser.add_argument("--simulator", help="whose scores (default: the first in the alphabet)")
    parser.add_argument("--metric", default="correlation")
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
