"""Compose conf/ into params.yaml: `make params`, or `python -m flows.params dictionary.k=64`."""

from __future__ import annotations

from flows.config import write_params
from flows.entry import run


def main(*overrides: str) -> None:
    """Write params.yaml, unless it says the same already."""
    write_params(overrides)


if __name__ == "__main__":
    run(main)
