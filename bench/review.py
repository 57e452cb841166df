"""The review page in a browser: decisions a minute, killed tabs and browsers, and 100,000 images.

Run: ``python bench/review.py [--rows 100000] [--kills 100]``; needs playwright and Chromium. The large set is a table whose rows repeat
a few images. The pictures of the docs: ``make demo``, then ``python bench/review.py --pictures docs --report runs/demo/report.html``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

import recorded
from tapetum.core.config import Input
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data import audit
from tapetum.show.review import app, queue
from tapetum.show.review.pictures import Pictures
from tapetum.show.review.review import Review, fingerprint
from tapetum.show.review.store import Store

CLASSES = tuple(f"class {i:02d}" for i in range(12))
FILES = 40
TURNS = 200  # pages that are turned
OPENED = 20  # times that the page is opened
KEYS = ("k", "x", "1", "2")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pictures", type=Path, help="only write screenshots to this folder")
    parser.add_argument("--report", type=Path, help="with --pictures: a report, whose first screen is written too")
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    if args.pictures is not None:
        with sync_playwright() as started:
            screenshots(started, args.pictures)
            if args.report is not None:
                taken(started, args.report.resolve().as_uri(), args.pictures, ("report", "report-dark"), (1100, 900))
        return 0

    with tempfile.TemporaryDirectory() as place, sync_playwright() as started:
        plant(Path(place), args.rows)
        load = os.getloadavg()[0]
        with command(Path(place)) as page_of:
            values = {
                "rows": args.rows,
                "load": load,
                "ready_s": page_of.ready_s,
                **turned(started, page_of.address),
                **killed(started, page_of, args.kills),
            }
    v = values
    text = (
        f"`tapetum review` of {args.rows:,} rows that repeat {FILES} images of 500×375, Chromium without a display; other work had the "
        f"machine meanwhile (load {load:.1f} on {os.cpu_count()} cores). The page can be opened {v['ready_s']:.0f} s after the command "
        "begins. Times in ms:\n\n"
        + recorded.table(
            ["", "times", "lower quartile", "median", "95th percentile", "slowest"],
            [
                [what, str(v[count]), *(f"{v[f'{name}_{part}_ms']:.0f}" for part in ("quartile", "median", "p95", "slowest"))]
                for what, count, name in (
                    ("opening: first byte", "opened", "first_byte"),
                    ("opening: first contentful paint", "opened", "first_paint"),
                    ("page turn: from the key until the next image is drawn, with the decision on the disk", "turns", "turn"),
                )
            ],
        )
        + f"\n\nA scripted reviewer that presses a key when the image is there: {v['a_minute']:.0f} decisions a minute. {v['kills']} "
        "tabs and browsers killed right after a decision, every second time the browser by SIGKILL: "
        f"{v['lost']} of {v['decided']} decisions lost."
    )
    print(text)
    if not args.dry:
        recorded.record("review", "Review page: turns, kills, 100,000 images", text, values, "starlette", "uvicorn", "playwright", "pillow")
    return 0


@dataclasses.dataclass(frozen=True)
class Served:
    """The command that serves the page.

    Args:
        address: of the page.
        store: its file of decisions.
        ready_s: seconds from the start of the command until the page could be opened.
    """

    address: str
    store: Path
    ready_s: float


def plant(place: Path, rows: int) -> None:
    """Write a table of many rows with few files, and an audit of it."""
    rng = np.random.default_rng(0)
    sources = sorted((recorded.DATA / "dogs").rglob("*.jpg"))[:FILES]
    for number in range(FILES):
        image = Image.open(sources[number]) if sources else Image.fromarray(rng.integers(0, 255, (375, 500, 3)).astype(np.uint8))
        image.convert("RGB").resize((500, 375)).save(place / f"{number}.jpg", quality=90)
    labels = [CLASSES[i] for i in rng.integers(0, len(CLASSES), rows)]
    frame = pl.DataFrame({"id": [f"r{i:06d}" for i in range(rows)], "file": [f"{i % FILES}.jpg" for i in range(rows)], "kind": labels})
    frame.write_csv(place / "labels.csv")
    empty = {name: pl.Series([None] * rows, dtype=dtype) for name, dtype in audit.AUDIT_SCHEMA.items()}
    found = [["label suspect"] if i % 10 == 0 else ["blurred"] if i % 10 == 1 else [] for i in range(rows)]
    pl.DataFrame(empty).with_columns(
        pl.Series("row_id", frame["id"]),
        pl.Series("decision", ["keep"] * rows),
        pl.Series("findings", found, dtype=audit.AUDIT_SCHEMA["findings"]),
        pl.Series("suggested", [[CLASSES[i % 12]] if i % 10 == 0 else None for i in range(rows)], dtype=audit.AUDIT_SCHEMA["suggested"]),
        pl.Series("target", ["kind"] * rows),
        pl.Series("suspicion", rng.random(rows), dtype=pl.Float32),
    ).write_parquet(place / "audit.parquet")


@contextlib.contextmanager
def command(place: Path) -> Iterator[Served]:
    """Serve the page with ``tapetum review``, in a process of its own as a user does."""
    words = ["labels.csv", "--id", "id", "--path", "file", "--target", "kind", "--audit", "audit.parquet", "--port", "0"]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "tapetum", "review", *words], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    address = next(part for line in process.stderr or () for part in line.split() if part.startswith("http://"))
    try:
        yield Served(address, place / "review.sqlite", time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


@contextlib.contextmanager
def served(review: Review) -> Iterator[str]:
    """Serve the page from a thread of this process."""
    import uvicorn

    pages = app.build(review, Pictures(review.queue.manifest, Input()), lambda: "", "images")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(pages, host="127.0.0.1", port=port, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join()


def opened(started: Any) -> Any:
    return started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])


def ready(page: Any, address: str) -> None:
    page.goto(address)
    page.locator("body[data-ready=yes]").wait_for(state="attached")


def press(page: Any, key: str) -> None:
    """Press a key and wait until the next image is shown."""
    before = page.locator("body").get_attribute("data-shown") or "0"
    page.keyboard.press(key)
    page.locator(f'body[data-shown]:not([data-shown="{before}"])').wait_for(state="attached")


def in_page(page: Any, script: str) -> Any:
    """Return what a script finds in a page, by the protocol of the browser's tools: the page's policy forbids playwright's ``eval``."""
    session = page.context.new_cdp_session(page)
    found = session.send("Runtime.evaluate", {"expression": script, "awaitPromise": True, "returnByValue": True})
    session.detach()
    if "exceptionDetails" in found:
        raise RuntimeError(found["exceptionDetails"])
    return found["result"].get("value")


# From the key until the frame is drawn that has the next image; the images are then decoded. A pause as a person makes follows.
TIMED = """(async (keys) => {
  const out = [], drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  for (const key of keys) {
    const before = document.body.dataset.shown || "0", began = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    while ((document.body.dataset.shown || "0") === before) await new Promise((done) => setTimeout(done, 1));
    await Promise.all([...document.querySelectorAll("#item img")].map((image) => image.decode()));
    await drawn();
    out.push(performance.now() - began);
    await new Promise((done) => setTimeout(done, 250));
  }
  return out;
})"""
PAINTS = """(() => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0], page = performance.getEntriesByType("navigation")[0];
  return paint ? { paint: paint.startTime, byte: page.responseStart } : null;
})()"""


def painted(page: Any) -> dict[str, float]:
    """Return when the page had its first byte and its first content painted, in ms from the opening."""
    while (found := in_page(page, PAINTS)) is None:
        time.sleep(0.02)
    return dict(found)


def turned(started: Any, address: str) -> dict[str, Any]:
    """Return first paints, page turns timed in the page, and how many decisions a minute a script makes by the keyboard."""
    browser = opened(started)
    paints = []
    for _ in range(OPENED):
        page = browser.new_context().new_page()
        ready(page, address)
        paints.append(painted(page))
        page.context.close()
    page = browser.new_context().new_page()
    ready(page, address)
    turns = in_page(page, f"{TIMED}({json.dumps([KEYS[i % 4] for i in range(TURNS)])})")
    began, count = time.monotonic(), 60
    for number in range(count):
        press(page, KEYS[number % 4])
    seconds = time.monotonic() - began
    browser.close()
    return {
        "opened": len(paints),
        **spread("first_byte", [found["byte"] for found in paints]),
        **spread("first_paint", [found["paint"] for found in paints]),
        "turns": len(turns),
        **spread("turn", turns),
        "a_minute": count / seconds * 60,
    }


def spread(name: str, times: list[float]) -> dict[str, float]:
    """Return lower quartile, median, 95th percentile and maximum of times in ms."""
    low, median, high = (float(value) for value in np.percentile(times, [25, 50, 95]))
    return {f"{name}_quartile_ms": low, f"{name}_median_ms": median, f"{name}_p95_ms": high, f"{name}_slowest_ms": float(max(times))}


def killed(started: Any, page_of: Served, kills: int) -> dict[str, Any]:
    """Return how many decisions were lost where a tab, or every second time the browser, was killed right after one."""
    before, seen = rows_decided(page_of.store), 0
    for number in range(kills):
        browser = opened(started)
        page = browser.new_context().new_page()
        ready(page, page_of.address)
        press(page, "k")
        seen += 1
        if number % 2:
            for pid in children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        else:
            page.close(run_before_unload=False)
        with contextlib.suppress(Exception):
            browser.close()
    return {"kills": kills, "decided": seen, "lost": seen - (rows_decided(page_of.store) - before)}


def rows_decided(store: Path) -> int:
    """Return how many rows have a decision that holds."""
    with contextlib.closing(sqlite3.connect(store)) as found:
        return int(found.execute("SELECT COUNT(DISTINCT row_id) FROM decisions WHERE undone IS NULL").fetchone()[0])


def children() -> list[int]:
    """Return the browser's processes that this process started: those below its driver."""
    lines = subprocess.run(["ps", "-eo", "pid,ppid,comm"], capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    parents = {int(pid): (int(parent), name) for pid, parent, name in (line.split(None, 2) for line in lines)}

    def is_ours(pid: int) -> bool:
        while pid in parents and pid > 1:
            pid = parents[pid][0]
            if pid == os.getpid():
                return True
        return False

    return [pid for pid, (_, name) in parents.items() if "chrom" in name and is_ours(pid)]


def screenshots(started: Any, folder: Path) -> None:
    """Write the page with photographs of scikit-image, which may be shown anywhere, in both themes."""
    from skimage import data

    with tempfile.TemporaryDirectory() as place:
        names = ("chelsea", "coffee", "astronaut", "rocket")
        for name in names:
            Image.fromarray(getattr(data, name)()[..., :3]).save(Path(place) / f"{name}.jpg")
        classes = ("cat", "cup", "person", "rocket")
        paths = [[f"{name}.jpg"] for name in names]
        frame = pl.DataFrame({"row_id": [p[0] for p in paths], "path": paths, "kind": ["cup", "cup", "person", "rocket"]})
        target = Target("kind", "single", classes)
        manifest = Manifest(frame, (target,), Path(place))
        table = pl.DataFrame({name: pl.Series([None] * 4, dtype=dtype) for name, dtype in audit.AUDIT_SCHEMA.items()}).with_columns(
            pl.Series("row_id", frame["row_id"]),
            pl.Series("findings", [["label suspect"], [], [], []], dtype=audit.AUDIT_SCHEMA["findings"]),
            pl.Series("suggested", [["cat"], None, None, None], dtype=audit.AUDIT_SCHEMA["suggested"]),
            pl.Series("note", ["label suspect: given cup, looks like cat", None, None, None], dtype=pl.String),
            pl.Series("suspicion", [0.97, 0, 0, 0], dtype=pl.Float32),
        )
        review = Review(queue.build(manifest, table, target), Store(Path(place) / "review.sqlite", fingerprint(manifest)))
        with served(review) as address:
            taken(started, address, folder, ("review-light", "review-dark"), (1000, 760))


def taken(started: Any, address: str, folder: Path, names: tuple[str, str], size: tuple[int, int]) -> None:
    """Write the first screen of a page in the light and the dark theme, in few colours."""
    browser = opened(started)
    for theme, name in zip(("light", "dark"), names, strict=True):
        page = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme).new_page()
        page.goto(address, wait_until="load")
        page.wait_for_load_state("networkidle")
        file = folder / f"{name}.png"
        page.screenshot(path=str(file))
        Image.open(file).convert("RGB").quantize(128).save(file, optimize=True)
    browser.close()


if __name__ == "__main__":
    sys.exit(main())
