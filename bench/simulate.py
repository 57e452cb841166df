"""How many pictures a second the simulators draw and write on one core: ``python bench/simulate.py [PICTURES]`` prints JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from tapetum.data.simulate.dogs import simulate_dogs
from tapetum.data.simulate.hpa import simulate_hpa


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    found = {}
    for name, simulate, files in (("dogs", simulate_dogs, 1), ("hpa", simulate_hpa, 4)):
        with tempfile.TemporaryDirectory() as folder:
            simulate(Path(folder) / "first", size=200)  # textures are drawn once a process
            wall, busy = time.perf_counter(), time.process_time()
            simulate(Path(folder) / "second", size=count)
            wall, busy = time.perf_counter() - wall, time.process_time() - busy
        found[name] = {
            "px": 128,
            "samples": count,
            "pictures": count * files,
            "pictures_per_second": round(count * files / wall, 1),
            "pictures_per_cpu_second": round(count * files / busy, 1),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
