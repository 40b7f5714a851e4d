"""Access to the page: for clients on this machine, or with the token."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlencode

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "saga-ui"
WRONG_SECONDS = 0.5
MOST_FORM_BYTES = 4_096
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
HOST = re.compile(r"(?:\[([0-9a-f:]+)\]|([a-z0-9._-]+))(?::[0-9]{0,5})?", re.ASCII | re.IGNORECASE)
"""A Host header: a name or an IPv4 address, or an IPv6 address in brackets, and a port (RFC 9110, 7.2; RFC 3986)."""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Order saga</title>
<link rel="stylesheet" href="/static/style.css"><main class="login"><h1>Order saga</h1>
<form method="post" action="/login"><label>Token <input name="token" type="password" autocomplete="current-password"
 autofocus required></label> <button>Open</button><p role="alert">{}</p></form></main></html>"""


class Access:
    """Authenticates requests, and adds the headers to every response that restrict the browser to the page."""

    def __init__(self, app: ASGIApp, token: str | None, hosts: frozenset[str] = LOCAL) -> None:
        """Without a token only requests for one of `hosts` are accepted, against DNS rebinding."""
        self._app, self._token, self._hosts = app, token, hosts
        self._cookie = sha256(f"saga ui cookie {token}".encode()).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = await self._refusal(Request(scope, receive))
        await (self._app if refusal is None else refusal)(scope, receive, guarded)

    async def _refusal(self, request: Request) -> Response | None:
        if self._token is None:
            name = _host(request.headers)
            said = "the Host header is missing or invalid" if name is None else f"this server is not {name}"
            return None if name in self._hosts else JSONResponse({"error": said}, 421)
        path = request.url.path
        if path.startswith("/static/"):
            return None
        if self._is_known(request):
            return RedirectResponse("/", 303) if path == "/login" else None
        given = request.query_params.get("token")
        if path == "/login" and request.method == "POST":
            given = await _posted(request)
        if given is None:
            missing = path in {"/", "/login"}
            return HTMLResponse(LOGIN.format(""), 401) if missing else JSONResponse({"error": "a token is needed"}, 401)
        if not self._is_token(given):
            await anyio.sleep(WRONG_SECONDS)
            return HTMLResponse(LOGIN.format("The token is wrong."), 401)
        return self._admitted(request)

    def _is_known(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is_token(given)
        cookie = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._cookie.encode())

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())

    def _admitted(self, request: Request) -> Response:
        """Set the cookie, and redirect to the page without the token in its address."""
        rest = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "token"])
        path = "/" if request.url.path == "/login" else request.url.path
        answer = RedirectResponse("/" + path.lstrip("/") + (f"?{rest}" if rest else ""), 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, self._cookie, httponly=True, samesite="strict", secure=secure)
        return answer


def _host(headers: Headers) -> str | None:
    """Return the requested host name, without the port; None if the header is missing or invalid."""
    given = headers.getlist("host")
    match = HOST.fullmatch(given[0]) if len(given) == 1 else None
    return (match[1] or match[2]).lower() if match else None


async def _posted(request: Request) -> str:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0]
