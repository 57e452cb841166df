"""The HTTP server around the application: where it listens, impatience with slow senders, and an end that answers what came."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tapetum.show.service.limits import Limits

GRACE = 5  # seconds beyond the deadline that open requests get when the service stops


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
        """Begin to listen."""
        await super().startup(sockets)
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


def server_of(app: Any, host: str, port: int, limits: Limits, ready: Callable[[], None] | None = None) -> Server:
    """Return a server that is not started yet.

    Args:
        app: from :func:`tapetum.show.service.app.build`.
        host: address to listen at.
        port: 0 takes a free one.
        limits: of connections and time.
        ready: called when connections are taken.
    """

    class Impatient(H11Protocol):
        """Closes a connection that does not send its headers in time, and those beyond the most that may be open."""

        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.close()
                return
            self._timer = self.loop.call_later(limits.reading, self._give_up)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._forget()
            elif self._timer is None:
                self._timer = self.loop.call_later(limits.reading, self._give_up)

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _give_up(self) -> None:
            self._timer = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

        def _forget(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Impatient,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(limits.deadline + GRACE),
    )
    return Server(config, ready)
