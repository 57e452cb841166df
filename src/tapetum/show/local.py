"""Pages that this machine shows to itself: where they listen, and what every request passes.

Everything is refused that does not come from the page itself: another name in ``Host`` (DNS rebinding), another ``Origin`` or site
(a page of the web that sends requests here).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import urlsplit

from tapetum.core.errors import EnvironmentFault

ONCE = frozenset((b"host", b"origin", b"sec-fetch-site", b"content-type", b"authorization"))  # headers by which a request is judged
LOOPBACK = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


class LocalOnly:
    """An ASGI application around another one, which answers only the page that it serves itself.

    Args:
        app: what answers.
        hosts: names that a request may call this machine by.
    """

    def __init__(self, app: Any, hosts: Collection[str] = LOOPBACK) -> None:
        self._app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *((k.encode(), v.encode()) for k, v in HEADERS.items())]
            await send(message)

        refused = (403, "only HTTP") if scope["type"] != "http" else self._refused(scope)
        if refused is None:
            await self._app(scope, receive, sending)
            return
        body = json.dumps({"detail": refused[1]}).encode()
        await sending({"type": "http.response.start", "status": refused[0], "headers": [(b"content-type", b"application/json")]})
        await sending({"type": "http.response.body", "body": body})

    def _refused(self, scope: Any) -> tuple[int, str] | None:
        if (twice := doubled(scope)) is not None:
            return 400, f"the request has the header {twice!r} more than once"
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "").strip().lower()
        if host_name(host) not in self._hosts:
            return 421, "this machine is not called so"
        origin = headers.get(b"origin")
        if origin is not None and origin_place(origin) != host:
            return 403, "a page of another place may not send requests"
        if headers.get(b"sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "a page of another place may not send requests"
        if scope["method"] not in ("GET", "HEAD") and (origin is None or headers.get(b"content-type", "") != "application/json"):
            return 403, "changes come from the page itself"
        return None


def doubled(scope: Any) -> str | None:
    """Return the first header of :data:`ONCE` that a request has more than once; None where each is there once at most."""
    names = [name.lower() for name, _ in scope["headers"]]
    return next((name.decode() for name in names if name in ONCE and names.count(name) > 1), None)


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if text.count(":") == 1 else text


def origin_place(origin: str) -> str:
    """Return host and port of an origin; nothing where it has none, as the ``null`` of a file or a sandbox."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def serve_here(app: Any, port: int, ready: Callable[[int], None]) -> None:
    """Serve an application on the loopback address until a signal stops it.

    Args:
        app: an ASGI application.
        port: 0 takes a free one.
        ready: called with the port when requests are taken.

    Raises:
        EnvironmentFault: the port is taken.
    """
    from tapetum.show.web_server import server_with

    server = server_with(
        app, lambda: ready(int(server.servers[0].sockets[0].getsockname()[1])), host="127.0.0.1", port=port, lifespan="off"
    )
    try:
        server.run()
    except SystemExit:
        raise EnvironmentFault(f"port {port} cannot be listened at", fix="name another one: --port, or 0 for any that is free") from None
