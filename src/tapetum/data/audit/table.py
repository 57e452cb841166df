"""The audit table: one row an image, everything found about it, and the decision that training reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.labels import in_words
from tapetum.core.progress import Log
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import as_class
from tapetum.core.words import plural, verb
from tapetum.data.audit.alignment import SIDE
from tapetum.data.audit.file_checks import FILES_SCHEMA, scan
from tapetum.data.audit.findings import KINDS, Seen, count_kinds, find, gray_among_colour, groups_kept_apart
from tapetum.data.audit.image_statistics import THUMBNAIL, detail, measure_image
from tapetum.data.audit.label_errors import NEIGHBOURS, find_suspects
from tapetum.data.audit.near_duplicates import DuplicateSets, find_duplicates
from tapetum.data.audit.neighbours import loneliness
from tapetum.data.images.archives import is_absence
from tapetum.data.images.decode import Composition, compose

DECISIONS = ("keep", "exclude", "relabel", "group")
AUDIT_SCHEMA: dict[str, Any] = {
    **FILES_SCHEMA,
    "findings": pl.List(pl.String),  # words of findings.KINDS
    "misnamed": pl.String,  # "cat.jpg is PNG"
    "difference": pl.Float32,  # of channels, 99th percentile, of 255
    "deviation": pl.Float32,  # of red and blue against green, of 255
    "gray": pl.Boolean,  # gray among colour
    "brightness": pl.Float32,  # median, 0…1
    "sharpness": pl.Float32,  # detail at half size beside that at an eighth
    "apart": pl.Float32,  # from the nearest images by features, in robust standard deviations above the median
    "duplicate": pl.String,  # name of the set of rows that show the same image: its first row
    "duplicate_kind": pl.String,  # exact | near
    "alike": pl.Float32,  # correlation with the most similar duplicate
    "target": pl.String,  # what the following columns speak of
    "suspect": pl.Boolean,  # the label is probably wrong
    "suspicion": pl.Float32,
    "disagreement": pl.Float32,
    "suggested": pl.List(pl.String),  # empty: none of several classes; null: no answer
    "decision": pl.String,
    "note": pl.String,
}


@dataclasses.dataclass(frozen=True)
class Decision:
    """What is to become of a row.

    Args:
        action: ``exclude``, ``relabel`` or ``group``.
        target: relabel: which target; None: the only one that has classes.
        labels: relabel: its new classes; empty: none of the classes of a multi target.
    """

    action: str
    target: str | None = None
    labels: tuple[str, ...] = ()


def examine(
    manifest: Manifest,
    how: Composition,
    log: Log,
    *,
    vectors: np.ndarray | None = None,
    dihedral: bool = False,
    exchanged: np.ndarray | None = None,
    workers: int | None = None,
) -> pl.DataFrame:
    """Look at every image once: damaged and misnamed files, gray among colour, exact and near duplicates.

    Args:
        manifest: the rows.
        how: how the files of a row become an image.
        log: receives messages about progress and what was found.
        vectors: (N, D) features whose neighbours are candidates for duplicates too; rows of NaN are passed over.
        dihedral: whether images turned or mirrored count as duplicates, as cells do.
        exchanged: (N, D) features less those of the images with channels 1 and 3 exchanged, which tell where they were; NaN: unknown.
        workers: threads; None for as many as there are processors.

    Returns:
        ``AUDIT_SCHEMA``, one row a manifest row in its order. Damaged rows are decided ``exclude``, duplicates ``group``, all others
        ``keep``; whoever reviews the table may decide otherwise.
    """
    found = scan(manifest, how, measure_image, log, workers)
    files = pl.DataFrame([facts for facts, _ in found], schema=FILES_SCHEMA)
    statistics = [one for _, one in found]
    empty = np.zeros((THUMBNAIL, THUMBNAIL), dtype=np.float32)
    thumbnails = np.stack([empty if one is None else one.thumbnail for one in statistics]) if statistics else empty[None][:0]
    sets = find_duplicates(
        files["sha256"].to_list(),
        thumbnails,
        vectors=vectors,
        dihedral=dihedral,
        groups=manifest.declared_groups,
        details=lambda row: detail(compose(manifest.paths(row), how)[0], SIDE),  # of few rows in most data, so they are read again
    )
    if sets.apart:
        log(_kept_apart(manifest, sets))
    gray = gray_among_colour(files, statistics)
    alone = np.full(len(manifest), np.nan) if vectors is None else loneliness(vectors)
    kinds, notes = find(Seen(manifest, files, statistics, sets, gray, alone, exchanged))
    missing = (files["status"] != "ok").to_list()
    bad = [lost and not is_absence(reason) for lost, reason in zip(missing, files["reason"].to_list(), strict=True)]
    flat = [one is not None and not one.thumbnail.any() for one in statistics]  # blank images tell nothing of who is on them
    decided = ["exclude" if b else "group" if s >= 0 and not f else "keep" for b, s, f in zip(bad, sets.set, flat, strict=True)]
    ids = manifest.row_ids
    columns: dict[str, Any] = {
        "findings": kinds,
        "misnamed": ["; ".join(one.formats) or None if one else None for one in statistics],
        "difference": [one.difference if one else None for one in statistics],
        "deviation": [one.deviation if one else None for one in statistics],
        "gray": gray,
        "brightness": [one.middle if one else None for one in statistics],
        "sharpness": [one.sharpness if one else None for one in statistics],
        "apart": [None if np.isnan(a) else float(a) for a in alone],
        "duplicate": [ids[s] if s >= 0 else None for s in sets.set],
        "duplicate_kind": ["exact" if e else "near" if s >= 0 else None for s, e in zip(sets.set, sets.exact, strict=True)],
        "alike": [None if np.isnan(a) else float(a) for a in sets.alike],
        "decision": decided,
        "note": notes,
    }
    table = files.with_columns(pl.Series(name, values, dtype=AUDIT_SCHEMA[name], strict=False) for name, values in columns.items())
    table = table.with_columns(pl.lit(None, AUDIT_SCHEMA[name]).alias(name) for name in AUDIT_SCHEMA if name not in table.columns)
    return table.select(list(AUDIT_SCHEMA))


def add_suspects(
    table: pl.DataFrame,
    dense: Dense,
    log: Log,
    *,
    vectors: np.ndarray | None = None,
    neighbours: int = NEIGHBOURS,
) -> pl.DataFrame:
    """Return the audit table with what speaks against the labels of a target; decisions stay as they are.

    Args:
        table: of :func:`examine`.
        dense: out-of-fold probabilities and truth, matched by row id.
        log: receives messages about how many labels are suspect, and the worst of them.
        vectors: (N, D) features in the order of ``dense``, whose neighbours are asked too.
        neighbours: how many of them.
    """
    found = find_suspects(dense, vectors=vectors, neighbours=neighbours)
    given = [[c for c, is_on in zip(dense.target.classes, row > 0.5, strict=True) if is_on] for row in dense.y]
    flagged = pl.DataFrame(
        {
            "row_id": pl.Series(dense.row_ids.tolist(), dtype=pl.String),
            "target": dense.target.name,
            "suspect": found.flagged,
            "suspicion": pl.Series(found.suspicion, dtype=pl.Float32).fill_nan(None),
            "disagreement": pl.Series(found.disagreement, dtype=pl.Float32).fill_nan(None),
            "suggested": pl.Series(found.suggested, dtype=pl.List(pl.String)),
            "__suggested": pl.Series([in_words(names) for names in found.suggested], dtype=pl.String),
            "__given": pl.Series([in_words(names) for names in given], dtype=pl.String),
        }
    )
    names = [name for name in flagged.columns if name not in ("row_id", "__given", "__suggested")]
    joined = table.drop(names).join(flagged, on="row_id", how="left", maintain_order="left")
    joined = joined.with_columns(pl.col("suspect").fill_null(False))
    kinds = [
        [kind for kind in KINDS if (is_suspect if kind == "label suspect" else kind in (found or []))]
        for found, is_suspect in joined.select("findings", "suspect").iter_rows()
    ]
    joined = joined.with_columns(pl.Series("findings", kinds, dtype=AUDIT_SCHEMA["findings"]))
    text = pl.format("label suspect: given {}, looks like {}", pl.col("__given"), pl.col("__suggested"))
    before = pl.when(pl.col("note").is_null()).then(pl.lit("")).otherwise(pl.col("note") + "; ")
    joined = joined.with_columns(pl.when("suspect").then(before + text).otherwise(pl.col("note")).alias("note"))
    worst = joined.filter("suspect").sort("suspicion", descending=True, nulls_last=True)
    lines = [f"{row['row_id']} ({row['__given']}, looks like {row['__suggested']})" for row in worst.head(5).iter_rows(named=True)]
    more = f"; the worst first: {listed(lines)}. About half of such flags are correct: check the images before you decide" if lines else ""
    log(f"{len(worst)} of {plural(len(flagged), 'label')} of {dense.target.name!r} {verb(len(worst), 'is', 'are')} suspect{more}")
    return joined.select(list(AUDIT_SCHEMA))


def decisions(table: pl.DataFrame) -> dict[str, Decision]:
    """Return what is to become of the rows that are not simply kept: row id → decision.

    Raises:
        DataError: an unknown word, or a row to be relabelled whose label is blank; an empty list is none of several classes.
    """
    out: dict[str, Decision] = {}
    for row in table.select("row_id", "decision", "target", "suggested").iter_rows(named=True):
        action = row["decision"] or "keep"
        if action not in DECISIONS:
            raise DataError(
                f"the audit decides {action!r} of row {row['row_id']!r}", need=f"{listed(DECISIONS)}.{nearest(action, DECISIONS)}"
            )
        if action == "relabel" and row["suggested"] is None:
            raise DataError(f"row {row['row_id']!r} is to be relabelled, and its 'suggested' is blank", need="its new label in 'suggested'")
        if action == "relabel":
            out[row["row_id"]] = Decision(action, row["target"], tuple(row["suggested"]))
        elif action != "keep":
            out[row["row_id"]] = Decision(action)
    return out


def own_decision(row: Mapping[str, Any]) -> str:
    """Return what :func:`examine` decides of a row of its table by itself."""
    if row["status"] not in (None, "ok") and not is_absence(row["reason"]):
        return "exclude"
    return "group" if row["duplicate"] is not None and "blank" not in (row["findings"] or ()) else "keep"


def duplicates(table: pl.DataFrame) -> dict[str, str]:
    """Return row id → name of its set of duplicates, as ``split.assign_folds`` takes it; rows decided ``keep`` are in no set."""
    part = table.filter(pl.col("duplicate").is_not_null() & pl.col("decision").is_in(["group", "relabel"]))
    return dict(part.select("row_id", "duplicate").iter_rows())


def apply(manifest: Manifest, table: pl.DataFrame, log: Log) -> Manifest:
    """Return the manifest as decided: excluded training rows become ``spare``, relabelled ones get their new label.

    Test rows stay as they are; damaged rows that are not excluded have the status ``missing`` in every table. No row is dropped.

    Raises:
        UserError: a target that the manifest does not have.
        DataError: a row to be relabelled whose target is blank, where there are several; no training row is left.
    """
    decided = decisions(table)
    splits, ids = manifest.split.tolist(), manifest.row_ids
    changed: dict[str, dict[int, tuple[str, ...]]] = {}
    left_out, idle = [], []
    for row, row_id in enumerate(ids):
        decision = decided.get(row_id)
        if decision is None:
            continue
        if splits[row] not in ("train", "extra"):
            idle += [row_id] if decision.action in ("exclude", "relabel") else []
            continue
        if decision.action == "exclude":
            splits[row] = "spare"
            left_out.append(row_id)
        elif decision.action == "relabel":
            changed.setdefault(decision.target or _only_target(manifest, row_id), {})[row] = decision.labels
    for name, rows in changed.items():
        manifest = _relabelled(manifest, name, rows)
    if idle:
        log(
            "warning: exclude and relabel are for training rows alone; "
            f"{plural(len(idle), 'other row stays', 'other rows stay')} in: {listed(idle)}"
        )
    if left_out and not {"train"} & set(splits):
        raise DataError(
            f"the audit excludes all {plural(len(left_out), 'training row')}",
            need="rows to train on",
            fix="keep some in its column 'decision'",
        )
    if left_out:
        manifest = manifest.with_column("split", pl.Series(splits, dtype=pl.String))
        log(f"{plural(len(left_out), 'row is', 'rows are')} left out as the audit decided: {listed(left_out)}")
    lone = table.filter((pl.col("decision") == "group") & pl.col("duplicate").is_null())["row_id"].to_list()
    if lone:
        log(
            f"warning: {plural(len(lone), 'row is', 'rows are')} decided 'group' without a name in "
            f"'duplicate', which groups equal files alone: {listed(lone)}"
        )
    if changed:
        log(f"{plural(sum(map(len, changed.values())), 'row is', 'rows are')} relabelled as the audit decided")
    return manifest


def found_text(table: pl.DataFrame) -> str:
    """Return one line on what :func:`examine` found: how many images of each kind, the most important first."""
    counts = count_kinds([found or [] for found in table["findings"].to_list()])
    return f"audit of {plural(len(table), 'image')}: " + (", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing found")


def _kept_apart(manifest: Manifest, sets: DuplicateSets) -> str:
    """Return in words which images look alike and do not join the groups that the data give them."""
    ids, groups = manifest.row_ids, groups_kept_apart(manifest, sets)
    pairs = [f"{ids[a]} (group {groups[a]}) and {ids[b]} (group {groups[b]})" for a, b in sets.apart]
    return (
        f"{plural(len(pairs), 'pair')} of images of different groups "
        f"{verb(len(pairs), 'looks', 'look')} alike and {verb(len(pairs), 'stays', 'stay')} apart: {listed(pairs, 3)}. Where two show the "
        "same, give both one name in 'duplicate' and 'group' in 'decision' of the audit's file: --set data.audit=FILE"
    )


def _only_target(manifest: Manifest, row_id: str) -> str:
    names = [t.name for t in manifest.targets if t.name in manifest.frame.columns and t.kind != "regression" and t.expression is None]
    if len(names) != 1:
        raise DataError(f"row {row_id!r} is to be relabelled, and its 'target' is blank", need=f"one of {listed(names)}")
    return names[0]


def _relabelled(manifest: Manifest, name: str, rows: dict[int, tuple[str, ...]]) -> Manifest:
    target = manifest.target(name)
    if target.kind == "regression":
        raise UserError(f"the audit relabels {name!r}, a regression", need="a target with classes", fix="correct its values in the data")
    rows = {row: tuple(as_class(label, target.classes) for label in labels) for row, labels in rows.items()}
    unknown = sorted({label for labels in rows.values() for label in labels} - set(target.classes))
    if unknown or (target.expression is not None and name not in manifest.frame.columns):
        meant = [manifest.row_ids[row] for row, labels in rows.items() if set(labels) & set(unknown)] or [manifest.row_ids[r] for r in rows]
        raise UserError(
            f"the audit relabels {name!r} of {listed(meant)} as {listed(map(repr, unknown)) if unknown else 'a derived target'}",
            need=f"classes of it: {listed(target.classes)}",
        )
    odd = [manifest.row_ids[row] for row, labels in rows.items() if len(labels) != 1 and target.kind != "multi"]
    if odd:
        how = "several labels each" if any(len(labels) > 1 for labels in rows.values()) else "none of the classes"
        raise DataError(f"rows of {name!r} are to be relabelled with {how}: {listed(odd)}", need="one label in 'suggested'")
    cells = manifest.frame[name].to_list()
    for row, labels in rows.items():
        cells[row] = list(labels) if target.kind == "multi" else labels[0]
    return manifest.with_column(name, pl.Series(cells, dtype=manifest.frame.schema[name]))
