"""The HTTP server around the application: impatience with slow senders, and an end that answers what came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tapetum.show.service.guard import refused
from tapetum.show.service.limits import Limits
from tapetum.show.web_server import Server, server_with

GRACE = 5  # seconds beyond the deadline that open requests get when the service stops


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

        def send_400_response(self, msg: str) -> None:
            """Answer what is no HTTP, in the form of every other refusal."""
            start, end = refused(400, msg.rstrip("."), {"connection": "close"})
            for event in (h11.Response(status_code=400, headers=start["headers"]), h11.Data(data=end["body"]), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
            self.transport.close()

        def _give_up(self) -> None:
            self._timer = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

        def _forget(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    grace = round(limits.deadline + GRACE)
    return server_with(app, ready, host=host, port=port, http=Impatient, lifespan="on", timeout_graceful_shutdown=grace)
