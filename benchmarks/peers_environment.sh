#!/bin/sh
# The libraries that we compare with (extra `bench` of pyproject.toml), in an environment of their own, .venv-bench:
#   sh benchmarks/peers_environment.sh        # about 3 GB on disk, some minutes; `make peers` does the same
# Beside them lies what latentese's dictionaries import, in the pinned releases, so that one process can hold both
# (PYTHONPATH=src .venv-bench/bin/python ...). Mind that peers pull in more than they use.
set -eu
cd "$(dirname "$0")/.."
python=.venv-bench/bin/python
test -x "$python" || "${PYTHON:-python3}" -m venv .venv-bench
peers=$("$python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])')
# shellcheck disable=SC2086  # the list of packages is meant to be split
"$python" -m pip install --quiet --disable-pip-version-check -c constraints.txt \
  torch safetensors numpy numba polars tqdm $peers
# Pulled in by one of them and used by none; where torch is the CPU build, this one is not, and stops transformers.
"$python" -m pip uninstall --quiet --yes torchvision
touch .venv-bench/.ready
