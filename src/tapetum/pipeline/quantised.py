"""An ONNX export with 8-bit weights and activations, written only where its answers to out-of-fold rows are nearly as good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import draws, files
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.metrics import default_metric, named, score
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.words import plural
from tapetum.learn import graphs
from tapetum.pipeline.exported import BATCH, MARKER, Exported, Member, write_spec

BOUND = 0.01  # of the metric's range that 8 bits may lose on out-of-fold rows; of an error without bounds: this share of it
SAMPLE = 100  # training images by which the ranges of activations are measured
MOST = 2000  # out-of-fold rows that are answered, at most
OPERATORS = ["Conv", "Gemm", "MatMul"]
KEPT = ("the first layer", "the first layer and depthwise convolutions")  # what stays in 32 bits; the second, where the first loses much


def check(to: str, exported_folds: Mapping[str, list[int]], over_sequences: Sequence[str] = ()) -> None:
    """Refuse what cannot be quantised, or has no out-of-fold rows to be judged on.

    Args:
        to: the format.
        exported_folds: member → folds of its networks; −1 is one trained on all rows.
        over_sequences: members that answer sequences.

    Raises:
        UserError: says which.
    """
    if to != "onnx":
        raise UserError(f"--int8 was given with --to {to}", need="--to onnx", fix="leave one of them out")
    if over_sequences:
        what = f"member {over_sequences[0]!r} answers sequences, which 8 bits are not written for"
        raise UserError(what, need="members that answer single images", fix="leave --int8 out")
    whole = [name for name, folds in exported_folds.items() if min(folds) < 0]
    if whole:
        what = f"member {whole[0]!r} was trained on all rows, so that none is left to measure what 8 bits lose"
        raise UserError(what, need="networks of folds", fix="leave out --int8, or fit with decide.pipeline = 'folds'")


def quantise(folder: Path, manifest: Manifest, log: Log) -> dict[str, Any]:
    """Turn the files of an export into 8-bit ones: as few layers as :data:`KEPT` tells stay in 32 bits.

    Args:
        folder: of an ONNX export; its files are replaced.
        manifest: the rows of the run, with folds and labels.
        log: told what is done.

    Returns:
        ``{"bound", "rows", "kept", "members": {member: {target: {"metric", "float", "int8", "loss"}}}, "summary"}``; ``kept`` says what
        stays in 32 bits.

    Raises:
        DataError: 8 bits lose more than :data:`BOUND`.
    """
    rows = np.flatnonzero((manifest.split == "train") & (manifest.fold >= 0))
    rows = rows[draws.evenly(len(rows), MOST)]
    held = manifest.where(rows)
    whole, spec = Exported.load(folder), files.read_json(folder / MARKER)
    before, lost = _scores(whole, held), {}
    originals = {name: (folder / name).read_bytes() for member in whole.members for name in member.spec["files"]}
    some = {member.spec["name"]: list(inputs(whole, member, held)) for member in whole.members}
    for kept in KEPT:
        written = {}
        for member in whole.members:
            log(f"writing member {member.spec['name']} in 8 bits, {kept} in 32")
            (name,) = member.spec["files"]
            write_8_bits(originals[name], folder / name, some[member.spec["name"]], kept)
            written[name] = files.sha256(folder / name)
        members = [{**one, "files": {name: written[name] for name in one["files"]}} for one in spec["members"]]
        write_spec(folder, {**spec, "members": members})
        after = _scores(Exported.load(folder), held)
        found = {m: {t: _lost(t, whole, before[m][t], after[m][t]) for t in before[m]} for m in before}
        lost = {"bound": BOUND, "rows": len(rows), "kept": kept, "members": found}
        if not _beyond(found):
            break
    check_losses(found, len(rows))
    worst = max(one["loss"] for of_targets in found.values() for one in of_targets.values())
    fall = f"fall by {max(worst, 0):.4f} at most (bound {BOUND:g})"
    lost["summary"] = f"in 8 bits, {kept} in 32, the metrics of {plural(len(rows), 'out-of-fold row')} {fall}"
    write_spec(folder, {**spec, "members": members, "int8": lost})
    return lost


def _beyond(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Return the figures that fall by more than the bound, in words."""
    return [
        f"{member}, {target}: {one['metric']} {one['float']:.4f} becomes {one['int8']:.4f}"
        for member, of_targets in found.items()
        for target, one in of_targets.items()
        if not one["loss"] <= BOUND
    ]


def check_losses(found: Mapping[str, Mapping[str, Mapping[str, Any]]], rows: int) -> None:
    """Refuse what 8 bits lose, where that is beyond the bound.

    Raises:
        DataError: names each figure that is not.
    """
    if high := _beyond(found):
        what = (
            "in 8 bits the answers to "
            f"{plural(rows, 'out-of-fold row is', 'out-of-fold rows are')} worse by more than "
            f"{BOUND:g} ({listed(high)}); nothing was written"
        )
        raise DataError(what, need=f"a loss of {BOUND:g} at most", fix="leave out --int8")


def _lost(target: str, exported: Exported, before: float, after: float) -> dict[str, Any]:
    metric = named(default_metric(exported.targets[target]), exported.targets[target])
    lost = metric.sign * (before - after)
    bounded = np.isfinite(metric.limits).all() and metric.greater_is_better
    return {"metric": metric.name, "float": before, "int8": after, "loss": lost if bounded else lost / max(abs(before), 1e-9)}


def _scores(exported: Exported, held: Manifest) -> dict[str, dict[str, float]]:
    """Return member → target → its default metric on rows that each network held out, by their weights."""
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
            value = score(default_metric(kind), kind, p[know], y[know], held.weight[know]) if know.any() else None
            found.setdefault(name, {})[target] = float("nan") if value is None else value
    return found


def write_8_bits(model: bytes, place: Path, images: Sequence[dict[str, np.ndarray]], kept: str, **how: Any) -> None:
    """Write a graph in its 8-bit form.

    Args:
        model: the graph in 32 bits.
        place: the file.
        images: batches by which the ranges of activations are measured.
        kept: one of :data:`KEPT`, or nothing.
        how: further arguments of ONNX Runtime's ``quantize_static``.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    graph = onnx.load_from_string(model)
    given = {"nodes_to_exclude": _names(graph.graph, kept), "per_channel": True, **how}
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    with files.whole(place) as aside, graphs.quiet():
        quantize_static(graph, aside, Images(), QuantFormat.QDQ, OPERATORS, **kinds, **given)


def _names(graph: Any, kept: str) -> list[str]:
    """Return the names of the convolutions that stay in 32 bits: those that see images, and with depthwise layers those too."""
    if not kept:
        return []
    behind, first = {graph.input[0].name}, []
    for node in graph.node:
        if behind & set(node.input):
            if node.op_type in OPERATORS:
                first.append(node.name)
            elif node.op_type != "Shape":
                behind |= set(node.output)
    deep = [node.name for node in graph.node if any(one.name == "group" and one.i > 1 for one in node.attribute)]
    return [*first, *(deep if kept == KEPT[1] else [])]


def inputs(exported: Exported, member: Member, held: Manifest) -> Iterator[dict[str, np.ndarray]]:
    """Yield batches of images (and side numbers) as a member takes them, evenly spread over some rows."""
    rows = draws.evenly(len(held), SAMPLE).tolist()
    for start in range(0, len(rows), BATCH):
        arrays = exported.inputs(member, held, rows[start : start + BATCH])
        if arrays:
            yield dict(zip(("image", "side"), arrays, strict=False))
