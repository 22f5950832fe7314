"""One attempt at one request, through the `openai` package: the only module that knows it.

The package's own retries are off (`lm.asking` decides), and so are redirects: text goes to the address that was
allowed, or nowhere. Every failure is a AttemptError whose message is one line without the key.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from latentese.lm.endpoint import Endpoint

if TYPE_CHECKING:
    from openai import APIStatusError

_NOT_SENT = "none"
"""The package insists on a key: the one that is sent is put in its place last."""
_QUOTA_SPENT = "insufficient_quota"


class AttemptError(Exception):
    """An attempt that brought no response, or one that is an error."""

    def __init__(
        self,
        problem: str,
        status: int | None = None,
        retry_after: float | None = None,
        is_unpaid: bool = False,
        is_forbidden: bool = False,
    ) -> None:
        super().__init__(problem)
        self.status = status
        """HTTP status; None when the connection failed or took too long."""
        self.retry_after = retry_after
        """Seconds after which the server wants to be asked again, if it says so."""
        self.is_unpaid = is_unpaid
        """Whether the account has nothing left, which no later attempt changes."""
        self.is_forbidden = is_forbidden
        """Whether the key may not do what it is used for, whatever is asked."""
        self.was_sent = True
        """Whether the server may have read the request, and so may charge for it."""

    @property
    def may_pass(self) -> bool:
        """Whether a later attempt may succeed: on a busy or failing server and a bad connection, never otherwise."""
        if self.is_unpaid:
            return False
        return self.status is None or self.status in (408, 409, 429) or self.status >= 500


class Connection:
    """An open client, which belongs to the event loop it was made in."""

    def __init__(self, endpoint: Endpoint) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self._endpoint = endpoint
        # A proxy named by the environment must not carry off what stays on this machine.
        http = DefaultAsyncHttpxClient(
            trust_env=not endpoint.is_loopback, follow_redirects=False, event_hooks={"request": [self._write_headers]}
        )
        self._client = AsyncOpenAI(
            api_key=_NOT_SENT,
            base_url=endpoint.base_url,
            timeout=endpoint.timeout_seconds,
            max_retries=0,
            http_client=http,
        )

    async def post(self, path: str, body: Mapping[str, Any]) -> str:
        """Post a JSON body and return the text of a response that is no error; raises AttemptError."""
        return await self._attempt(path, body)

    async def get(self, path: str) -> str:
        """Get a resource's text; raises AttemptError."""
        return await self._attempt(path, None)

    async def close(self) -> None:
        """Close all its sockets."""
        await self._client.close()

    async def _write_headers(self, request: Any) -> None:
        """Write all headers of an `httpx` request anew, from the configuration alone.

        The package adds what it finds in the environment: OPENAI_ORG_ID, OPENAI_PROJECT_ID, and any header that
        OPENAI_CUSTOM_HEADERS names, another server's key included.
        """
        headers = {
            "Host": request.url.netloc.decode("ascii"),
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Content-Type": "application/json",
            "Content-Length": str(len(request.content)),
            "User-Agent": self._client.user_agent,
        }
        if key := self._endpoint.key():
            headers["Authorization"] = f"Bearer {key}"
        request.headers = type(request.headers)(headers)

    async def _attempt(self, path: str, body: Mapping[str, Any] | None) -> str:
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        seconds = self._endpoint.timeout_seconds
        try:
            async with asyncio.timeout(seconds):  # the package's own limit is on the pause between two bytes
                if body is None:
                    return await self._client.get(path, cast_to=str)
                return await self._client.post(path, cast_to=str, body=dict(body))
        except APIStatusError as error:
            failure = self._error_response(error)
        except (APITimeoutError, TimeoutError) as error:
            failure = self._no_response(error, f"no whole answer within {seconds:g} s")
        except APIConnectionError as error:
            failure = self._no_response(error, "the connection failed")
        except OpenAIError as error:
            failure = self._no_response(error, "the client failed")
        # Not from the package's exception: it carries the request, and with it the key.
        raise failure from None

    def _error_response(self, error: APIStatusError) -> AttemptError:
        status, response = error.status_code, error.response
        problem = f"HTTP {status}: {self._endpoint.scrub(_message(response.text)) or 'no message'}"
        # OpenAI says of an empty account what it says of too many requests, 429: only the code tells them apart.
        is_unpaid = status == 402 or _QUOTA_SPENT in (error.code, error.type)
        is_forbidden = status == 403 and not _is_flagged(error.body)
        return AttemptError(problem, status, read_retry_after(response.headers, time.time()), is_unpaid, is_forbidden)

    def _no_response(self, error: Exception, problem: str) -> AttemptError:
        cause = error.__cause__
        reason = self._endpoint.scrub(f"{type(cause or error).__name__} {cause or error}".strip())
        failure = AttemptError(f"{problem} ({reason})")
        failure.was_sent = type(cause).__name__ not in ("ConnectError", "ConnectTimeout")
        return failure


def _message(text: str) -> str:
    """Take the message out of an error's JSON, where it has the usual form."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return text


def _is_flagged(error: object) -> bool:
    """Whether a text was forbidden, not the key: routers that moderate say which one, under the same status."""
    metadata = error.get("metadata") if isinstance(error, Mapping) else None
    return isinstance(metadata, Mapping) and "flagged_input" in metadata


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds or a date), `now` in seconds of the epoch.

    None when there is neither, or what is there cannot be read.  RFC 9110, section 10.2.3.
    """
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after", "")
        if value.strip().replace(".", "", 1).isdigit():
            return float(value)
        return max(0.0, parsedate_to_datetime(value).timestamp() - now) if value else None
    except ValueError:
        return None
