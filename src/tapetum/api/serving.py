"""The function that serves a pipeline over HTTP."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tapetum.api.answers import loaded_from
from tapetum.api.results import Result
from tapetum.core import extras, files
from tapetum.core.errors import EnvironmentFault, UserError, for_python
from tapetum.core.places import refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.runs import Record
from tapetum.core.words import plural

TOKEN = "TAPETUM_TOKEN"  # the environment variable that may hold the token
SHORTEST = 16  # characters of a token
EXPORTED = "An exported pipeline has neither saliency maps nor training images to compare with: serve the pipeline itself for these."


@for_python
def serve(
    pipeline: Any,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    token_file: Path | str | None = None,
    allow_host: Sequence[str] = (),
    max_bytes: int | None = None,
    max_pixels: int | None = None,
    max_images: int | None = None,
    waiting: int | None = None,
    reading: float | None = None,
    deadline: float | None = None,
    log: Log | None = None,
) -> Result:
    """Answer images over HTTP until SIGINT or SIGTERM; what was asked before that is still answered.

    ``POST /predict`` takes images, ``/`` is a page to try it, ``/openapi.json`` describes all. Only this machine can connect, unless
    ``host`` says otherwise, which needs a token.

    Args:
        pipeline: its folder, a run, or a folder that :func:`tapetum.api.export` wrote.
        host: address to listen at.
        port: 0 takes a free one.
        token_file: a file that holds the token which callers must send; without it the environment variable ``TAPETUM_TOKEN`` counts.
        allow_host: further names that the service may be called by, as that of a proxy on this machine.
        max_bytes: of one request.
        max_pixels: of an image.
        max_images: of one request.
        waiting: images that wait at most.
        reading: seconds in which a request must have been sent.
        deadline: seconds in which a request must have been answered.
        log: told the address.

    Returns:
        ``{"address", "seconds"}``, once it has stopped.

    Raises:
        UserError: no pipeline, or another machine could connect and there is no token.
        DataError: a file is not the one that was written.
        EnvironmentFault: the extra ``serve`` is not installed, or the port is taken.
    """
    refuse_nowhere(pipeline, token_file)
    extras.need("serve", "the service", "fastapi", "uvicorn", "python_multipart", "prometheus_client")
    from tapetum.show.local import LOOPBACK
    from tapetum.show.service import app as service
    from tapetum.show.service.guard import is_loopback
    from tapetum.show.service.limits import Limits
    from tapetum.show.service.server import server_of

    token = _token(token_file)
    if not is_loopback(host) and token is None:
        what = f"other machines can connect to {host}, and there is no token"
        raise UserError(what, need="a token", fix="name a file that holds one: --token-file FILE")
    given = {"body": max_bytes, "pixels": max_pixels, "images": max_images, "waiting": waiting, "reading": reading, "deadline": deadline}
    limits = Limits.of(**{name: value for name, value in given.items() if value is not None})
    record = Record(log)
    served = served_of(loaded_from(pipeline), limits.pixels, record)
    hosts = {*LOOPBACK, host.strip("[]"), *allow_host} if is_loopback(host) else set(allow_host)
    application = service.build(served, limits, hosts=hosts, token=token)
    began, place = time.monotonic(), [""]

    def ready() -> None:
        found = server.servers[0].sockets[0].getsockname()[1]
        place[0] = f"http://{f'[{host}]' if ':' in host else host}:{found}"
        record(f"serving {served.about['name']} at {place[0]} (Ctrl-C stops it)")

    server = server_of(application, host, port, limits, ready)
    try:
        server.run()
    except SystemExit:
        what = f"nothing can listen at {host}:{port}: the address is taken, or is none of this machine"
        raise EnvironmentFault(what, fix="choose another one: --port N (0 takes a free one)") from None
    seconds = time.monotonic() - began
    return Result({"address": place[0], "seconds": round(seconds, 3)}, lines=[f"stopped after {seconds:.0f} s"])


def served_of(loaded: Any, max_pixels: int, log: Log | None = None) -> Any:
    """Return what the service serves, of a loaded pipeline or export; a pipeline by the engine that is fastest here."""
    from tapetum import __version__
    from tapetum.core.places import EXPORT
    from tapetum.pipeline.requests import Answering
    from tapetum.show.service.app import Served

    loaded = loaded.for_service(log)
    answering = Answering(loaded, max_pixels)
    exported = (loaded.folder / EXPORT).exists()
    about = {
        "name": loaded.folder.parent.name if loaded.folder.name == "pipeline" else loaded.folder.name,
        "version": __version__,
        "targets": [{"name": name, "kind": target.kind, "classes": list(target.classes)} for name, target in loaded.scored.items()],
        "files": answering.files,
        "side": list(answering.side),
        "apart": answering.apart,
        "joint_steps": answering.joint,
        "engines": {one["name"]: loaded.spec["to"] for one in loaded.spec["members"]} if exported else _engines(loaded),
        "fingerprint": files.sha256(loaded.folder / (EXPORT if exported else "pipeline.json")),
        "explains": EXPORTED if exported else "",
    }
    if exported:
        return Served(answering, about)

    def explain(request: Any, target: str | None) -> dict[str, Any]:
        from tapetum.pipeline import explained

        return explained.explain(answering, request, target)

    return Served(answering, about, explain)


def _engines(pipeline: Any) -> dict[str, str]:
    """Return the engine of each member of a pipeline."""
    return {member.name: member.engine.name for member in pipeline.members}


def _token(file: Path | str | None) -> str | None:
    """Return the token of a file, or of the environment.

    Raises:
        UserError: it is short, or not one word.
    """
    text = files.read_text(file, UserError).strip() if file is not None else os.environ.get(TOKEN)
    if text is None:
        return None
    if len(text) < SHORTEST or not text.isascii() or not text.isprintable() or " " in text:
        place = str(file) if file is not None else TOKEN
        raise UserError(
            f"the token of {place} has {plural(len(text), 'character')}, or odd ones",
            need=f"one word of {SHORTEST} ASCII characters or more",
            fix="make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
        )
    return text
