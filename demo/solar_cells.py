"""The main job on real images: solar cells in; a run, held-out predictions, a submission and a report out.

Run it with ``make demo``. It needs the package ``elpv-dataset`` (2,624 photographs, CC BY-NC-SA 4.0) and no network.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

import polars as pl

from tapetum import api
from tapetum.cli.progress import Progress
from tapetum.core import draws, files
from tapetum.core.errors import EnvironmentFault, TapetumError

HERE = Path(__file__).parent
LICENCE = "elpv-dataset: CC BY-NC-SA 4.0, Buerhop-Lutz et al. 2018, https://github.com/zae-bayern/elpv-dataset"


def photographs() -> Path:
    """Return the folder of the installed photographs (the package itself is not imported)."""
    found = importlib.util.find_spec("elpv_dataset")
    if found is None or not found.submodule_search_locations:
        raise EnvironmentFault("the package elpv-dataset is not installed", fix="pip install elpv-dataset, or run: make demo")
    return Path(next(iter(found.submodule_search_locations))) / "data"


def tables(source: Path, out: Path, share: float = 0.1) -> tuple[Path, Path]:
    """Write labels.csv (a tenth of the cells marked as test) and the sample submission for those; return both."""
    lines = [line.split() for line in (source / "labels.csv").read_text().splitlines() if line.strip()]
    cells = [Path(line[0]).stem for line in lines]
    held = [draws.generator("demo", cell).random() < share for cell in cells]
    frame = pl.DataFrame(
        {
            "cell": cells,
            "file": [str(source / line[0]) for line in lines],
            "defective": ["yes" if float(line[1]) > 0.5 else "no" for line in lines],
            "part": ["test" if h else "train" for h in held],
        }
    )
    labels = files.write_csv(out / "labels.csv", frame)
    test = frame.filter(pl.col("part") == "test")
    template = files.write_csv(out / "sample_submission.csv", test.select("cell", pl.lit("no").alias("defective")))
    return labels, template


def main() -> int:
    """Run the demo; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--budget", default="4m")
    options = parser.parse_args()
    began = time.perf_counter()
    try:
        print(LICENCE, file=sys.stderr, flush=True)
        files.remove(options.out)
        data = options.out.parent / f"{options.out.name}-data"
        labels, template = tables(photographs(), data)
        recipe = api.load_recipe(HERE / "solar_cells.toml")
        submission, predicted = options.out / "submissions" / "submission.csv", options.out / "held-out.parquet"
        with Progress() as log:
            result = api.fit(labels, options.out, recipe=recipe, budget=options.budget, log=log, command="make demo")
            test = pl.read_csv(labels).filter(pl.col("part") == "test")
            api.predict(result["pipeline"], [Path(f) for f in test["file"]], predicted, log=log)
            api.submit(options.out, template, submission, log=log)
        print(result["table"])
    except TapetumError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"\nrun          {options.out}\nreport       {result['report']}\npipeline     {result['pipeline']}")
    print(f"predictions  {predicted} (the {len(test)} cells that nothing was trained on)\nsubmission   {submission}")
    print(f"seconds      {time.perf_counter() - began:.0f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
