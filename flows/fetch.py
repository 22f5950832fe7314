"""Fetch every model that the configuration names, once: `python -m flows.fetch`.

Files are checked against pinned hashes and kept in the cache folder ($LATENTESE_CACHE, else ~/.cache/latentese).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flows.config import build, read_params
from flows.entry import run


def main() -> None:
    """Fetch and convert what is not there yet, with progress bars."""
    for setting, spec in sorted(model_specs(read_params()).items()):
        build(spec, setting).folder()


def model_specs(tree: Any, package: str = "latentese.weights.") -> dict[str, Mapping[str, Any]]:
    """Every object of a package in a configuration, by its setting; the same one named twice comes once."""
    found: dict[str, Mapping[str, Any]] = {}
    for setting, spec in _specs(tree, "", package):
        if spec not in found.values():
            found[setting] = spec
    return found


def _specs(tree: Any, prefix: str, package: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(tree, Mapping):
        return
    if str(tree.get("_target_", "")).startswith(package):
        yield prefix, tree
        return
    for name, value in tree.items():
        yield from _specs(value, f"{prefix}.{name}".lstrip("."), package)


if __name__ == "__main__":
    run(main)
