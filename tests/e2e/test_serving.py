"""The service: its answers are those of predict, also under load; a wrong request gets a sentence, and the process lives."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import io
import json
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

import serving
import small_runs
from tapetum import api
from tapetum.core.errors import DATA, ENVIRONMENT, USAGE
from tapetum.show.service.app import Served

BLOCKED = "import sys; sys.modules.update(dict.fromkeys({modules!r})); "


@pytest.fixture(scope="module")
def exported(tmp_path_factory, probed):
    pytest.importorskip("onnxscript")
    return small_runs.once(tmp_path_factory, "served-export", lambda place: api.export(probed, "onnx", place / "onnx")) / "onnx"


@pytest.fixture(scope="module")
def called(probed):
    """A service of the run's pipeline."""
    with serving.running(probed, body=1 << 20, pixels=1_000_000, reading=1.0, images=16) as caller:
        yield caller


@pytest.fixture(scope="module")
def photo(planted):
    return sorted((planted / "images").rglob("*.png"))[0].read_bytes()


def alike(served, offline):
    """Tell that a served entry is an offline one: the same label, and probabilities but for the last bits."""
    assert served["status"] == offline["status"]
    for target, mine in offline["answers"].items():
        assert served["answers"][target]["answer"] == mine["answer"]
        assert served["answers"][target]["p"] == pytest.approx(mine["p"], abs=1e-6)


@pytest.mark.parametrize("what", ["pipeline", "export"])
def test_served_answers_are_those_of_predict_under_load(what, request, planted):
    place = request.getfixturevalue("probed" if what == "pipeline" else "exported")
    files = sorted((planted / "images").rglob("*.png"))
    offline = {row["id"]: row for row in api.predict(place, files, top=100)["answers"]}
    rng = random.Random(0)
    asked = [[rng.choice(files) for _ in range(rng.choice((1, 1, 1, 2, 5, 8)))] for _ in range(110)]
    with serving.running(place) as caller, concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda row: caller.images(*(one.read_bytes() for one in row)), asked))
        figures = caller.send("GET", "/metrics")[2].decode()
    assert {status for status, _ in found} == {200}
    for row, (_, body) in zip(asked, found, strict=True):
        assert len(body["answers"]) == len(row)
        for one, entry in zip(row, body["answers"], strict=True):
            alike(entry, offline[one.as_posix()])
    total = sum(len(row) for row in asked)
    assert total > 300
    assert f'tapetum_images_total{{status="ok"}} {float(total)}' in figures
    assert int(float(re.search(r"tapetum_batch_images_count (\S+)", figures)[1])) < len(asked)  # requests shared batches


def test_every_way_to_send_an_image_gives_one_answer(called, photo):
    status, by_parts = called.images(photo)
    text = base64.b64encode(photo).decode()
    ways = [
        called.post("/predict?top=100", json.dumps({"images": [text]}), "application/json"),
        called.post("/predict?top=100", json.dumps({"images": [f"data:image/png;base64,{text}"]}), "application/json"),
        called.post("/predict?top=100", json.dumps({"images": [[text]], "sequence": True}), "application/json"),
        called.post("/predict?top=100", json.dumps({"images": [base64.encodebytes(photo).decode()]}), "application/json"),
        called.post("/predict?top=100", json.dumps({"images": [base64.urlsafe_b64encode(photo).decode().rstrip("=")]}), "application/json"),
        called.post("/predict?top=100", json.dumps({"images": [f"DATA:image/png;BASE64,{text}"]}), "application/json"),
        called.post("/predict?top=100", photo, "image/png"),
        called.post("/predict?top=100", photo, "application/octet-stream"),
    ]
    assert status == 200
    assert by_parts["answers"][0]["id"] == "0.png"
    for found in ways:
        assert found[0] == 200, found
        assert found[1]["answers"][0]["answers"] == by_parts["answers"][0]["answers"]
    assert len(called.images(photo, path="/predict?top=1")[1]["answers"][0]["answers"]["label"]["p"]) == 1


def png(width, height, colour=2, rows=b""):
    """Return a PNG that says it has this size."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def two_channels():
    content = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 4), dtype=np.uint8), "CMYK").save(content, "TIFF")
    return content.getvalue()


BAD_IMAGES = {
    "nothing": (b"", 422, "an empty file"),
    "a page": (b"<!doctype html><html><body>404</body></html>", 422, "HTML"),
    "a bomb": (png(60_000, 60_000, rows=b"\0" * 1000), 413, "large: "),
    "cut": (None, 422, "truncated"),
    "noise": (bytes(range(256)) * 4, 422, "not an image"),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 422, "SVG"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_answered_with_a_sentence(name, called, photo):
    content, status, words = BAD_IMAGES[name]
    found = called.images(photo[:300] if content is None else content)
    assert found[0] == status, found
    assert words in found[1]["detail"]
    several, body = called.images(photo, photo[:300] if content is None else content)
    assert (several, [one["status"] for one in body["answers"]]) == (200, ["ok", "missing"])
    assert words in body["answers"][1]["reason"]
    assert called.images(photo)[0] == 200


def test_wrong_channels_are_named(exported, planted):
    content = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(content, "PNG")
    import tifffile

    five = io.BytesIO()
    tifffile.imwrite(five, np.zeros((8, 8, 5), dtype=np.uint8), photometric="minisblack", planarconfig="contig")
    with serving.running(exported) as caller:
        status, body = caller.images(five.getvalue())
        assert (status, "5 channels; the images that the network learns from have 3" in body["detail"]) == (422, True), body
        assert caller.images(content.getvalue())[0] == 200


BAD_BODIES = {
    "no type": (b"x", "", 415, "content type"),
    "text": (b"x", "text/plain", 415, "text/plain"),
    "no boundary": (b"x", "multipart/form-data", 400, "boundary"),
    "broken form": (b"--x\r\nnothing", "multipart/form-data; boundary=x", 400, "before its last boundary"),
    "odd charset": (b"--x\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x; charset=rot13", 400, "multipart"),
    "no JSON": (b"{", "application/json", 400, "not JSON"),
    "a list": (b"[]", "application/json", 422, "no JSON object"),
    "no images": (b"{}", "application/json", 422, "'images' is no list"),
    "empty": (b'{"images": []}', "application/json", 422, "no image"),
    "a number": (b'{"images": [1]}', "application/json", 422, "is no text"),
    "no base64": (b'{"images": ["?"]}', "application/json", 422, "not base64"),
    "another key": (b'{"images": ["AAAA"], "mask": 1, "\\ud800": 2}', "application/json", 422, "'mask' is not used"),
    "half a pair": (b'{"images": ["AAAA"], "\\ud800": 2}', "application/json", 422, "is not used"),
    "side": (b'{"images": ["AAAA"], "side": [{"a": 1e999}]}', "application/json", 422, "is no number"),
    "huge": (b'{"images": ["AAAA"], "side": [{"a": ' + b"9" * 400 + b"}]}", "application/json", 422, "is no number"),
    "deep": (b'{"images": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "application/json", 400, "not JSON"),
    "many": (json.dumps({"images": ["AAAA"] * 17}).encode(), "application/json", 413, "at most 16"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_answered_with_a_sentence(name, called):
    body, kind, status, words = BAD_BODIES[name]
    found = called.post("/predict", body, kind)
    assert found[0] == status, found
    assert words in found[1]["detail"]


def test_a_form_without_its_end_loses_no_image(called, photo):
    kind, body = serving.multipart((photo, photo), ["a.png", "b.png"], {})
    for cut in (body.rindex(b"--") - 1, len(body) - 200):
        status, found = called.post("/predict", body[:cut], kind)
        assert (status, "before its last boundary" in found["detail"]) == (400, True), found


def test_a_field_sent_as_a_file_is_no_image(called, photo):
    kind, body = serving.multipart((photo, b"true"), ["a.png", "b.json"], {})
    as_file = body[::-1].replace(b'"image"'[::-1], b'"sequence"'[::-1], 1)[::-1]
    status, found = called.post("/predict", as_file, kind)
    assert (status, [one["id"] for one in found["answers"]]) == (200, ["a.png"])
    kind, body = serving.multipart((b"true", b"true"), ["a.json", "b.json"], {})
    assert "came twice" in called.post("/predict", body.replace(b'"image"', b'"sequence"'), kind)[1]["detail"]


def test_heads_are_those_of_gets(called):
    for path in ("/", "/health", "/about", "/metrics"):
        status, headers, body = called.send("HEAD", path)
        assert (status, body) == (200, b"")
        assert headers["content-type"] == called.send("GET", path)[1]["content-type"]
    assert called.send("HEAD", "/predict")[0] == 405


def test_what_is_no_request_is_refused_as_json(called):
    for sent in (
        b"\x16\x03\x01\x02\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", called.port), timeout=10) as line:
            line.sendall(sent + b"\r\n\r\n")
            received = b"".join(iter(lambda line=line: line.recv(4096), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        assert b" 400 " in head.splitlines()[0]
        assert b"application/json" in head
        assert json.loads(body) == {"detail": "Invalid HTTP request received"}


def test_bad_paths_and_values_are_answered_with_a_sentence(called, photo):
    for path, status in (("/predict?top=0", 422), ("/predict?top=x", 422), ("/predict?files=0", 422), ("/predict?files=2", 422)):
        found = called.images(photo, path=path)
        assert found[0] == status, (path, found)
        assert path.partition("?")[2].partition("=")[0] in found[1]["detail"]
    assert called.send("GET", "/predict")[0] == 405
    assert called.send("GET", "/docs")[0] == 404
    assert "no target" in called.images(photo, path="/explain?target=lable")[1]["detail"]


def test_what_is_too_large_is_refused_and_not_held(called, exported, photo):
    with serving.running(exported) as caller:
        status, body = caller.images(b"\0" * (100 << 20))
    assert (status, "at most 33,554,432 are taken" in body["detail"]) == (413, True)

    def pieces():
        for _ in range(40):
            yield b"\0" * (1 << 16)

    status, body = called.post("/predict", pieces(), "image/png")
    assert (status, "at most 1,048,576" in body["detail"]) == (413, True)
    assert called.images(photo)[0] == 200


def test_slow_senders_do_not_hold_the_service(called, photo):
    head = b"POST /predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: image/png\r\ncontent-length: 500\r\n\r\n"
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", called.port))) for _ in range(6)]
        for number, one in enumerate(slow):
            one.sendall(head + b"\0" * 20 if number % 2 else head[:30])
        assert called.images(photo)[0] == 200
        for number, one in enumerate(slow):
            one.settimeout(30)
            said = one.recv(4096)
            assert said.startswith(b"HTTP/1.1 408") if number % 2 else said == b"", said


def test_host_and_origin_are_checked(called, photo):
    own = f"http://127.0.0.1:{called.port}"
    assert called.send("GET", "/health", headers={"host": "evil.example"})[0] == 421
    assert called.send("GET", "/health", headers={"host": "localhost:1"})[0] == 200
    for origin, status in ((own, 200), ("http://evil.example", 403), ("null", 403), ("http://[", 403)):
        assert called.post("/predict", photo, "image/png", origin=origin)[0] == status, origin
    assert called.post("/predict", photo, "image/png", sec_fetch_site="cross-site")[0] == 403


def test_a_token_is_asked_for_everywhere_but_the_page(exported, photo):
    with serving.running(exported, token="correct-horse-battery") as caller:
        for path in ("/", "/health", "/page.js"):
            assert caller.send("GET", path)[0] == 200
        for path in ("/metrics", "/about", "/openapi.json"):
            assert caller.send("GET", path)[0] == 401
        right = {"authorization": "Bearer correct-horse-battery"}
        assert caller.send("GET", "/metrics", headers=right)[0] == 200
        assert caller.post("/predict", photo, "image/png")[0] == 401
        assert caller.post("/predict", photo, "image/png", authorization="Bearer wrong")[0] == 401
        assert caller.post("/predict", photo, "image/png", **right)[0] == 200
        assert caller.send("GET", "/about", headers={"authorization": "bearer  correct-horse-battery"})[0] == 200


def test_explanations_are_of_the_pipeline_alone(called, exported, photo):
    status, found = called.images(photo, path="/explain")
    assert status == 200
    image = Image.open(io.BytesIO(base64.b64decode(found["saliency"].partition(",")[2])))
    assert image.size == (32, 32)
    assert "keeps no training images" in found["why"]
    assert found["neighbours"] == []
    with serving.running(exported) as caller:
        found = caller.images(photo, path="/explain")[1]
        assert (found["saliency"], "An exported pipeline has neither" in found["why"]) == (None, True)
        page = caller.send("GET", "/")
    assert b"Drop an image" in page[2]
    assert "default-src 'none'" in page[1]["content-security-policy"]


class Slow:
    """A predictor that waits until it is told."""

    def __init__(self, plain):
        self.plain, self.go, self.begun = plain, threading.Event(), threading.Event()

    def __call__(self, requests):
        self.begun.set()
        self.go.wait(30)
        return self.plain(requests)

    def check(self, request):
        pass


def test_a_full_queue_says_when_to_come_again(exported, photo):
    slow, about = held_back(exported)
    with serving.running(Served(slow, about), waiting=4, deadline=20.0) as caller, concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(caller.images, photo)
        assert slow.begun.wait(30)
        queued = [pool.submit(caller.images, photo, photo) for _ in range(2)]
        while b"tapetum_waiting_images 4.0" not in caller.send("GET", "/metrics")[2]:
            time.sleep(0.01)
        kind, body = serving.multipart((photo,), ["x.png"], {})
        status, headers, content = caller.send("POST", "/predict", body, {"content-type": kind})
        assert (status, int(headers["retry-after"]) >= 1) == (429, True)
        assert "4 images wait already" in json.loads(content)["detail"]
        slow.go.set()
        assert [one.result()[0] for one in (first, *queued)] == [200] * 3


def test_a_passed_deadline_is_said_and_a_stop_answers_first(exported, photo):
    slow, about = held_back(exported)
    with serving.running(Served(slow, about), deadline=0.5) as caller:
        kind, body = serving.multipart((photo,), ["x.png"], {})
        status, headers, content = caller.send("POST", "/predict", body, {"content-type": kind})
        assert (status, "retry-after" in headers, "no answer within 0.5 s" in content.decode()) == (503, True, True)
        slow.go.set()
    slow.go.clear()
    slow.begun.clear()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        with serving.running(Served(slow, about)) as caller:
            last = pool.submit(caller.images, photo)
            assert slow.begun.wait(30)
            threading.Timer(0.3, slow.go.set).start()
        assert last.result()[0] == 200


def test_one_request_that_fails_spoils_no_other(exported, photo):
    def fragile(requests):
        if any(len(one) == 2 for one in requests):
            raise RuntimeError("broken")
        return plain(requests)

    slow, about = held_back(exported)
    plain, slow.plain = slow.plain, fragile
    with serving.running(Served(slow, about)) as caller, concurrent.futures.ThreadPoolExecutor(8) as pool:
        first = pool.submit(caller.images, photo)
        assert slow.begun.wait(30)
        rest = [pool.submit(caller.images, *[photo] * count) for count in (1, 2, 1, 3)]
        slow.go.set()
        assert [one.result()[0] for one in (first, *rest)] == [200, 200, 500, 200, 200]


def held_back(place):
    from tapetum.api import answers
    from tapetum.api import serving as making

    served = making.served_of(answers.loaded_from(place), 50_000_000)
    return Slow(served.predictor), served.about


def test_the_command_serves_an_export_without_torch_and_stops(exported, photo):
    code = BLOCKED.format(modules=["torch", "timm", "torchvision"]) + "from tapetum.cli import main; main()"
    words = [sys.executable, "-c", code, "serve", str(exported), "--port", "0", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        port = int(re.search(r":(\d+) \(Ctrl-C", line)[1])
        assert serving.Caller(port).images(photo)[0] == 200
    finally:
        process.terminate()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["address"] == f"http://127.0.0.1:{port}"


def test_what_cannot_be_served_is_refused_at_once(exported, probed, tmp_path, monkeypatch):
    import shutil

    said = small_runs.cli("serve", exported, "--host", "0.0.0.0")
    assert (said.code, "--token-file FILE" in said.error) == (USAGE, True)
    (tmp_path / "token").write_text("short")
    said = small_runs.cli("serve", exported, "--token-file", tmp_path / "token")
    assert (said.code, "16 ASCII characters" in said.error) == (USAGE, True)
    assert "does not exist" in small_runs.cli("serve", tmp_path / "nothing").error
    copy = shutil.copytree(exported, tmp_path / "copy")
    model = next(copy.glob("*.onnx"))
    model.write_bytes(model.read_bytes()[:-1] + b"\0\0")
    said = small_runs.cli("serve", copy)
    assert (said.code, "SHA-256 differs" in said.error, model.name in said.error) == (DATA, True, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = small_runs.cli("serve", exported, "--port", taken.getsockname()[1])
    assert (said.code, "--port N" in said.error) == (ENVIRONMENT, True)
    import importlib.util

    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "uvicorn" else plain(name, *more))
    said = small_runs.cli("serve", exported)
    assert (said.code, "pip install 'tapetum[serve]'" in said.error) == (ENVIRONMENT, True)
