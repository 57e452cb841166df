"""What position, neighbours and context add on simulated nights, by exam; and what folds by image pretend.

Four steps, each judged out of fold with folds by exam: single images (the probe on kept vectors), the same with the place in the night,
a model over neighbours, and context decoding of its probabilities. Where ``make acceptance`` has run, its run of the lifted recipe gives
the last three. A further run has folds by image: its report says what the leak is worth, and so do those of the recipes as written. Run:
``python bench/sleep_ladder.py [--seed 0]``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import recorded
from tapetum import api
from tapetum.core import files, intervals, metrics
from tapetum.core.marks import BY_GROUP
from tapetum.core.runs import BY_GROUP_FILE, PROBE, Run
from tapetum.core.tables import Dense, Predictions
from tapetum.decide import chain
from tapetum.decide.steps import Rows
from tapetum.systems.sleep_images.layout import TRAIN

HOME = recorded.ROOT / ".bench" / "acceptance"
RECIPE = "sleep-yai-plus"
WRITTEN = ("sleep-yai", "sleep-dragon")
SINGLE = (  # the probe alone, on folds by image and beside them by exam
    "data.side=[]",
    "train.epochs=0",
    "decide.choose=probe",
    "decide.steps=[]",
    "split.scheme=image",
    "split.allow_leak='to see what the leak is worth'",
)


def fit(data: Path, out: Path, seed: int, *sets: str) -> Run:
    """Return a run of the recipe in its cpu profile."""
    recipe = api.load_recipe(RECIPE, profile="cpu", sets=(*sets, f"seed={seed}", "train.threads=1"))
    return Run(Path(api.fit(data, out, recipe=recipe, log=recorded.log)["run"]))


def accepted(home: Path, recipe: str, seed: int) -> Run | None:
    """Return the finished run of ``make acceptance``; None where there is none."""
    loaded = api.load_recipe(recipe, profile="cpu", flags={"seed": seed, "train.threads": 1})
    run = Run(home / f"{recipe}-{loaded.recipe.hash()[:8]}")
    return run if run.file("submission.csv").exists() else None


def heldout(run: Run, member: str | None = None) -> Dense:
    """Return the out-of-fold answers of a run, or of one of its members."""
    if member is None:
        return Predictions.read(run.file("oof.parquet")).dense("stage")
    tables = [Predictions.read(path) for path in run.folds_of(member, "oof.parquet").values()]
    return Predictions.concat(tables).dense("stage", member)


def ladder(whole: Run, single: Run) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return each step's macro-F1 with its paired difference from the step before, and what folds by image add to the first.

    Args:
        whole: the lifted recipe.
        single: its probe without place in the night, on folds by image, and beside them by exam: the folds of ``whole``.
    """
    answers = {
        "single images": Predictions.read(single.file(BY_GROUP_FILE)).dense("stage", PROBE),
        "+ place in the night": heldout(whole, PROBE),
        "+ neighbours": before_steps(whole),
        "+ context": heldout(whole),
    }
    manifest = whole.manifest()
    steps, before = [], None
    for name, dense in answers.items():
        steps.append({"step": name, **measured(dense, before, manifest)})
        before = dense
    return steps, measured(heldout(single, PROBE), answers["single images"], manifest)


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


def reported(run: Run | None) -> dict[str, Any] | None:
    """Return what a run's own report says of its folds by image: the probe's figures and their difference."""
    if run is None:
        return None
    found = files.read_json(run.file("metrics.json"))
    apart = next((one for one in found["differences"] if one["b"] == BY_GROUP), None)
    if apart is None:
        return None
    figures = {f["name"]: f for f in found["figures"] if f["metric"] == apart["metric"] and f["name"] in (PROBE, BY_GROUP)}
    return {"metric": apart["metric"], "by image": figures[PROBE], "by exam": figures[BY_GROUP], "difference": apart}


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write the section of the page of benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="print only; the page of benchmarks stays")
    wish = parser.parse_args(argv)
    home = HOME / f"sleep-{wish.size}-{wish.seed}"
    if not (home / "simulated" / "simulation.json").exists():
        api.simulate("sleep", home / "simulated", size=wish.size, seed=wish.seed, log=recorded.log)
    data = home / "simulated" / "data"
    whole = accepted(home, RECIPE, wish.seed) or fit(data, home / "ladder-whole", wish.seed)
    single = fit(data / TRAIN, home / "ladder-single", wish.seed, *SINGLE)
    steps, leak = ladder(whole, single)
    written = {name: found for name in WRITTEN if (found := reported(accepted(home, name, wish.seed))) is not None}
    simulation = files.read_json(home / "simulated" / "simulation.json")
    page = text(steps, leak, written, simulation)
    print(page)
    if not wish.dry:
        values = {"steps": steps, "folds by image": leak, "as written": written, "simulation": simulation}
        recorded.record("sleep_ladder", "What a night adds to single images", page, values, "torch", "timm", "numpy")
    return 0


def text(steps: list[dict[str, Any]], leak: dict[str, Any], written: dict[str, Any], simulation: dict[str, Any]) -> str:
    """Return the section of the page."""
    best = simulation["ceilings"]
    lines = [[one["step"], recorded.span(one), recorded.difference(one["difference"]) if "difference" in one else ""] for one in steps]
    leaks = [["macro-F1 of the first step", recorded.span(leak), recorded.span(steps[0]), recorded.difference(leak["difference"])]]
    for name, one in written.items():
        figures = (recorded.span(one["by image"]), recorded.span(one["by exam"]), recorded.difference(one["difference"]))
        leaks.append([f"`{name}`, probe, {one['metric']}", *figures])
    parts = (
        f"{simulation['counts']['train']:,} labelled images of {simulation['counts']['train exams']} simulated exams, out of fold with "
        f"folds by exam; macro-F1 with 95 % intervals by exam, and the paired difference from the line above. `{RECIPE}`, cpu profile, "
        f"seed {simulation['seed']}.",
        recorded.table(["step", "macro-F1", "difference"], lines),
        f"The best macro-F1 to be expected on the test exams of who knows the generator: {best['frame_wise']['macro_f1']:.3f} from single "
        f"images, {best['position']['macro_f1']:.3f} with their place, {best['order']['macro_f1']:.3f} from whole nights.",
        "What folds by image seem to add, which no new exam will show; below the first line as the reports of the recipes as written state "
        "it, whose probes learn from 600 of 1,500 whole images:",
        recorded.table(["", "folds by image", "folds by exam", "difference"], leaks),
    )
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
