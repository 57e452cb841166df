"""How many images a second the simulators draw and write on one core: ``python bench/simulate.py [SAMPLES]``."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import recorded
from tapetum.systems.dogs.simulate import simulate_dogs
from tapetum.systems.hpa.simulate import simulate_hpa
from tapetum.systems.sleep_images.simulate import simulate_sleep

PX = 128
GOALS = {"dogs": 200, "hpa": 200, "sleep": 60}  # images a second of one core; those of sleep are 480 × 270
REPEATS = 3  # the best counts: others may be busy on the machine


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    found: dict[str, dict[str, Any]] = {}
    simulators: tuple[tuple[str, Any, int], ...] = (("dogs", simulate_dogs, 1), ("hpa", simulate_hpa, 4), ("sleep", simulate_sleep, 1))
    for name, simulate, images in simulators:
        side = {} if name == "sleep" else {"px": PX}
        times = []
        with tempfile.TemporaryDirectory() as folder:
            simulate(Path(folder) / "first", size=200, **side)  # textures are drawn once a process
            for repeat in range(REPEATS):
                wall, busy = time.perf_counter(), time.process_time()
                simulate(Path(folder) / str(repeat), size=count, seed=repeat, **side)
                times.append((time.process_time() - busy, time.perf_counter() - wall))
        made = count * images
        found[name] = {
            "samples": count,
            "images": made,
            "images_per_cpu_second": round(made / min(busy for busy, _ in times), 1),
            "images_per_second": round(made / min(wall for _, wall in times), 1),
        }
    rows = [
        [n, f"{f['images']:,}", f"{f['images_per_cpu_second']:.0f}", f"{f['images_per_second']:.0f}", f"{GOALS[n]}"]
        for n, f in found.items()
    ]
    text = (
        f"Images of {PX} pixels (of sleep: 480 × 270) drawn, packed and put on the disk by `tapetum simulate`, the best of {REPEATS} runs, "
        f"planning included. Load of the machine meanwhile: {os.getloadavg()[0]:.1f}.\n\n"
        + recorded.table(["simulator", "images", "a second of processor", "a second", "goal"], rows)
    )
    print(text)
    recorded.record("simulate", "Simulators: images a second", text, {"px": PX, "goals": GOALS, "found": found}, "numpy", "pillow")


if __name__ == "__main__":
    main()
