"""An ONNX export with 8-bit weights and activations, written only where its answers to out-of-fold rows are nearly as good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import draws, files
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.metrics import default_metric, named, score
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.learn import graphs
from tapetum.pipeline.exported import BATCH, MARKER, Exported, Member

BOUND = 0.01  # of the metric's range that 8 bits may lose on out-of-fold rows; of an error without bounds: this share of it
SAMPLE = 100  # training images by which the ranges of activations are measured
MOST = 2000  # out-of-fold rows that are answered, at most
OPERATORS = ["Conv", "Gemm", "MatMul"]


def check(to: str, exported_folds: Mapping[str, list[int]]) -> None:
    """Refuse what cannot be quantised, or has no out-of-fold rows to be judged on.

    Args:
        to: the format.
        exported_folds: member → folds of its networks; −1 is one trained on all rows.

    Raises:
        UserError: says which.
    """
    if to != "onnx":
        raise UserError(f"--int8 was given with --to {to}", need="--to onnx", fix="leave one of them out")
    whole = [name for name, folds in exported_folds.items() if min(folds) < 0]
    if whole:
        what = f"member {whole[0]!r} was trained on all rows, so that none is left to measure what 8 bits lose"
        raise UserError(what, need="networks of folds", fix="leave --int8 out, or fit with decide.pipeline = 'folds'")


def quantise(folder: Path, manifest: Manifest, log: Log) -> dict[str, Any]:
    """Turn the files of an export into 8-bit ones.

    Args:
        folder: of an ONNX export; its files are replaced.
        manifest: the rows of the run, with folds and labels.
        log: told what is done.

    Returns:
        ``{"bound", "rows", "members": {member: {target: {"metric", "float", "int8", "loss"}}}, "summary"}``.

    Raises:
        DataError: 8 bits lose more than :data:`BOUND`.
    """
    rows = np.flatnonzero((manifest.split == "train") & (manifest.fold >= 0))
    rows = rows[draws.evenly(len(rows), MOST)]
    held = manifest.where(rows)
    whole = Exported.load(folder)
    before = _scores(whole, held)
    written = {}
    for member in whole.members:
        log(f"writing member {member.spec['name']} in 8 bits")
        (name,) = member.spec["files"]
        _write(folder / name, member, whole, held)
        written[name] = files.sha256(folder / name)
    spec = files.read_json(folder / MARKER)
    members = [{**one, "files": {name: written[name] for name in one["files"]}} for one in spec["members"]]
    files.write_json(folder / MARKER, {**spec, "members": members})
    after = _scores(Exported.load(folder), held)
    found = {m: {t: _lost(t, whole, before[m][t], after[m][t]) for t in before[m]} for m in before}
    lost = {"bound": BOUND, "rows": len(rows), "members": refused_beyond_bound(found, len(rows))}
    worst = max(one["loss"] for of_targets in found.values() for one in of_targets.values())
    fall = f"fall by {max(worst, 0):.4f} at most (bound {BOUND:g})"
    lost["summary"] = f"in 8 bits the metrics of {len(rows):,} out-of-fold rows {fall}"
    files.write_json(folder / MARKER, {**spec, "members": members, "int8": lost})
    return lost


def refused_beyond_bound(found: dict[str, dict[str, dict[str, Any]]], rows: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what 8 bits lose, where that is under the bound everywhere.

    Raises:
        DataError: names each figure that is not.
    """
    high = [
        f"{member}, {target}: {one['metric']} {one['float']:.4f} becomes {one['int8']:.4f}"
        for member, of_targets in found.items()
        for target, one in of_targets.items()
        if not one["loss"] <= BOUND
    ]
    if high:
        what = f"in 8 bits the answers to {rows:,} out-of-fold rows are worse by more than {BOUND:g} ({listed(high)}); nothing was written"
        raise DataError(what, need=f"a loss of {BOUND:g} at most", fix="leave --int8 out")
    return found


def _lost(target: str, exported: Exported, before: float, after: float) -> dict[str, Any]:
    metric = named(default_metric(exported.targets[target]), exported.targets[target])
    lost = metric.sign * (before - after)
    bounded = np.isfinite(metric.limits).all() and metric.greater_is_better
    return {"metric": metric.name, "float": before, "int8": after, "loss": lost if bounded else lost / max(abs(before), 1e-9)}


def _scores(exported: Exported, held: Manifest) -> dict[str, dict[str, float]]:
    """Return member → target → its default metric on rows that each network held out."""
    found: dict[str, dict[str, float]] = {}
    for name, by_fold in exported.by_member(held).items():
        for target in next(iter(by_fold.values())):
            kind = exported.targets[target]
            if not kind.scored:
                continue
            p, y = np.full((len(held), kind.width), np.nan, dtype=np.float32), held.truth(target)
            for fold, of_targets in by_fold.items():
                own = held.fold == fold
                p[own] = of_targets[target].p[own]
            know = ~np.isnan(p).any(axis=1) & ~np.isnan(y).any(axis=1)
            value = score(default_metric(kind), kind, p[know], y[know]) if know.any() else None
            found.setdefault(name, {})[target] = float("nan") if value is None else value
    return found


def _write(place: Path, member: Member, exported: Exported, held: Manifest) -> None:
    """Replace a graph by its 8-bit form, the ranges of activations measured on some images."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    rows = draws.evenly(len(held), SAMPLE).tolist()

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(_inputs(member, exported, held, rows))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    with files.whole(place) as aside, graphs.quiet():
        quantize_static(place, aside, Images(), QuantFormat.QDQ, OPERATORS, per_channel=True, **kinds)


def _inputs(member: Member, exported: Exported, held: Manifest, rows: list[int]) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(rows), BATCH):
        arrays = exported.inputs(member, held, rows[start : start + BATCH])
        if arrays:
            yield dict(zip(("image", "side"), arrays, strict=False))
