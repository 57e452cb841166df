"""A uvicorn server that a signal stops quietly, as the review page and the service use it."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn


def _says_nothing(_: logging.LogRecord) -> bool:
    return False


class Server(uvicorn.Server):
    """A server that a signal stops quietly; what was asked before is answered.

    Args:
        config: of uvicorn.
        ready: called when connections are taken.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        """Begin to listen; that the port is taken is told by who serves, not as a line of the log."""
        log = logging.getLogger("uvicorn.error")
        log.addFilter(_says_nothing)
        try:
            await super().startup(sockets)
        finally:
            log.removeFilter(_says_nothing)
        if self.started and self._ready is not None:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM; uvicorn's own way raises the signal again once all is done."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def server_with(app: Any, ready: Callable[[], None] | None = None, **settings: Any) -> Server:
    """Return a server that is not started yet; it logs nothing, and tells nothing of itself.

    Args:
        app: an ASGI application.
        ready: called when connections are taken.
        settings: of uvicorn: address, port, protocol.
    """
    config = uvicorn.Config(app, ws="none", log_config=None, access_log=False, server_header=False, proxy_headers=False, **settings)
    return Server(config, ready)
