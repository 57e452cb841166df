"""The review page in a browser: decisions a minute, killed tabs and browsers, and 100,000 images.

Run: ``python bench/review.py [--rows 100000] [--kills 100]``; needs playwright and Chromium. The large set is a table whose rows repeat
a few images.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pictures", type=Path, help="only write screenshots to this folder")
    parser.add_argument("--dry", action="store_true", help="print, record nothing")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    if args.pictures is not None:
        with sync_playwright() as started:
            screenshots(started, args.pictures)
        return 0

    with tempfile.TemporaryDirectory() as place, sync_playwright() as started:
        review = planted(Path(place), args.rows)
        with served(review) as address:
            values = {
                "rows": args.rows,
                **turned(started, address),
                **killed(started, address, review, args.kills),
            }
    v = values
    text = (
        f"{args.rows:,} rows that repeat {FILES} images of 500×375, Chromium without a display. First paint after "
        f"{v['first_paint_ms']:.0f} ms (median of {v['opened']} openings; slowest {v['first_paint_slowest_ms']:.0f} ms). A page turn, from "
        f"the key to the next image shown with the decision on the disk: median {v['turn_median_ms']:.0f} ms, 95th percentile "
        f"{v['turn_p95_ms']:.0f} ms of {v['turns']} turns. A scripted reviewer that presses a key when the image is there: "
        f"{v['a_minute']:.0f} decisions a minute. {v['kills']} tabs and browsers killed right after a decision, every second time the "
        f"browser by SIGKILL: {v['lost']} of {v['decided']} decisions lost."
    )
    print(text)
    if not args.dry:
        recorded.record("review", "Review page: turns, kills, 100,000 images", text, values, "starlette", "uvicorn", "playwright", "pillow")
    return 0


def planted(place: Path, rows: int) -> Review:
    """Return a review of many rows with few files."""
    rng = np.random.default_rng(0)
    sources = sorted((recorded.DATA / "dogs").rglob("*.jpg"))[:FILES]
    for number in range(FILES):
        image = Image.open(sources[number]) if sources else Image.fromarray(rng.integers(0, 255, (375, 500, 3)).astype(np.uint8))
        image.convert("RGB").resize((500, 375)).save(place / f"{number}.jpg", quality=90)
    target = Target("kind", "single", CLASSES)
    labels = [CLASSES[i] for i in rng.integers(0, len(CLASSES), rows)]
    frame = pl.DataFrame(
        {"row_id": [f"r{i:06d}" for i in range(rows)], "path": [[f"{i % FILES}.jpg"] for i in range(rows)], "kind": labels}
    )
    manifest = Manifest(frame, (target,), place)
    empty = {name: pl.Series([None] * rows, dtype=dtype) for name, dtype in audit.AUDIT_SCHEMA.items()}
    found = [["label suspect"] if i % 10 == 0 else ["blurred"] if i % 10 == 1 else [] for i in range(rows)]
    table = pl.DataFrame(empty).with_columns(
        pl.Series("row_id", frame["row_id"]),
        pl.Series("findings", found, dtype=audit.AUDIT_SCHEMA["findings"]),
        pl.Series("suggested", [[CLASSES[i % 12]] if i % 10 == 0 else None for i in range(rows)], dtype=audit.AUDIT_SCHEMA["suggested"]),
        pl.Series("target", ["kind"] * rows),
        pl.Series("suspicion", rng.random(rows), dtype=pl.Float32),
    )
    return Review(queue.build(manifest, table, target), Store(place / "review.sqlite", fingerprint(manifest)))


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
    page.wait_for_function("document.body.dataset.ready === 'yes'")


def press(page: Any, key: str) -> None:
    """Press a key and wait until the next image is shown, loaded."""
    before = page.evaluate("document.body.dataset.shown || '0'")
    page.keyboard.press(key)
    page.wait_for_function(
        "b => (document.body.dataset.shown || '0') !== b && [...document.querySelectorAll('#item img')].every(i => i.complete)", arg=before
    )


TIMED = """async (keys) => {
  const out = [];
  for (const key of keys) {
    const before = document.body.dataset.shown || '0', began = performance.now();
    document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
    await new Promise(done => { const look = () => ((document.body.dataset.shown || '0') !== before
      && [...document.querySelectorAll('#item img')].every(i => i.complete)) ? done() : setTimeout(look, 2); look(); });
    out.push(performance.now() - began);
    await new Promise(done => setTimeout(done, 250));
  }
  return out;
}"""


def turned(started: Any, address: str) -> dict[str, Any]:
    """Return first paints, page turns timed in the page, and how many decisions a minute a script makes by the keyboard."""
    browser = opened(started)
    paints = []
    for _ in range(7):
        page = browser.new_context(bypass_csp=True).new_page()
        ready(page, address)
        paints.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        page.close()
    page = browser.new_context(bypass_csp=True).new_page()
    ready(page, address)
    turns = page.evaluate(TIMED, [("k", "x", "1", "2")[i % 4] for i in range(TURNS)])
    began, count = time.monotonic(), 60
    for number in range(count):
        press(page, ("k", "x", "1", "2")[number % 4])
    seconds = time.monotonic() - began
    browser.close()
    return {
        "opened": len(paints),
        "first_paint_ms": float(np.median(paints)),
        "first_paint_slowest_ms": float(max(paints)),
        "turns": len(turns),
        "turn_median_ms": float(np.median(turns)),
        "turn_p95_ms": float(np.percentile(turns, 95)),
        "a_minute": count / seconds * 60,
    }


def killed(started: Any, address: str, review: Review, kills: int) -> dict[str, Any]:
    """Return how many decisions were lost where a tab, or every second time the browser, was killed right after one."""
    before, seen = len(review.store.holding()), 0
    for number in range(kills):
        browser = opened(started)
        page = browser.new_context(bypass_csp=True).new_page()
        ready(page, address)
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
    held = len(review.store.holding()) - before
    return {"kills": kills, "decided": seen, "lost": seen - held}


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
            browser = opened(started)
            for theme in ("light", "dark"):
                size = {"width": 1000, "height": 640}
                page = browser.new_context(viewport=size, color_scheme=theme, bypass_csp=True).new_page()
                ready(page, address)
                file = folder / f"review-{theme}.png"
                page.screenshot(path=str(file))
                Image.open(file).convert("RGB").quantize(128).save(file, optimize=True)
            browser.close()


if __name__ == "__main__":
    sys.exit(main())
