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

PX, GOAL = 128, 200
REPEATS = 3  # the best counts: others may be busy on the machine


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    found: dict[str, dict[str, Any]] = {}
    for name, simulate, images in (("dogs", simulate_dogs, 1), ("hpa", simulate_hpa, 4)):
        times = []
        with tempfile.TemporaryDirectory() as folder:
            simulate(Path(folder) / "first", size=200, px=PX)  # textures are drawn once a process
            for repeat in range(REPEATS):
                wall, busy = time.perf_counter(), time.process_time()
                simulate(Path(folder) / str(repeat), size=count, px=PX, seed=repeat)
                times.append((time.process_time() - busy, time.perf_counter() - wall))
        made = count * images
        found[name] = {
            "samples": count,
            "images": made,
            "images_per_cpu_second": round(made / min(busy for busy, _ in times), 1),
            "images_per_second": round(made / min(wall for _, wall in times), 1),
        }
    rows = [[n, f"{f['images']:,}", f"{f['images_per_cpu_second']:.0f}", f"{f['images_per_second']:.0f}"] for n, f in found.items()]
    text = (
        f"Images of {PX} pixels drawn, packed and put on the disk by `tapetum simulate`, the best of {REPEATS} runs, planning included; "
        f"goal: {GOAL} a second of one core. Load of the machine meanwhile: {os.getloadavg()[0]:.1f}.\n\n"
        + recorded.table(["simulator", "images", "a second of processor", "a second"], rows)
    )
    print(text)
    recorded.record("simulate", "Simulators: images a second", text, {"px": PX, "goal": GOAL, "found": found}, "numpy", "pillow")


if __name__ == "__main__":
    main()
