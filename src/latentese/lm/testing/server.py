"""A real HTTP server on loopback that speaks the OpenAI API."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from latentese.errors import LatenteseError
from latentese.lm.protocol import Chat, JsonRequest, Message, Reply, Request
from latentese.lm.testing.faults import Faults
from latentese.lm.testing.models import Completions
from latentese.lm.testing.responses import NotOfferedError, Offers, chat_response, completion_response

HOST = "127.0.0.1"


class Seen(NamedTuple):
    """One request as it came."""

    path: str
    body: Mapping[str, Any]
    authorization: str
    at: float
    """Monotonic clock, in seconds."""
    headers: Mapping[str, str]
    """All of them, by names in lower case."""


@dataclass(frozen=True)
class Served:
    """What a server offers, and to whom."""

    chat: Chat | None = None
    completions: Completions | None = None
    offers: Collection[Offers] = ("logprobs", "echo", "prompt_logprobs")
    key: str | None = None
    """The key that every request must bring, if any."""
    seconds: float = 0.0
    """How long each answer takes at least."""


class LoopbackServer:
    """Serves `/v1/chat/completions`, `/v1/completions` and `/v1/models` from its entry to its exit.

    `seen` holds every request and `most_at_once` how many were under way at the same time. With `port` 0 it takes any
    free one, and keeps it when it is entered again.
    """

    def __init__(self, served: Served, faults: Faults | None = None, port: int = 0) -> None:
        self._served = served
        self.faults = faults
        self.port = port
        self.seen: list[Seen] = []
        self.most_at_once = 0
        self._n_under_way = 0
        self._lock = threading.Lock()
        self._chatting = threading.Lock()  # a model in this process answers in one event loop at a time

    def __enter__(self) -> LoopbackServer:
        self._http = _Http((HOST, self.port), _Handler)
        self._http.loopback = self
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def base_url(self) -> str:
        """Address for clients."""
        return f"http://{HOST}:{self.port}/v1"

    def respond(self, handler: _Handler, raw: bytes) -> None:
        """Answer one request, or let it meet a fault."""
        fields = json.loads(raw) if raw else {}
        authorization = handler.headers.get("Authorization", "")
        with self._lock:
            headers = {name.lower(): value for name, value in handler.headers.items()}
            self.seen.append(Seen(handler.path, fields, authorization, time.monotonic(), headers))
            self._n_under_way += 1
            self.most_at_once = max(self.most_at_once, self._n_under_way)
            fault = self.faults.draw(raw) if self.faults and raw else None
        status, reply = self._answer(handler.path, fields, authorization)
        time.sleep(self._served.seconds)
        with self._lock:
            self._n_under_way -= 1
        if fault and self.faults and status == 200:
            fault(handler, reply, self.faults)
        else:
            handler.respond(status, json.dumps(reply).encode())

    def _answer(self, path: str, fields: Mapping[str, Any], authorization: str) -> tuple[int, dict[str, Any]]:
        if self._served.key and authorization != f"Bearer {self._served.key}":
            return 401, _error(f"wrong key: {authorization}")  # as careless as a server can be
        route = {
            "/v1/models": self._list_models,
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._complete,
        }.get(path)
        if route is None:
            return 404, _error(f"there is no {path}")
        try:
            return 200, route(fields)
        except (NotOfferedError, LatenteseError, KeyError, TypeError) as error:
            return 400, _error(str(error))

    def _list_models(self, _fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "loopback", "object": "model"}]}

    def _chat(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        if self._served.chat is None:
            raise NotOfferedError("this server does not chat")
        with self._chatting:
            return chat_response(asyncio.run(_complete_chat(self._served.chat, _request(fields))))

    def _complete(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        if self._served.completions is None:
            raise NotOfferedError("this server does not continue prompts")
        done = self._served.completions.complete(fields["prompt"], fields["max_tokens"])
        return completion_response(self._served.completions, done, fields, self._served.offers)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    loopback: LoopbackServer

    def handle_error(self, *_: object) -> None:
        """Say nothing when a client hangs up, as it does after a time-out."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_GET(self) -> None:
        self.server.loopback.respond(self, b"")

    def do_POST(self) -> None:
        self.server.loopback.respond(self, self.rfile.read(int(self.headers["Content-Length"])))

    def respond(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, length: int | None = None
    ) -> None:
        """Send a response; `length` is claimed to be the body's, where it is not."""
        self.send_response(status)
        shown = {"Content-Type": "application/json", "Content-Length": str(len(body) if length is None else length)}
        for name, value in (shown | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _request(fields: Mapping[str, Any]) -> Request:
    messages = tuple(Message(message["role"], message["content"]) for message in fields["messages"])
    asked = messages, fields["max_tokens"], fields["temperature"], tuple(fields.get("stop", ()))
    form = fields.get("response_format")
    return JsonRequest(*asked, json_schema=json.dumps(form["json_schema"]["schema"])) if form else Request(*asked)


async def _complete_chat(chat: Chat, request: Request) -> Reply:
    return await chat.complete(request)


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}
