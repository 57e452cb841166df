"""``tapetum compare``: predictions pair by pair, or the test-time views of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import columns, files, intervals, places, table_files
from tapetum.core.errors import UserError
from tapetum.core.marks import how_of
from tapetum.core.prediction_csv import read_alone
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Manifest, Predictions
from tapetum.decide import compare
from tapetum.decide import view_reduction as deciding
from tapetum.decide.steps import Rows
from tapetum.workflow.commands.figure_tables import figure_of, lines_of, text_of
from tapetum.workflow.session import Session


def compare_sources(
    named: Mapping[str, Path], *, metric: str, target: str | None, manifest: Path | None, reference: str | None
) -> dict[str, Any]:
    """Compare predictions pair by pair: paired difference clustered by group, exact McNemar, Holm over all.

    Args:
        named: name → a run, or a Predictions file.
        metric: a metric's name; ``auto`` for the target's default.
        target: which one, where there are several.
        manifest: for groups and weights; a run's own is taken.
        reference: compare all with this one; None: every pair.
    """
    tables = {name: _table_of(path) for name, path in named.items() if path.suffix != ".csv"}
    shared = [t for table in tables.values() for t in table.targets if target in (None, t.name)]
    tables |= {n: read_alone(path, target, shared[0] if shared else None) for n, path in named.items() if path.suffix == ".csv"}
    tables = {name: tables[name] for name in named}
    known = _manifest_of([manifest] if manifest else list(named.values()), manifest)
    groups = None if known is None else dict(zip(known.row_ids, known.groups.tolist(), strict=True))
    weights = None if known is None else known.weights
    frame = compare.compare_many(tables, reference, metric=metric, target=target, groups=groups, weight=weights)
    found = {name: figure_of(Run(path), target or tables[name].targets[0].name) for name, path in named.items() if path.is_dir()}
    shown_figures = {name: figure for name, figure in found.items() if figure is not None}
    measured = {name: {"how": how_of(figure), "marks": list(figure.get("marks", ()))} for name, figure in shown_figures.items()}
    return {"table": "\n".join([text_of(frame), *lines_of(shown_figures)]), "pairs": frame.to_dicts(), "measured": measured}


def _table_of(path: Path) -> Predictions:
    return Predictions.read(Run.existing(path).file("oof.parquet") if path.is_dir() else path)


def _rows_of_text(place: Path) -> Manifest:
    """Return the rows of a manifest in a text table as far as a comparison needs them: ids, groups and weights."""
    frame = table_files.read_table(place, {"row_id": pl.String})
    known = frame.select("row_id", *(name for name in ("group", "sequence", "weight") if name in frame.columns))
    if "weight" in known.columns:
        known = known.with_columns(table_files.read_table(place, {"weight": pl.Float64})["weight"])
    return Manifest(known.with_columns(pl.lit([""]).alias("path")), (), place.parent)


def _is_predictions(place: Path) -> bool:
    return "path" not in files.read_parquet(place, range(0))[0].columns


def _manifest_of(places: Sequence[Path], given: Path | None = None) -> Manifest | None:
    for place in places:
        manifest = Manifest.read(place) if place.suffix == ".parquet" and (place == given or not _is_predictions(place)) else None
        if place == given and place.suffix.lower() in table_files.TEXTS:
            return _rows_of_text(place)
        if manifest is None and place.is_dir():
            manifest = Run.existing(place).manifest()
        if manifest is not None:
            return manifest
    return None


def compare_views(run: Run, spec: str, record: Record, data: Path | str | None = None) -> dict[str, Any]:
    """Compare ways of reducing test-time views on a finished run's own held-out rows; nothing of the run changes.

    Args:
        run: finished.
        spec: ``recipe`` for the recipe's views, or a name from ``data.choices.VIEWS``.
        record: receives messages about what is answered.
        data: where the run's data are now, if they moved.

    Returns:
        ``{"out", "table", "choice", "views"}``; the same is in ``views.json``.

    Raises:
        UserError: the run has no weights to answer with, or there is one view only.
    """
    from tapetum.workflow.stages.answering import one_view
    from tapetum.workflow.stages.prepare import prepared_of
    from tapetum.workflow.stages.views import answer, choose

    session = Session(run.checked("members/*"), prepared_of(run, data), run.recipe(), record)
    recipe = session.recipe
    decisions = files.read_json(run.file("decisions.json"))
    manifest = session.manifest
    scored = np.flatnonzero((manifest.split == "train") & (manifest.fold >= 0))
    places.refuse_absent(manifest.where(scored), "say where the data are now: --data DIR")
    rows = Rows.of(manifest, [manifest.row_ids[r] for r in scored], allow_leak=recipe.split.allow_leak)
    truth = {t.name: manifest.truth(t.name)[scored] for t in manifest.targets if t.scored}
    table: list[dict[str, Any]] = []
    choice: dict[str, Any] = {}
    specs: dict[str, Any] = {}
    for member, epochs in decisions["epochs"].items():
        member_recipe = recipe.members()[member]
        if spec != "recipe":
            member_recipe = member_recipe.model_copy(update={"predict": member_recipe.predict.model_copy(update={"views": spec})})
        if why := one_view(member_recipe):
            record(f"member {member} has no views to compare: {why}")
            continue
        tables = answer(session, member, member_recipe, {int(k): v for k, v in epochs["per_fold"].items()}, keep=spec == "recipe")
        chosen = choose(tables, member, member_recipe, recipe.decide, truth, rows)
        table += [{"member": member, **line} for line in deciding.lines(chosen)]
        choice[member] = {name: one.to_dict() for name, one in chosen.items()}
        specs[member] = member_recipe.predict.model_dump(mode="json")["views"]
    if not table:
        raise UserError(
            f"{run.root} has no views to compare",
            need="a fine-tuned member of single images, and views other than plain",
            fix="name views, as --views flips, or fine-tune first: tapetum fit DATA --epochs 8",
        )
    found = {"views": specs, "choice": choice, "figures": table}
    files.write_json(run.file("views.json"), found)
    return {"out": str(run.file("views.json")), "table": views_text(table, choice), **found}


def views_text(table: list[dict[str, Any]], choice: Mapping[str, Any]) -> str:
    """Return the comparison as text, one line a way and metric."""
    head = ("member", "target", "views", "metric", "value", "95 % interval", "against plain", "95 % interval")
    shown = [head]
    for line in table:
        value, span, apart = _number(line["value"]), intervals.span(line), _number(line["difference"], "+")
        spread = _span(line["difference_low"], line["difference_high"], "+")
        shown.append((line["member"], line["target"], line["reduce"], line["metric"], value, span, apart, spread))
    lines = [columns.aligned(shown)]
    for member, targets in choice.items():
        for name, one in targets.items():
            each = ", ".join(f"fold {fold} {way}" for fold, way in one["per_fold"].items())
            which = "the other folds, drawn within the one held out" if one.get("drawn") else "the other folds"
            lines.append(f"{member}, {name}: {one['final']} ({each}; chosen on {which})")
    return "\n".join(lines)


def _number(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.4f}"


def _span(low: float | None, high: float | None, sign: str = "") -> str:
    return "–" if low is None or high is None else f"{low:{sign}.4f} – {high:{sign}.4f}"
