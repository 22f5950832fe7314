"""Where files of the 2023 release are read from: one file, a folder of them, or a list of addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from latentese.errors import LatenteseError

Named = tuple[str, bytes]
MAX_BYTES = 1 << 28
"""No file of the release is a hundredth of this."""
SECONDS = 60
ENDS = (".json", ".jsonl")


def released_files(source: str) -> Iterator[Iterator[Named]]:
    """Give names and bytes of files, grouped by the folder that names their layer; each file is read when asked for.

    source: a file, a folder, or a `.txt` file with one path or address (http, https, az) per line.
    """
    path = Path(source)
    if path.is_dir():
        names = sorted(str(file) for file in path.rglob("*") if file.suffix in ENDS and file.is_file())
        if not names:
            raise LatenteseError(f"{source}: no file ends in {' or '.join(ENDS)}")
    elif path.suffix == ".txt":
        lines = _read(source).decode("utf-8", "replace").splitlines()
        names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    else:
        names = [source]
    folders: dict[str, list[str]] = {}
    for name in names:
        folders.setdefault(name.rstrip("/").split("/")[-2] if "/" in name else "", []).append(name)
    return (_read_all(names) for names in folders.values())


def _read_all(names: Iterable[str]) -> Iterator[Named]:
    return ((name, _read(name)) for name in names)


def _read(name: str) -> bytes:
    address = address_of(name)
    try:
        if address is None:
            data = Path(name).read_bytes()
        else:
            with urlopen(address, timeout=SECONDS) as reply:
                data = reply.read(MAX_BYTES + 1)
    except (OSError, ValueError, HTTPException) as error:
        raise LatenteseError(f"{name}: cannot be read ({' '.join(str(error).split())})") from error
    if len(data) > MAX_BYTES:
        raise LatenteseError(f"{name}: larger than {MAX_BYTES >> 20} MiB, so no file of the release")
    return bytes(data)


def address_of(name: str) -> str | None:
    """Say where a name is fetched from; None for a file. The release's own `az://account/path` is served over https."""
    if name.startswith("az://"):
        account, _, path = name.removeprefix("az://").partition("/")
        return f"https://{account}.blob.core.windows.net/{path}"
    return name if name.startswith(("http://", "https://")) else None
