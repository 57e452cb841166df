"""What it costs to ask the kernel for the same memory again: CPU seconds and peak memory of ``predict`` with and without kept memory.

Each is a process of its own, in turn. Run: ``python bench/allocator.py [--images N] [--pairs P] [--size PIXELS]``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import recorded
from tapetum import api

PLAIN = "import tapetum.core.allocator as a; a.keep_memory = lambda: False; "
MAIN = "import sys; from tapetum.cli import main; sys.argv[0] = 'tapetum'; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--size", type=int, default=224)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        photos = sorted((recorded.DATA / "dogs" / "images").rglob("*.jpg"))[: asked.images]
        for number, photo in enumerate(photos):
            folder = home / "photos" / str(number % 2)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, folder / photo.name)
        api.fit(
            home / "photos", home / "run", preset="fast", log=recorded.log, probe__size=asked.size, split__folds=2, probe__views=["flips"]
        )
        runs: dict[str, list[dict[str, Any]]] = {"kept": [], "plain": []}
        for pair in range(asked.pairs):
            for name, code in (("kept", MAIN), ("plain", PLAIN + MAIN)):
                runs[name].append(one(code, home, home / f"{name}-{pair}.parquet"))
                recorded.log(f"{name}: {runs[name][-1]}")
    write(runs, len(photos), asked.size)


def one(code: str, home: Path, out: Path) -> dict[str, Any]:
    """Predict in a fresh process; return its CPU seconds, its peak memory, and the hash of what it wrote."""
    words = [sys.executable, "-c", code, "predict", str(home / "run"), str(home / "photos"), "-o", str(out)]
    child = os.posix_spawn(sys.executable, words, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"predict ended with {os.waitstatus_to_exitcode(status)}")
    digest = hashlib.sha256(out.read_bytes()).hexdigest()
    return {"user": used.ru_utime, "kernel": used.ru_stime, "peak_gb": used.ru_maxrss / 2**20, "faults": used.ru_minflt, "sha256": digest}


def write(runs: dict[str, list[dict[str, Any]]], images: int, size: int) -> None:
    """Write the section of docs/benchmarks.md."""
    same = len({each["sha256"] for some in runs.values() for each in some}) == 1
    rows = []
    for name, title in (("plain", "glibc's defaults"), ("kept", "freed memory is kept")):
        middle = {key: statistics.median(each[key] for each in runs[name]) for key in ("user", "kernel", "peak_gb", "faults")}
        rows.append([title, f"{middle['user']:.1f}", f"{middle['kernel']:.1f}", f"{middle['peak_gb']:.2f}", f"{middle['faults']:,.0f}"])
    text = (
        f"`tapetum predict` of {images} photos, EfficientNet-Lite0 at {size} pixels, two views, a process each, start included; medians of "
        f"{len(runs['kept'])} runs in turn. The files that both write are {'the same, byte for byte' if same else 'NOT the same'}.\n\n"
        + recorded.table(["memory", "CPU s, user", "CPU s, kernel", "peak GB", "page faults"], rows)
    )
    recorded.record("allocator", "Memory that is kept", text, {"runs": runs, "images": images, "size": size, "same": same}, "torch", "timm")


if __name__ == "__main__":
    main()
