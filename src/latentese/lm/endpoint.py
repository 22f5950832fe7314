"""Where a served language model is, and what may be sent there."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from latentese.errors import SettingError

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
"""What environment variables are called; hardly any key looks like that."""
_SHOWN = 300
"""Characters of a server's message that are shown."""


@dataclass(frozen=True)
class Endpoint:
    """A model of a server that speaks the OpenAI API.

    The key is read from the environment when it is used. It is in no field, so it reaches no configuration, artifact,
    answer cache or tracked run; `scrub` takes it out of messages. Raises SettingError, before anything is sent, for
    another machine that `allow_remote` does not allow.
    """

    base_url: str
    """Such as `http://127.0.0.1:8000/v1`."""
    model: str
    """As the server calls it."""
    key_env: str | None = None
    """Name of the environment variable that holds the key; None for a server that wants none."""
    allow_remote: bool = False
    """Whether prompts, and with them excerpts of the corpus, may be sent to another machine."""
    kept_as: str | None = None
    """Name under which answers are kept instead of the address, such as a hash of the weights: for a server that moves,
    or of which one address serves different weights over time."""
    timeout_seconds: float = 120.0
    """Of one attempt, from its first byte to the last of the answer."""

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        if self.model in ("", "???"):  # ??? is how a configuration leaves a choice to the user
            raise SettingError("model", self.model, f"a name that {self.base_url}/models lists")
        if self.timeout_seconds <= 0:
            raise SettingError("timeout_seconds", self.timeout_seconds, "above 0")
        if not self.is_loopback and not self.allow_remote:
            raise SettingError("allow_remote", self.allow_remote, f"true sends {self.what_is_sent}; nothing was sent")
        self._check_key()

    @property
    def name(self) -> str:
        """Model and address, or what it is kept as."""
        return f"{self.model}@{self.kept_as or self.base_url.partition('://')[2].rstrip('/')}"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def what_is_sent(self) -> str:
        """What would leave the machine, and where to."""
        return f"excerpts of the corpus, activations and explanations to {self.base_url} (model {self.model})"

    def key(self) -> str | None:
        """Read the key from the environment."""
        return (os.environ.get(self.key_env, "").strip() or None) if self.key_env else None

    def scrub(self, text: str) -> str:
        """Make one short line of a message from outside, without the key."""
        key = self.key()
        safe = text.replace(key, "[key]") if key else text
        return " ".join(safe.split())[:_SHOWN]

    def _check_key(self) -> None:
        """Refuse a key that is not there, or that cannot be sent, without showing it."""
        if self.key_env is None:
            return
        if not VARIABLE.fullmatch(self.key_env):
            raise SettingError("key_env", "...", "the NAME of an environment variable, never the key itself")
        key = self.key()
        if not key:
            raise SettingError("key_env", self.key_env, "an environment variable that holds the key; it is not set")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise SettingError("key_env", self.key_env, "a variable whose value can be sent in a header")
        if not self.is_loopback and not self.base_url.startswith("https://"):
            raise SettingError("base_url", self.base_url, "https for another machine, or the key travels unencrypted")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_url = urlsplit(""), False
    if not is_url:
        raise SettingError(
            "base_url", url.rpartition("@")[2].partition("?")[0], "an address such as http://127.0.0.1:8000/v1"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        shown = f"{parts.scheme}://{parts.hostname}"
        raise SettingError("base_url", shown, "without user, password or query: a key belongs where key_env says")
