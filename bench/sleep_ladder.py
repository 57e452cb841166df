"""What position, neighbours and context add on simulated nights, by exam; and what folds by image pretend.

Four steps, each judged out of fold with folds by exam: single images (the probe on kept vectors), the same with the place in the night,
a model over neighbours, and context decoding of its probabilities. A fifth run has folds by image: its figure less that of the first step
is what the leak is worth. Run: ``python bench/sleep_ladder.py [--size 5000]``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import recorded
from tapetum import api
from tapetum.core import files, intervals, metrics
from tapetum.core.predictions import Dense, Predictions
from tapetum.core.runs import PROBE, Run
from tapetum.decide import chain
from tapetum.decide.steps import Rows

RECIPE = "sleep-yai-plus"
SINGLE = ("data.side=[]", "train.epochs=0", "decide.choose=probe", "decide.steps=[]")  # the probe alone
LEAK = ("split.scheme=image", "split.allow_leak='to see what the leak is worth'")


def fit(data: Path, out: Path, seed: int, *sets: str) -> Run:
    """Return a run of the recipe in its cpu profile."""
    recipe = api.load_recipe(RECIPE, profile="cpu", sets=(*sets, f"seed={seed}", "train.threads=1"))
    return Run(Path(api.fit(data, out, recipe=recipe, log=recorded.log)["run"]))


def heldout(run: Run, member: str | None = None) -> Dense:
    """Return the out-of-fold answers of a run, or of one of its members."""
    if member is None:
        return Predictions.read(run.file("oof.parquet")).dense("stage")
    tables = [Predictions.read(path) for path in run.folds_of(member, "oof.parquet").values()]
    return Predictions.concat(tables).dense("stage", member)


def ladder(data: Path, folder: Path, seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return each step's macro-F1 with its paired difference from the step before, and what folds by image add to the first."""
    whole = fit(data, folder / "whole", seed)
    single = fit(data, folder / "single", seed, *SINGLE)
    leak = fit(data, folder / "leak", seed, *SINGLE, *LEAK)
    answers = {
        "single images": heldout(single, PROBE),
        "+ place in the night": heldout(whole, PROBE),
        "+ neighbours": before_steps(whole),
        "+ context": heldout(whole),
    }
    manifest = single.manifest()
    steps, before = [], None
    for name, dense in answers.items():
        steps.append({"step": name, **measured(dense, before, manifest)})
        before = dense
    return steps, measured(heldout(leak, PROBE), answers["single images"], manifest)


def before_steps(run: Run) -> Dense:
    """Return the blend of the members over neighbours, each fold under values of the other folds, before any decision step."""
    members = [name for name, own in run.recipe().members().items() if own.train.epochs and own.sequence.length > 1]
    tables = {name: heldout(run, name) for name in members}
    rows = Rows.of(run.manifest(), next(iter(tables.values())).row_ids.tolist())
    return chain.fit(tables, rows, run.recipe().decide.model_copy(update={"steps": ()})).nested


def measured(dense: Dense, before: Dense | None, manifest: Any) -> dict[str, Any]:
    """Return macro-F1 with its interval, and the paired difference from another answer for the same rows; clustered by exam."""
    ids = [row_id for row_id, ok in zip(dense.row_ids.tolist(), dense.scorable, strict=True) if ok]
    own = aligned(dense, ids)
    groups = Rows.of(manifest, ids, allow_leak="only the exams are read").groups
    out: dict[str, Any] = intervals.interval("macro_f1", own.target, own.p, own.y, groups, answer=own.answer).to_dict()
    if before is not None:
        other = aligned(before, ids)
        found = intervals.difference("macro_f1", own.target, (own.p, other.p), own.y, groups, answers=(own.answer, other.answer))
        out["difference"] = found.to_dict()
    out["accuracy"] = metrics.score("accuracy", own.target, own.p, own.y, answer=own.answer)
    return out


def aligned(dense: Dense, ids: list[str]) -> Dense:
    """Return the rows of some ids, in their order."""
    place = {row_id: i for i, row_id in enumerate(dense.row_ids.tolist())}
    return dense.where(np.array([place[row_id] for row_id in ids]))


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write the section of the page of benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="nights that are simulated already")
    parser.add_argument("--dry", action="store_true", help="print only; the page of benchmarks stays")
    wish = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        made = wish.data or Path(folder) / "simulated"
        if wish.data is None:
            api.simulate("sleep", made, size=wish.size, seed=wish.seed, log=recorded.log)
        steps, leak = ladder(made / "data", Path(folder), wish.seed)
        simulation = files.read_json(made / "simulation.json")
    page = text(steps, leak, simulation)
    print(page)
    if not wish.dry:
        values = {"steps": steps, "folds by image": leak, "simulation": simulation}
        recorded.record("sleep_ladder", "What a night adds to single images", page, values, "torch", "timm", "numpy")
    return 0


def text(steps: list[dict[str, Any]], leak: dict[str, Any], simulation: dict[str, Any]) -> str:
    """Return the section of the page."""
    best = simulation["ceilings"]
    lines = [[one["step"], recorded.span(one), recorded.difference(one["difference"]) if "difference" in one else ""] for one in steps]
    return (
        f"{simulation['counts']['train']:,} labelled images of {simulation['counts']['train exams']} simulated exams, out of fold with "
        f"folds by exam; macro-F1 with 95 % intervals by exam, and the paired difference from the line above. `{RECIPE}`, cpu profile, "
        f"seed {simulation['seed']}.\n\n"
        f"{recorded.table(['step', 'macro-F1', 'difference'], lines)}\n\n"
        f"The best macro-F1 to be expected on the test exams of who knows the generator: {best['frame_wise']['macro_f1']:.3f} from single "
        f"images, {best['position']['macro_f1']:.3f} with their place, {best['order']['macro_f1']:.3f} from whole nights. With folds by "
        f"image the first step seems to reach {recorded.span(leak)}: {recorded.difference(leak['difference'])} that no new exam will show."
    )


if __name__ == "__main__":
    sys.exit(main())
