"""A service that runs in a thread of the test, and plain requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tapetum.api import answers, serving
from tapetum.show.local import LOOPBACK
from tapetum.show.service import app as service
from tapetum.show.service.limits import Limits
from tapetum.show.service.server import server_of


class Caller:
    """Sends requests to a service.

    Args:
        port: where it listens.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def post(self, path: str, body: Any, kind: str, **headers: str) -> tuple[int, Any]:
        """Return status and JSON of a response."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, content = self.send("POST", path, body, {"content-type": kind, **more})
        return status, json.loads(content)

    def images(self, *files: bytes, path: str = "/predict?top=100", names: list[str] | None = None, **fields: Any) -> tuple[int, Any]:
        """Send images as multipart."""
        kind, body = multipart(files, names or [f"{number}.png" for number in range(len(files))], fields)
        return self.post(path, body, kind)


def multipart(files: tuple[bytes, ...], names: list[str], fields: dict[str, Any]) -> tuple[str, bytes]:
    """Return the content type and body of a form with images."""
    mark = uuid.uuid4().hex
    parts = [
        f'content-disposition: form-data; name="image"; filename="{n}"\r\n\r\n'.encode() + f for f, n in zip(files, names, strict=True)
    ]
    parts += [f'content-disposition: form-data; name="{name}"\r\n\r\n{json.dumps(value)}'.encode() for name, value in fields.items()]
    body = b"".join(f"--{mark}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{mark}--\r\n".encode()
    return f"multipart/form-data; boundary={mark}", body


@contextlib.contextmanager
def running(pipeline: Path | Any, *, token: str | None = None, **bounds: Any) -> Iterator[Caller]:
    """Serve a pipeline on a free port while the block runs; ``pipeline`` may be what is served already."""
    limits = Limits.of(**bounds)
    served = pipeline if isinstance(pipeline, service.Served) else serving.served_of(answers.loaded_from(pipeline), limits.pixels)
    application = service.build(served, limits, hosts=LOOPBACK, token=token)
    started = threading.Event()
    server = server_of(application, "127.0.0.1", 0, limits, started.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(60)
        yield Caller(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
