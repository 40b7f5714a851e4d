"""What stands in front of somebody's schema registry: it forwards, or answers itself, and may speak TLS."""

from __future__ import annotations

import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self

from tests.support.ports import free_port
from tests.support.saga.processes import PATIENCE

JSON, TEXT, HTML = "application/json", "text/plain; charset=utf-8", "text/html"


class Reply(NamedTuple):
    """An answer that is not the registry's."""

    status: int
    kind: str = TEXT
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    """What came."""

    method: str
    path: str
    headers: Mapping[str, str]


NO_BACKEND = Reply(404, TEXT, b"default backend - 404")
UNAUTHORIZED = Reply(401, JSON, b'{"error_code":40101,"message":"Unauthorized"}', (("WWW-Authenticate", "Basic"),))
LOGIN = b"<html><body><form action='/login'>who are you?</form></body></html>"
NOT_THE_REGISTRYS = {
    "an ingress without a backend": NO_BACKEND,
    "404 in JSON, without a code": Reply(404, JSON, b'{"message":"no route"}'),
    "404 in JSON, with HTTP's code": Reply(404, JSON, b'{"error_code":404,"message":"HTTP 404 Not Found"}'),
    "404 in JSON that is a list": Reply(404, JSON, b"[]"),
    "404 without a body": Reply(404),
    "403 in HTML": Reply(403, HTML, LOGIN),
    "403 in JSON": Reply(403, JSON, b'{"error_code":40301,"message":"User is denied operation Read"}'),
    "429": Reply(429, JSON, b'{"error_code":429,"message":"slow down"}'),
    "500 of the registry itself": Reply(500, JSON, b'{"error_code":50001,"message":"Error in the backend store"}'),
    "500 that says it is not there": Reply(500, JSON, b'{"error_code":40403,"message":"Schema not found"}'),
    "503 in HTML": Reply(503, HTML, b"<html>no healthy upstream</html>"),
    "a redirect to a login": Reply(302, HTML, b"", (("Location", "http://127.0.0.1:1/login"),)),
    "200 and a login": Reply(200, HTML, LOGIN),
    "200 without a body": Reply(200, JSON),
    "200 and other JSON": Reply(200, JSON, b'{"status":"ok"}'),
    "200 and a list": Reply(200, JSON, b"[]"),
    "200 and a number": Reply(200, JSON, b"17"),
    "200 and no schema": Reply(200, JSON, b'{"schema":null,"id":null}'),
    "204": Reply(204),
}
"""What a registry's address may answer that says nothing about any schema."""


def only(authorization: str) -> Callable[[Request], Reply | None]:
    """Let in who says this, nobody else."""
    return lambda request: None if request.headers.get("Authorization") == authorization else UNAUTHORIZED


class Ingress:
    """Forwards to `upstream`, unless `instead` has an answer. A context manager; `seen` are the requests that came."""

    def __init__(self, upstream: str, tls: ssl.SSLContext | None = None) -> None:
        self._upstream, self._port, self._tls = upstream, free_port(), tls
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._port}"
        self.instead: Callable[[Request], Reply | None] = lambda _request: None
        self.seen: list[Request] = []

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._server.daemon_threads = True
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answers(self, reply: Reply | None) -> None:
        """Answer everything with this from now on; None: forward it."""
        self.instead = lambda _request: reply

    def _forwarded(self, request: Request, body: bytes) -> Reply:
        kind = {"Content-Type": request.headers.get("Content-Type") or JSON}
        asked = urllib.request.Request(self._upstream + request.path, body or None, kind, method=request.method)
        try:
            with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
                return Reply(answer.status, answer.headers["Content-Type"], answer.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers["Content-Type"], error.read())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        ingress = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, self.headers)
                ingress.seen.append(request)
                reply = ingress.instead(request) or ingress._forwarded(request, body)
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.kind)
                self.send_header("Content-Length", str(len(reply.body)))
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815 - http.server's names

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        return Handler
