"""What a request of the service may leave out, and what it may not say twice; a taken port is told once."""

from __future__ import annotations

import asyncio
import socket

import pytest
from starlette.requests import Request

from tapetum.show.local import LocalOnly
from tapetum.show.service.body import Desk
from tapetum.show.service.guard import Guard
from tapetum.show.service.limits import Limits, Refusal
from tapetum.show.service.metrics import Metrics
from tapetum.show.web_server import server_with

OF_THIS = [(b"host", b"localhost"), (b"origin", b"http://localhost")]


def sent(part: bytes):
    """Return (images, names) of a request with one part, given with its headers."""
    body = b"--b\r\n" + part + b"\r\n--b--\r\n"
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=b")],
    }

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def taken():
        async with Desk(Limits()).taken(Request(scope, receive)) as found:
            return found

    return asyncio.run(taken())


@pytest.mark.parametrize("kind", [b"image/png", b"application/octet-stream"])
def test_image_without_file_name_is_taken_by_its_type(kind):
    part = b'Content-Disposition: form-data; name="image"\r\nContent-Type: ' + kind + b"\r\n\r\n\x89PNG\xff"
    found, names = sent(part)
    assert (found.rows, names) == (((b"\x89PNG\xff",),), ["0"])


@pytest.mark.parametrize("content", [b"photo.jpg", b"\x89PNG\xff", b"x" * (2 << 20)], ids=["text", "bytes", "many"])
def test_image_without_name_and_type_gets_a_sentence(content):
    with pytest.raises(Refusal) as refusal:
        sent(b'Content-Disposition: form-data; name="image"\r\n\r\n' + content)
    assert refusal.value.status == 422
    assert "no file name and no content type" in refusal.value.detail
    assert "curl -F image=@photo.jpg" in refusal.value.detail


def refused(headers):
    """Return the status with which the service and the review page refuse a request; None where they take it."""
    scope = {"type": "http", "method": "GET", "path": "/predict", "headers": headers}
    guard, found = Guard(None, ["localhost"], None, Metrics(), ["/predict"]), []
    try:
        guard._check(scope)
        found.append(None)
    except Refusal as refusal:
        found.append(refusal.status)
    other = LocalOnly(None)._refused(scope)
    return [*found, None if other is None else other[0]]


def test_request_of_this_place_is_taken():
    assert refused(OF_THIS) == [None, None]


@pytest.mark.parametrize("first", [(b"origin", b"http://evil.example"), (b"host", b"evil.example"), (b"Origin", b"null")])
@pytest.mark.parametrize("before", [True, False])
def test_headers_that_come_twice_are_refused(first, before):
    assert refused([first, *OF_THIS] if before else [*OF_THIS, first]) == [400, 400]


def test_taken_port_prints_no_line_of_the_log(capfd):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = server_with(lambda *_: None, host="127.0.0.1", port=taken.getsockname()[1], lifespan="off")
        with pytest.raises(SystemExit):
            server.run()
    assert capfd.readouterr() == ("", "")
