"""The service against the batch: images a second and waiting times at 16 clients, and many served answers against those of predict.

Clients are a process of their own. Rates: EfficientNet-Lite0 on JPEG photos, an ONNX export, one image a request. Equality: 10,000 images
in requests of one to eight, by a tiny network. Run: ``python bench/serve.py [--images N] [--pairs P] [--answers N] [--clients C]``.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import recorded
from tapetum import api
from tapetum.core import files

TAPETUM = [sys.executable, "-m", "tapetum"]
SMALL = {"model__backbone": "test_efficientnet", "model__weights": "none", "input__size": 32, "probe__size": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)  # the process of the clients: address, jobs, results
    asked = parser.parse_args()
    if asked.client:
        act(*asked.client, clients=asked.clients)
        return
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        values = {"clients": asked.clients, "rates": rates(home, asked), "equality": equality(home, asked)}
    write(values)


def rates(home: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the rate of predict and of the service, in turn, on the same photos."""
    photos = sorted((recorded.DATA / "dogs" / "images").rglob("*.jpg"))
    chosen = [photos[number % len(photos)] for number in range(asked.images)]
    table = home / "photos.csv"
    files.write_text(table, "".join(["id,path\n", *(f"{number},{photo}\n" for number, photo in enumerate(chosen))]))
    labels = recorded.DATA / "dogs" / "labels.csv"
    api.fit(
        labels,
        home / "run",
        preset="fast",
        log=recorded.log,
        data__targets=["breed"],
        probe__size=224,
        split__folds=2,
        probe__views=["plain"],
    )
    api.export(home / "run", "onnx", home / "onnx", log=recorded.log)
    from tapetum.pipeline.exported import Exported

    loaded = Exported.load(home / "onnx")
    manifest = loaded.read([table], recorded.log)
    jobs = files.write_json(home / "jobs.json", [[str(photo)] for photo in chosen])
    found: list[dict[str, Any]] = []
    with serving(home / "onnx") as (address, process):
        load(address, jobs, home, asked.clients)  # warm
        loaded.answer(manifest)
        for _ in range(asked.pairs):
            began, cpu = time.perf_counter(), time.process_time()
            loaded.answer(manifest)
            batch = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
            cpu = cpu_of(process.pid)
            served = load(address, jobs, home, asked.clients)
            seconds = np.array(served["seconds"])
            p50, p95 = np.quantile(seconds, [0.5, 0.95])
            found.append(
                {
                    "batch_rate": len(chosen) / batch["seconds"],
                    "served_rate": len(chosen) / served["wall"],
                    "ratio": batch["seconds"] / served["wall"],
                    "batch_cpu": batch["cpu"] / len(chosen),
                    "served_cpu": (cpu_of(process.pid) - cpu) / len(chosen),
                    "p50": float(p50),
                    "p95": float(p95),
                    "statuses": sorted(set(served["statuses"])),
                }
            )
            recorded.log(str(found[-1]))
    return {"images": len(chosen), "pairs": found}


def equality(home: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Return how far served answers are from those of predict."""
    rng, drawn = np.random.default_rng(0), random.Random(0)
    photos = []
    for number in range(500):
        place = home / "small" / str(number % 3) / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(place)
        photos.append(place)
    api.fit(home / "small", home / "tiny", preset="fast", log=recorded.log, split__folds=2, **SMALL)
    out: dict[str, Any] = {}
    for name, place in (("pipeline", home / "tiny"), ("onnx", home / "tiny-onnx")):
        if name == "onnx":
            api.export(home / "tiny", "onnx", place, log=recorded.log)
        offline = {one["id"]: one["answers"]["label"] for one in api.predict(place, photos, top=100)["answers"]}
        left, jobs = asked.answers, []
        while left > 0:
            jobs.append([str(drawn.choice(photos)) for _ in range(min(left, drawn.choice((1, 1, 2, 4, 8))))])
            left -= len(jobs[-1])
        with serving(place) as (address, _):
            served = load(address, files.write_json(home / "jobs.json", jobs), home, asked.clients, keep=True)
        labels, apart = 0, 0.0
        for job, answers in zip(jobs, served["answers"], strict=True):
            for photo, one in zip(job, answers, strict=True):
                mine, theirs = offline[Path(photo).as_posix()], one["answers"]["label"]
                labels += mine["answer"] == theirs["answer"]
                apart = max(apart, *(abs(mine["p"][label] - theirs["p"][label]) for label in mine["p"]))
        out[name] = {"answers": asked.answers, "requests": len(jobs), "same_labels": labels, "largest_difference": apart}
        recorded.log(f"{name}: {out[name]}")
    return out


@contextlib.contextmanager
def serving(place: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve a folder in a process of its own."""
    process = subprocess.Popen([*TAPETUM, "serve", str(place), "--port", "0", "--waiting", "256"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line))), process
    finally:
        process.terminate()
        process.wait(60)


def load(address: str, jobs: Path, home: Path, clients: int, *, keep: bool = False) -> dict[str, Any]:
    """Send requests from a process of clients."""
    results = home / "results.json"
    words = [sys.executable, __file__, "--clients", str(clients), "--client", address, str(jobs), str(results)]
    subprocess.run(words, check=True, env={**os.environ, "KEEP": "1" if keep else ""})
    return dict(files.read_json(results))


def act(address: str, jobs: str, results: str, *, clients: int) -> None:
    """Be the clients: each sends the next request as soon as it has an answer, over one connection."""
    host, port = address.removeprefix("http://").split(":")
    contents: dict[str, bytes] = {}
    todo = files.read_json(jobs)
    for job in todo:
        for photo in job:
            contents.setdefault(photo, Path(photo).read_bytes())
    out: list[Any] = [None] * len(todo)
    numbers = iter(range(len(todo)))

    def client(_: int) -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=120)
        for number in numbers:
            parts = [b'--x\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n' + contents[one] for one in todo[number]]
            began = time.perf_counter()
            head = {"content-type": "multipart/form-data; boundary=x"}
            connection.request("POST", "/predict?top=100", b"\r\n".join(parts) + b"\r\n--x--\r\n", head)
            response = connection.getresponse()
            content = response.read()
            out[number] = (time.perf_counter() - began, response.status, content)
        connection.close()

    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    found = {"wall": time.perf_counter() - began, "seconds": [one[0] for one in out], "statuses": [one[1] for one in out]}
    if os.environ.get("KEEP"):
        found["answers"] = [json.loads(one[2])["answers"] for one in out]
    files.write_json(results, found)


def cpu_of(process: int) -> float:
    """Return the CPU seconds of a process so far."""
    values = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def write(values: dict[str, Any]) -> None:
    """Write the section of docs/benchmarks.md."""
    pairs = values["rates"]["pairs"]
    low = {key: float(np.quantile([one[key] for one in pairs], 0.25)) for key in pairs[0] if key != "statuses"}
    middle = {key: float(np.median([one[key] for one in pairs])) for key in low}
    rows = [
        ["`Exported.answer`, one process", f"{middle['batch_rate']:.1f}", f"{1000 * middle['batch_cpu']:.0f}", "–", "–"],
        [
            f"the service, {values['clients']} clients, one image a request",
            f"{middle['served_rate']:.1f}",
            f"{1000 * middle['served_cpu']:.0f}",
            f"{1000 * middle['p50']:.0f}",
            f"{1000 * middle['p95']:.0f}",
        ],
    ]
    cpu = float(np.median([one["batch_cpu"] / one["served_cpu"] for one in pairs]))
    equal = "; ".join(
        f"{name}: {one['same_labels']:,} of {one['answers']:,} labels the same in {one['requests']:,} requests, probabilities within "
        f"{one['largest_difference']:.0e}"
        for name, one in values["equality"].items()
    )
    count, clients = values["rates"]["images"], values["clients"]
    head = f"{count} JPEG photos, EfficientNet-Lite0 at 224 pixels exported to ONNX, one view; medians of {len(pairs)} turns of both."
    ratio = f"{low['ratio']:.0%} of the batch rate (lower quartile; median {middle['ratio']:.0%}; goal 60 %), {cpu:.0%} by CPU seconds"
    text = (
        f"{head}\n\n{recorded.table(['what', 'images/s', 'CPU ms an image', 'p50 ms', 'p95 ms'], rows)}\n\n"
        f"The service has {ratio} of the server. Its clients compute on the same processors.\n\n"
        f"Served answers against those of `predict`, {clients} clients, one to eight images a request: {equal}."
    )
    values["ratio"] = {"lower_quartile": low["ratio"], "median": middle["ratio"], "by_cpu": cpu}
    recorded.record("serve", "The service", text, values, "onnxruntime", "fastapi", "uvicorn")


if __name__ == "__main__":
    main()
