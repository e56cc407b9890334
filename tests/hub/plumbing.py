"""What both servers of the fake Hub have in common: reading requests, faults on demand, answers, the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from tests.hub.server import FakeHub

#: The one token that the server knows. Tests look for it in everything that is printed.
TOKEN = "hf_" + "T0PSECRET" * 3
SIGNATURE = "X-Signature=sTorAgeSecret"


@dataclass
class Injected:
    """A fault for the next ``times`` requests whose path matches."""

    pattern: str
    kind: str
    times: int
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None


@dataclass(frozen=True)
class Logged:
    """A request as the server saw it."""

    method: str
    path: str
    host: str
    authorized: bool
    range: str | None
    sent: int


class Answer(Exception):
    """Ends the handling of a request with an error that the Hub words in headers."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Plumbing(BaseHTTPRequestHandler):
    """A request, from its first byte to its last. What it asks for is found by ``_route``."""

    hub: FakeHub
    role: str
    protocol_version = "HTTP/1.1"
    timeout = 20
    fault: Injected | None = None

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep standard error for the programs under test."""

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    # -- plumbing ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self._dechunked()
        url = urlsplit(self.path)
        self.parts = unquote(url.path)
        self.query = parse_qs(url.query)
        self.fault = self.hub.take_fault(self.path)
        try:
            if self.fault and self.fault.kind == "late":
                time.sleep(self.fault.seconds)
            if self.fault and self.fault.kind == "status":
                self._send(self.fault.status, b"{}", self.fault.headers)
                return
            if self.fault and self.fault.answer:
                self.close_connection = True
                self._send_raw(self.fault.answer)
                return
            self._route()
        except Answer as answer:
            headers = {"X-Error-Message": answer.message} if answer.message else {}
            if answer.code:
                headers["X-Error-Code"] = answer.code
            self._send(answer.status, json.dumps({"error": answer.message}).encode(), headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _dechunked(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(
        self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, size: int | None = None
    ) -> None:
        self.hub.begin()
        sent = 0
        try:
            sent = self._send_parts(status, body, headers or {}, size)
        finally:
            authorized = "Authorization" in self.headers
            self.hub.end(Logged(self.command, self.path, self.role, authorized, self.headers.get("Range"), sent))

    def _send_parts(self, status: int, body: bytes, headers: dict[str, str], size: int | None) -> int:
        """Send head and body; the number of bytes of the body that went out."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.end_headers()
        sent = 0
        if self.command != "HEAD":
            kind = self.fault.kind if self.fault else ""
            if kind == "cut":
                body = body[: len(body) // 2]
                self.close_connection = True
            step = 1 if kind == "drip" else 1 << 16
            try:
                for begin in range(0, len(body), step):
                    self.wfile.write(body[begin : begin + step])
                    sent += len(body[begin : begin + step])
                    if kind == "drip" and self.fault:
                        time.sleep(self.fault.seconds)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True
        return sent

    def _send_raw(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.hub.begin()
        try:
            answer(self)
        finally:
            authorized = "Authorization" in self.headers
            self.hub.end(Logged(self.command, self.path, self.role, authorized, self.headers.get("Range"), 0))

    def _json(self, document: Any, status: int = 200) -> None:
        self._send(status, json.dumps(document).encode())

    def _document(self) -> Any:
        return json.loads(self.body)

    def _route(self) -> None:
        raise NotImplementedError
