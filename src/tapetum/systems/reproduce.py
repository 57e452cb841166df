"""`tapetum reproduce`: a reference system from its data layout to a submission checked against the sample, statement by statement.

Nothing here depends on one system: a recipe, its ``[statements]``, a layout and a simulator of the system's name are all there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import config, files, hashes, metrics, table_files
from tapetum.core.config import Loaded, Recipe
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.intervals import span
from tapetum.core.ledger import Ledger
from tapetum.core.marks import estimate, main
from tapetum.core.metrics import headline_metric
from tapetum.core.progress import Log
from tapetum.core.registry import reference_system
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.targets import read_target
from tapetum.systems import statements
from tapetum.workflow.commands.finish import write_report
from tapetum.workflow.commands.fit import fit

SUBMISSION = "submission.csv"


def reproduce(
    name: str,
    out: Path | str,
    data: Path | str | Mapping[str, Any] | None,
    loader: Callable[..., Loaded],
    *,
    profile: str | None = None,
    sets: Mapping[str, Any] | None = None,
    log: Log | None = None,
    command: str = "tapetum reproduce",
) -> dict[str, Any]:
    """Run a reference system's recipe from its layout to its submission.

    Args:
        name: a recipe of a system.
        out: the run's folder; the same call goes on where it stopped.
        data: in their layout, or what a simulator returned.
        loader: reads a recipe by name, profile and flags, as :func:`tapetum.api.load_recipe`.
        profile: ``cpu``, or None for the write-up's own sizes.
        sets: further recipe keys.
        log: receives messages about what happens.
        command: kept in the report.

    Returns:
        What ``fit`` returns, with ``submission`` (None without test rows), ``classes``, ``statements``, ``cycles`` and ``test``: the
        score on a simulator's test part, or None.

    Raises:
        UserError: no such system, or no data.
        DataError: the submission would not fit the sample.
    """
    system = reference_system(name)
    if data is None:
        raise UserError(f"{name} has no data", need="--data DIR, or --simulate for synthetic data")
    simulated = data if isinstance(data, Mapping) else None
    source = Path(data["paths"]["source"] if isinstance(data, Mapping) else data)
    record = Record(log)
    loaded = _with_places(loader(name, profile=profile, flags=dict(sets or {})), source, record)
    scaled = scaled_down(name, profile, loader)
    if scaled:
        record(
            f"profile {profile} scales down, every technique stays: " + "; ".join(f"{s['key']} {s['full']} → {s['here']}" for s in scaled)
        )
    result = fit(source, out, loaded, log=record, command=command)
    run, recipe = Run(Path(out)), loaded.recipe
    manifest = run.manifest()
    with hashes.renewed(run.root, "statements.json", "first-look.json"):
        _account(run, recipe, name, profile, scaled, simulated)
        files.write_json(run.file("first-look.json"), first_look(manifest))
    table_files.write_table(run.file("classes.csv"), classes_table(run), for_people=True)
    template = _beside(source, system.template)
    submitted, cycles = None, []
    if template is not None and run.file("test.parquet").exists():
        submitted = _submit(run, recipe, template, record)
        from tapetum.workflow.commands.submit import submit_before_steps, submit_cycles

        submit_before_steps(run, recipe, template, record)
        cycles = submit_cycles(run, recipe, template, record)
    tested = None if submitted is None or simulated is None else _tested(run, submitted, simulated, name, record)
    from tapetum.workflow.stages.explain import write_loss_maps

    write_loss_maps(run, manifest, record)
    if recipe.data.audit is not None:
        from tapetum.workflow.commands.audit import judge_labels

        judge_labels(run, record)
    run.seal()
    result["report"] = write_report(run)
    lines = {"submission": submitted, "classes": str(run.file("classes.csv")), "statements": str(run.file("statements.json"))}
    return {**result, **lines, "cycles": cycles, "test": tested}


def scaled_down(name: str, profile: str | None, loader: Callable[..., Loaded]) -> list[dict[str, Any]]:
    """Return what a profile changes: ``{"key", "full", "here"}`` as JSON text, in the recipe's order; empty for the full recipe."""
    if profile in (None, "full"):
        return []
    full = dict(config.flatten(loader(name).recipe.model_dump(mode="json", exclude={"profile", "statements"})))
    here = dict(config.flatten(loader(name, profile=profile).recipe.model_dump(mode="json", exclude={"profile", "statements"})))
    changed = [key for key in here if full.get(key) != here[key]]
    return [{"key": key, "full": json.dumps(full.get(key)), "here": json.dumps(here[key])} for key in changed]


def first_look(manifest: Manifest) -> dict[str, Any]:
    """Return what one looks at first: rows of each class, and labels an image, over the training part."""
    rows = manifest.split == "train"
    out: dict[str, Any] = {}
    for target in manifest.targets:
        if target.kind == "regression" or not target.scored:
            continue
        truth = manifest.truth(target.name)[rows]
        truth = truth[~np.isnan(truth).any(axis=1)]
        counts = truth.sum(axis=0).astype(int).tolist()
        each, n = np.unique(truth.sum(axis=1).astype(int), return_counts=True)
        out[target.name] = {
            "rows": len(truth),
            "classes": dict(zip(target.classes, counts, strict=True)),
            "labels an image": {str(k): int(v) for k, v in zip(each, n, strict=True)},
        }
    return out


def classes_table(run: Run) -> pl.DataFrame:
    """Return for each part, target and class: n, share right (recall), precision, F1 — of decided answers with a known truth.

    The row ``all`` is the accuracy of a single label, the macro-F1 of several.
    """
    lines: list[dict[str, Any]] = []
    manifest = run.manifest()
    for part in ("oof", "test"):
        if not run.file(f"{part}.parquet").exists():
            continue
        table = Predictions.read(run.file(f"{part}.parquet"))
        for target in table.targets:
            if target.kind == "regression":
                continue
            whole = table.dense(target.name)
            know = whole.scorable
            if not know.any():
                continue
            dense = whole.where(know)
            metric = headline_metric(target)
            weight = manifest.weights_of(dense.row_ids)
            value = metrics.score(metric, target, dense.p, dense.y, weight, answer=dense.answer)
            lines.append({"part": part, "target": target.name, "class": "all", "n": len(dense.y), metric: value})
            for row in metrics.per_class(target, dense.p, dense.y, weight, answer=dense.answer):
                kept = {key: row[key] for key in ("class", "n", "recall", "precision", "f1")}
                lines.append({"part": part, "target": target.name, **kept})
    return pl.DataFrame(lines, infer_schema_length=None)


def _with_places(loaded: Loaded, source: Path, record: Record) -> Loaded:
    """Return the recipe with what it expects beside the data (a list, tables, split folders) found there; what is absent is logged."""
    data = loaded.recipe.data
    found: dict[str, Any] = {}
    if data.exclude is not None and not Path(data.exclude).is_absolute():
        place = _beside(source, data.exclude)
        found["exclude"] = None if place is None else str(place)
        if place is None:
            record(f"no {data.exclude} beside {source}: no list of bad images is left out")
    if data.join:
        places = {name: _beside(source, name) for name in data.join}
        found["join"] = tuple(str(place) for place in places.values() if place is not None)
        gone = [name for name, place in places.items() if place is None]
        if gone:
            record(f"no {listed(gone)} beside {source}: folds go by image, not by {data.group}, and no identities are learned")
            found["group"] = None
            found["targets"] = tuple(spec for spec in data.targets if read_target(spec).scored)
    if data.split == "folder" and source.suffix.lower() != ".zip" and not (source / "train").is_dir():
        found["split"] = None
    loss = loaded.recipe.loss
    if "targets" in found and isinstance(loss.weights, dict):
        dropped = {read_target(spec).name for spec in data.targets if spec not in found["targets"]}
        loss = loss.model_copy(update={"weights": {name: share for name, share in loss.weights.items() if name not in dropped}})
    recipe = loaded.recipe.model_copy(update={"data": data.model_copy(update=found), "loss": loss})
    return Loaded(recipe, {**loaded.origin, **{f"data.{key}": "beside the data" for key in found}})


def _beside(source: Path, name: str) -> Path | None:
    """Return a file of the data's folder or of the one above it; None where there is none."""
    folders = [source, source.parent] if source.is_dir() else [source.parent, source.parent.parent]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _account(run: Run, recipe: Recipe, name: str, profile: str | None, scaled: list[dict[str, Any]], simulated: Any) -> None:
    value = {"system": statements.system_of(name), "recipe": name, "profile": profile or "full", "scaled": scaled}
    made = (
        None
        if simulated is None
        else {key: simulated[key] for key in ("name", "seed", "px", "counts", "metric", "ceiling") if key in simulated}
    )
    files.write_json(run.file("statements.json"), {**value, "simulated": made, "statements": statements.of_run(recipe)})


def _tested(run: Run, submission: str, simulated: Mapping[str, Any], name: str, record: Record) -> dict[str, Any] | None:
    """Score the submission on the simulator's test part, into ``test-score.json``; None where the simulator tells no truth."""
    from tapetum.systems.judge import judge

    if "truth" not in simulated.get("paths", {}) or not {"metric", "ceiling"} <= set(simulated):
        return None
    try:
        found = judge(Path(submission), run.root, simulated, name)
    except DataError as error:
        record(f"warning: the submission is not scored on the simulator's test part: {error}")
        return None
    files.write_json(run.file("test-score.json"), found)
    value = "not defined" if found["value"] is None else f"{found['value']:.3f} ({span(found, 3)})"
    record(f"on the simulator's test part: {found['metric']} {value}, best possible {found['ceiling']:.3f}")
    return found


def _submit(run: Run, recipe: Recipe, template: Path, record: Record) -> str:
    from tapetum.workflow.commands.submit import submit

    place = run.file(SUBMISSION)
    submit(run.root, template, place, target=None, fill="prior", log=record)
    figures = files.read_json(run.file("metrics.json"))
    top = figures["headline"]
    figure = main(figures["figures"], top["target"], top["metric"])
    made_by = {"name": recipe.name, "hash": recipe.hash()}
    Ledger(run.root).add(place, recipe=made_by, metric=top["metric"], own=None if figure is None else estimate(figure), note="final answer")
    return str(place)
