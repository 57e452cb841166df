"""What every HTTP request passes: the host it names, the page it comes from, the token, and headers of the response."""

from __future__ import annotations

import hmac
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from tapetum.show.local import doubled, host_name, origin_place
from tapetum.show.service.limits import Refusal
from tapetum.show.service.metrics import Metrics

OPEN = ("/health", "/", "/page.js", "/page.css")  # without the token: they tell nothing of the pipeline
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

Scope = Any
Send = Callable[[Any], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own, which no other machine reaches."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def refused(status: int, detail: str, headers: Mapping[str, str]) -> tuple[Any, Any]:
    """Return the two messages of a response with a sentence."""
    body = json.dumps({"detail": detail}).encode()
    every = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [(k.encode(), v.encode("latin-1", "replace")) for k, v in every.items()],
    }
    return start, {"type": "http.response.body", "body": body}


class Guard:
    """An ASGI application around another one.

    Args:
        app: what answers.
        hosts: names that a request may call this service by; empty: any, since the token protects it.
        token: that every request but those of :data:`OPEN` must carry; None: none.
        metrics: told of every response.
        paths: that are counted by name.
    """

    def __init__(self, app: Any, hosts: Collection[str], token: str | None, metrics: Metrics, paths: Collection[str]) -> None:
        self._app, self._hosts, self._token = app, {name.lower() for name in hosts}, token
        self._metrics, self._paths = metrics, frozenset(paths)

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *((k.encode(), v.encode()) for k, v in _HEADERS.items())]
            await send(message)

        try:
            self._check(scope)
        except Refusal as refusal:
            extra = {"www-authenticate": "Bearer"} if refusal.status == 401 else {}
            for message in refused(refusal.status, refusal.detail, {**refusal.headers, **extra}):
                await sending(message)
        else:
            await self._app(
                {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope, receive, sending
            )  # the server sends no body
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.request(path, status, time.perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        if (twice := doubled(scope)) is not None:
            raise Refusal(400, f"the request has the header {twice!r} more than once")
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        name = host_name(host)
        if self._hosts and name not in self._hosts:
            raise Refusal(421, f"this service is not called {name[:100]!r}; name others that it may be called with --allow-host")
        origin = headers.get(b"origin")
        if origin is not None and origin_place(origin) != host.strip().lower():
            raise Refusal(403, f"a page of another place ({origin[:100]!r}) may not send requests")
        if headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin") and scope["path"] != "/":
            raise Refusal(403, "a page of another place may not send requests")
        if self._token is not None and scope["path"] not in OPEN:
            scheme, _, given = headers.get(b"authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token.encode()):
                raise Refusal(401, "a token is needed: Authorization: Bearer TOKEN")
