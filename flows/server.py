"""The Prefect server on this machine, if one is running."""

from __future__ import annotations

import urllib.request
from contextlib import AbstractContextManager, nullcontext
from http.client import HTTPException
from typing import Any

API = "http://127.0.0.1:4200/api"


def running_server() -> AbstractContextManager[Any]:
    """Report to the server that `make ui` starts, if it answers; otherwise Prefect starts a temporary one.

    Both keep their runs in the same database, so a server shows earlier runs too. A configured address is respected.
    """
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value() is None and answers(f"{API}/health"):
        return temporary_settings({PREFECT_API_URL: API})
    return nullcontext()


def answers(url: str) -> bool:
    """Whether a server on this machine answers at an address of its health."""
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:
            return bool(reply.status == 200)
    except (OSError, HTTPException):
        return False
