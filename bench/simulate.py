"""How many images a second the simulators draw and write on one core: ``python bench/simulate.py [SAMPLES]``."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import recorded
from tapetum.systems.dogs.simulate import simulate_dogs
from tapetum.systems.hpa.simulate import simulate_hpa
from tapetum.systems.mask.simulate import simulate_mask
from tapetum.systems.sleep_images.simulate import simulate_sleep

# name, simulator, images a sample, side in pixels (of mask: the width; None: its own), goal of images a second of one core
SIMULATORS: tuple[tuple[str, Callable[..., Any], int, int | None, int], ...] = (
    ("dogs", simulate_dogs, 1, 128, 200),
    ("hpa", simulate_hpa, 4, 128, 200),
    ("mask", simulate_mask, 1, 384, 100),
    ("sleep", simulate_sleep, 1, None, 60),
)
REPEATS = 3  # the best counts: others may be busy on the machine


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    found: dict[str, dict[str, Any]] = {}
    for name, simulate, images, px, goal in SIMULATORS:
        side = {} if px is None else {"px": px}
        times = []
        with tempfile.TemporaryDirectory() as folder:
            simulate(Path(folder) / "first", size=210, **side)  # textures are drawn once a process
            for repeat in range(REPEATS):
                wall, busy = time.perf_counter(), time.process_time()
                simulate(Path(folder) / str(repeat), size=count, seed=repeat, **side)
                times.append((time.process_time() - busy, time.perf_counter() - wall))
        made = count * images
        found[name] = {
            "px": px,
            "goal": goal,
            "samples": count,
            "images": made,
            "images_per_cpu_second": round(made / min(busy for busy, _ in times), 1),
            "images_per_second": round(made / min(wall for _, wall in times), 1),
        }
    rows = [
        [n, f"{f['images']:,}", f"{f['images_per_cpu_second']:.0f}", f"{f['images_per_second']:.0f}", f"{f['goal']}"]
        for n, f in found.items()
    ]
    text = (
        f"Images drawn (dogs and hpa 128 × 128, mask 384 × 512, sleep 480 × 270), packed and put on the disk by "
        f"`tapetum simulate`, the best of {REPEATS} runs, planning included. Load of the machine meanwhile: {os.getloadavg()[0]:.1f}.\n\n"
        + recorded.table(["simulator", "images", "a second of processor", "a second", "goal"], rows)
    )
    print(text)
    recorded.record("simulate", "Simulators: images a second", text, {"found": found}, "numpy", "pillow")


if __name__ == "__main__":
    main()
