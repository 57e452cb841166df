"""Decisions apart from training: decide a run again, decide anybody's predictions, compare them, rank them, keep the ledger. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files, sheets
from tapetum.core.config import Data, Decide
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.ledger import Ledger
from tapetum.core.marks import CROSS_VALIDATED, IN_SAMPLE, Figure, how_of, main
from tapetum.core.runs import Record, Run
from tapetum.core.tables import FINAL, Dense, Manifest, Predictions
from tapetum.data import layouts
from tapetum.decide import chain, compare, conformal, elsewhere, leaderboard, reliability
from tapetum.decide.alone import read_alone
from tapetum.decide.steps import Rows


def decide_tables(
    tables: Mapping[str, Path],
    manifest: Manifest,
    target: str,
    decide: Decide,
    out: Path,
    record: Record,
    *,
    classes: Sequence[str] | None = None,
    strict: bool = False,
    allow_leak: str | None = None,
) -> dict[str, Any]:
    """Decide predictions from any framework: calibrate, blend and step as ``[decide]`` says, cross-fitted over the manifest's folds.

    Args:
        tables: member → a Predictions file (``.parquet``), a CSV (``id, p_class…``), or ``.npy`` with ``.ids.txt`` beside it.
        manifest: truth, folds, groups, sequences.
        target: which target.
        decide: the recipe's section.
        out: a folder for oof.parquet, oof.csv, decisions.json and metrics.json.
        record: told the notes.
        classes: order of the columns of arrays, which cannot say it themselves.
        strict: refuse where a member lacks rows that another holds.
        allow_leak: the reason for folds that cut groups.

    Returns:
        ``{"out", "table", "coverage"}``.
    """
    members = {name: read_member(path, manifest, target, name, classes, record) for name, path in tables.items()}
    scored = np.flatnonzero(manifest.split == "train")
    rows = Rows.of(manifest, [manifest.row_ids[r] for r in scored], allow_leak=allow_leak)
    found = chain.fit(members, rows, decide, strict=strict)
    for note in found.notes:
        record(note)
    decided = {f"decided ({how})": (how, dense) for how, dense in ((CROSS_VALIDATED, found.nested), (IN_SAMPLE, found.optimistic))}
    entries = [*members.items(), *((name, dense) for name, (_, dense) in decided.items())]
    board = leaderboard.leaderboard(entries, rows, how={name: how for name, (how, _) in decided.items()})
    Predictions.from_dense(found.nested, source="blend", manifest_hash=manifest.content_hash()).write(out / "oof.parquet")
    elsewhere.write_csv(out / "oof.csv", found.nested)
    files.write_json(out / "decisions.json", {"format": 1, "steps": {target: found.json}})
    files.write_json(out / "metrics.json", {"leaderboard": board.to_dicts(), "coverage": found.coverage.to_dict()})
    return {"out": str(out), "table": text_of(board), "coverage": str(found.coverage)}


def read_member(
    path: Path, manifest: Manifest, target: str, member: str, classes: Sequence[str] | None = None, log: Record | None = None
) -> Dense:
    """Return one target's out-of-fold answers from a file of any kind that Tapetum reads."""
    if path.suffix == ".parquet":
        table = Predictions.read(path).select(role="oof")
        _same_classes(table, manifest, target, path)
    elif path.suffix == ".npy":
        table = elsewhere.read_array(path, path.with_suffix(".ids.txt"), manifest, target, classes=classes, member=member, log=log)
    elif path.suffix == ".csv":
        table = elsewhere.read_csv(path, manifest, target, member=member, partial=True, log=log)
    else:
        raise UserError(f"{path} is neither .parquet, .csv nor .npy", need="predictions in one of these")
    return table.dense(target, FINAL if FINAL in table.members else table.members[0])


def _same_classes(table: Predictions, manifest: Manifest, target: str, path: Path) -> None:
    ours, theirs = manifest.target(target).classes, table.target(target).classes
    if ours != theirs:
        raise DataError(f"{path} has classes {listed(theirs)} for {target!r}", need=f"those of the manifest in its order: {listed(ours)}")


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
    found = {name: _figure_of(Run(path), target or tables[name].targets[0].name) for name, path in named.items() if path.is_dir()}
    told = {name: figure for name, figure in found.items() if figure is not None}
    said = {name: {"how": how_of(figure), "marks": list(figure.get("marks", ()))} for name, figure in told.items()}
    return {"table": "\n".join([text_of(frame), *_lines(told)]), "pairs": frame.to_dicts(), "measured": said}


def _figure_of(run: Run, target: str, *names: str) -> Figure | None:
    """Return the figure by which a run's answer was measured, under the first of some names that it has (default: the final one)."""
    file = run.file("metrics.json")
    figures = files.read_json(file).get("figures", ()) if file.exists() else ()
    return next((found for name in names or ("final",) if (found := main(figures, target, name=name)) is not None), None)


def _lines(told: Mapping[str, Figure]) -> list[str]:
    """Return what a reader must know of figures, in lines: those that are in-sample, and the marks."""
    lines = [f"{name}: {IN_SAMPLE}" for name, figure in told.items() if how_of(figure) == IN_SAMPLE]
    return lines + [f"marked {name}: {text}" for name, figure in told.items() for text in figure.get("marks", ())]


def manifest_of(path: Path, target: str | None, record: Record) -> Manifest:
    """Read a manifest from Parquet, or from a text table as ``tapetum split -o M.csv`` writes it; no image is looked at.

    Raises:
        UserError: a text table, which cannot say its targets, without ``target``.
    """
    if path.suffix.lower() == ".parquet":
        return Manifest.read(path)
    if target is None:
        raise UserError(f"{path} is a text table, which does not say its targets", fix="name it: --target NAME, as for fit")
    return layouts.read(path, Data(targets=(target,), on_bad="skip"), record)


def _table_of(path: Path) -> Predictions:
    return Predictions.read(Run.existing(path).file("oof.parquet") if path.is_dir() else path)


def _rows_of_text(place: Path) -> Manifest:
    """Return the rows of a manifest in a text table as far as a comparison needs them: ids, groups and weights."""
    frame = sheets.read_table(place, {"row_id": pl.String})
    known = frame.select("row_id", *(name for name in ("group", "sequence", "weight") if name in frame.columns))
    if "weight" in known.columns:
        known = known.with_columns(sheets.read_table(place, {"weight": pl.Float64})["weight"])
    return Manifest(known.with_columns(pl.lit([""]).alias("path")), (), place.parent)


def _manifest_of(places: Sequence[Path], given: Path | None = None) -> Manifest | None:
    for place in places:
        manifest = Manifest.read(place) if place.suffix == ".parquet" and place.name != "oof.parquet" else None
        if place == given and place.suffix.lower() in sheets.TEXTS:
            return _rows_of_text(place)
        if manifest is None and place.is_dir():
            manifest = Run.existing(place).manifest()
        if manifest is not None:
            return manifest
    return None


def board_of(run: Run, *, metric: str = "auto", target: str | None = None) -> dict[str, Any]:
    """Rank a run's members, their blend and its decisions on common rows; in-sample figures lead nothing."""
    manifest = run.manifest()
    name = target or Predictions.read(run.file("oof.parquet")).targets[0].name
    final = Predictions.read(run.file("oof.parquet")).dense(name)
    rows = Rows.of(manifest, final.row_ids.tolist())
    entries: list[tuple[str, Dense]] = [("final", final)]
    for folder in sorted((run.root / "members").iterdir()):
        parts = [Predictions.read(path) for path in run.folds_of(folder.name, "oof.parquet").values()]
        if parts and name in [t.name for t in parts[0].targets]:
            entries.append((folder.name, Predictions.concat(parts).dense(name, folder.name, final.row_ids.tolist())))
    found = {label: _figure_of(run, name, *dict.fromkeys([f"member {label}", label, "finetune"])) for label, _ in entries}
    told = {label: figure for label, figure in found.items() if figure is not None}
    frame = leaderboard.leaderboard(entries, rows, metric, how={label: how_of(figure) for label, figure in told.items()})
    marks = {label: list(figure.get("marks", ())) for label, figure in told.items()}
    board = [{**line, "marks": marks.get(line["name"], [])} for line in frame.to_dicts()]
    marked = {label: {**figure, "how": ""} for label, figure in told.items()}  # the table has a column of it
    return {"table": "\n".join([text_of(frame), *_lines(marked)]), "target": name, "leaderboard": board}


def sets_of(run: Run, *, coverage: float, method: Any, by_class: bool, target: str | None, most: int) -> dict[str, Any]:
    """Write a run's conformal sets (cross-fitted), its calibration, and the rows most worth a look.

    Args:
        run: with oof.parquet.
        coverage: wanted share of truths inside their sets.
        method: ``lac`` or ``aps``.
        by_class: a bound for each class.
        target: which one, where there are several.
        most: rows of the review list.

    Returns:
        Coverage and size of the sets, ECE, risk and coverage of abstention; files conformal.json and review.csv stand in the run.
    """
    table = Predictions.read(run.file("oof.parquet"))
    dense = table.dense(target or table.targets[0].name)
    rows = Rows.of(run.manifest(), dense.row_ids.tolist())
    if most < 1:
        raise UserError(f"a review list of {most} rows was asked for", need="1 or more")
    found = conformal.crossfit_sets(conformal.Conformal(method, 1 - coverage, by_class, one_per_group=True), dense, rows)
    abstain = conformal.Abstain(risk=1 - coverage).fit(dense, rows)
    ece = reliability.reliability(dense, rows)
    value = {"method": method, "wanted": coverage, "final": found.final, **found.report, "abstain": abstain, "calibration": ece.to_dict()}
    files.write_json(run.file("conformal.json"), value)
    review = conformal.review_list(dense, most=most)
    files.write_csv(run.file("review.csv"), review)
    return {"conformal": str(run.file("conformal.json")), "review": str(run.file("review.csv")), **found.report, "abstain": abstain}


def ledger_of(run: Run, *, score: tuple[str, float] | None, board: str) -> dict[str, Any]:
    """Return the submissions of a run and how own estimates and outside scores relate; enter a score first where one is given."""
    book = Ledger(run.root)
    if score is not None:
        book.score(score[0], score[1], board=board)
    shown = [
        {
            "file": s.file,
            "sha256": s.sha256[:12],
            "made": s.made,
            "metric": s.metric,
            "own": (s.own or {}).get("value"),
            "how": (s.own or {}).get("how"),
            **{f"outside {name}": value for name, value in s.outside.items()},
        }
        for s in book.submissions()
    ]
    relations = {name: book.relation(name).__dict__ for name in book.boards()}
    table = text_of(pl.DataFrame(shown, infer_schema_length=None)) if shown else "no submission yet (tapetum submit makes one)"
    return {"table": table, "submissions": shown, "relations": relations}


def text_of(frame: pl.DataFrame) -> str:
    """Return a small table as text; why there is no interval stands below it."""
    reasons = frame["method"].unique(maintain_order=True).to_list() if "method" in frame.columns else []
    frame = frame.drop("method", strict=False)

    def cell(value: Any) -> str:
        return "–" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)

    lines = [frame.columns, *([cell(v) for v in row] for row in frame.iter_rows())]
    widths = [max(len(line[i]) for line in lines) for i in range(len(frame.columns))]
    shown = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*shown, *(reason for reason in reasons if reason.startswith("no interval"))])
