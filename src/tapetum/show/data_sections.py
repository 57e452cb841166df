"""What the run was given: rows by split, images of each class, sizes of images, a few samples, and what the audit found."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from tapetum.core import draws
from tapetum.core.folds import count_groups
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target, decode
from tapetum.show import figures
from tapetum.show.run_files import RunFiles
from tapetum.show.thumbnails import Thumbnails

MOST_BAD_FILES = 100
MOST_CLASSES = 40  # with a bar of their own
MOST_SIZES = 6
SAMPLES = 16
MOST_DRAWN = 20_000  # rows among which samples are drawn
SUSPECTS = 12  # with their images
SPLITS = {"train": "train and score", "extra": "train only", "test": "predicted, never chosen on", "spare": "left out"}


def overview(found: RunFiles, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """Return what the data are; None without a manifest."""
    manifest = found.manifest
    if manifest is None:
        return None
    targets = [t for t in found.targets if t.kind != "regression" and t.expression is None]
    judged = np.ones(len(manifest), dtype=bool) if found.is_evaluation else manifest.split == "train"
    return {
        "splits": _splits(manifest, found.is_evaluation),
        "classes": [_classes(manifest, target, judged) for target in targets],
        "judged": "images" if found.is_evaluation else "train",
        "sizes": _sizes(found.audit),
        "samples": _samples(manifest, targets[0] if targets else None, judged, thumbnails),
    }


def bad_files(found: RunFiles) -> dict[str, Any] | None:
    """Return the image files that cannot be used, each with the reason."""
    if found.audit is None or "status" not in found.audit.columns:
        return None
    bad = found.audit.filter(pl.col("status") != "ok")
    names = [name for name in ("row_id", "status", "reason") if name in bad.columns]
    lines = bad.select(names).head(MOST_BAD_FILES).to_dicts()
    return {"checked": len(found.audit), "bad": len(bad), "lines": lines, "more": max(len(bad) - MOST_BAD_FILES, 0)}


def findings(found: RunFiles) -> list[tuple[str, int]]:
    """Return how many images have each kind of finding of the audit, the most frequent first; empty where none was made."""
    if found.audit is None or "findings" not in found.audit.columns:
        return []
    counted = found.audit["findings"].explode().drop_nulls().value_counts().sort(["count", "findings"], descending=[True, False])
    return [(str(kind), int(n)) for kind, n in counted.iter_rows()]


def suspects(found: RunFiles, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """Return the labels that an audit finds suspect, the worst first, the first few with their images; None where none were judged."""
    if found.audit is None or "suspect" not in found.audit.columns or not found.audit["suspicion"].count():
        return None
    flagged = found.audit.filter(pl.col("suspect").fill_null(False)).sort("suspicion", descending=True, nulls_last=True)
    lines = flagged.select("row_id", "note", "suggested").head(MOST_BAD_FILES).to_dicts()
    for line in lines[:SUSPECTS]:
        line["image"], line["absent"] = thumbnails(str(line["row_id"]))
    return {
        "judged": found.audit["suspicion"].count(),
        "n": len(flagged),
        "cards": lines[:SUSPECTS],
        "lines": lines,
        "more": max(len(flagged) - MOST_BAD_FILES, 0),
    }


def _splits(manifest: Manifest, evaluated: bool) -> list[dict[str, Any]]:
    split, groups = manifest.split, manifest.groups
    sequences = manifest.frame["sequence"].to_numpy() if "sequence" in manifest.frame.columns else None
    out = []
    for name, what in SPLITS.items():
        rows = split == name
        if rows.any():
            many = None if sequences is None else len({s for s in sequences[rows] if s is not None})
            out.append(
                {
                    "split": "images" if evaluated and (split == "train").all() else name,  # a split that nobody named
                    "what": "evaluated" if evaluated else what,
                    "rows": int(rows.sum()),
                    "groups": count_groups(groups[rows]),
                    "sequences": many,
                }
            )
    return out


def _classes(manifest: Manifest, target: Target, judged: np.ndarray) -> dict[str, Any]:
    """Return how many images each class of a target has, the most frequent first, as one bar each: those that score, and others."""
    has = np.nan_to_num(manifest.truth(target.name)) > 0.5
    scored, other = has[judged].sum(axis=0), has[~judged].sum(axis=0)
    order = sorted(range(len(target.classes)), key=lambda k: (-int(scored[k] + other[k]), k)) if target.kind != "ordinal" else None
    places = list(range(len(target.classes))) if order is None else order
    most = float(max((scored + other).max(initial=1), 1))
    lines: list[dict[str, Any]] = [
        {
            "class": target.classes[k],
            "scored": int(scored[k]),
            "other": int(other[k]),
            "bar": figures.stacked([("found", float(scored[k])), ("missed", float(other[k]))], most),
        }
        for k in places
    ]
    rest = lines[MOST_CLASSES:]
    return {
        "target": target.name,
        "lines": lines[:MOST_CLASSES],
        "other": bool(other.sum()),
        "more": {"n": len(rest), "least": min(one["scored"] for one in rest), "most": max(one["scored"] for one in rest)} if rest else None,
        "blank": int(np.isnan(manifest.truth(target.name)).any(axis=1).sum()),
    }


def _sizes(audit: pl.DataFrame | None) -> dict[str, Any] | None:
    """Return the sizes of the images that can be read: the most frequent ones, and the range."""
    if audit is None or not {"height", "width", "channels"} <= set(audit.columns):
        return None
    known = audit.filter(pl.col("height").is_not_null() & pl.col("width").is_not_null())
    if not len(known):
        return None
    by_size = (
        known.group_by("width", "height", "channels")
        .len()
        .sort(["len", "width", "height", "channels"], descending=[True, False, False, False])
    )
    ends = {name: (int(known[name].min()), int(known[name].max())) for name in ("width", "height")}  # type: ignore[arg-type]
    return {"lines": by_size.head(MOST_SIZES).to_dicts(), "more": max(len(by_size) - MOST_SIZES, 0), "ends": ends}


def _samples(manifest: Manifest, target: Target | None, judged: np.ndarray, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Return some of the images that score, drawn in proportion to the classes; the same ones every time."""
    ids = manifest.row_ids
    rows = np.flatnonzero(judged)
    rows = rows[draws.evenly(len(rows), MOST_DRAWN)] if len(rows) else rows
    if not len(rows):
        return []
    labels = [""] * len(ids)
    if target is not None:
        cells = decode(target, manifest.truth(target.name))
        labels = ["" if c is None else ", ".join(map(str, c)) if isinstance(c, list) else str(c) for c in cells]
    names = [ids[r] for r in rows]
    drawn = draws.in_proportion([labels[r] for r in rows], names, min(SAMPLES, len(rows)), "samples of a report")
    out = []
    for place in drawn:
        image, reason = thumbnails.small(names[place])
        out.append({"row_id": names[place], "label": labels[rows[place]], "image": image, "reason": reason})
    return sorted(out, key=lambda one: one["label"])
