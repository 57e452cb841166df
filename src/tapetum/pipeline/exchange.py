"""A frozen pipeline → a folder in another format, written only where its answers to real images are the pipeline's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files
from tapetum.core.answers import labels
from tapetum.core.config import Input
from tapetum.core.errors import DataError, TapetumError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Dense, Manifest
from tapetum.learn import graphs
from tapetum.pipeline.exported import FORMAT, MARKER, Exported
from tapetum.pipeline.framed import RESAMPLING, size_of
from tapetum.pipeline.load import Member
from tapetum.pipeline.pipeline import Pipeline
from tapetum.pipeline.simple_rules import simple_rules

AGREEMENT = 0.995  # share of images whose label must be the pipeline's
CLOSE = 0.005  # of a number: part of the deviation of the pipeline's answers by which it may differ and count as the same
MOST = 500  # images that the answers are compared on
_SIMPLE = {"crop": None, "bands": (), "join": "none", "paths": "channels", "resize": "stretch"}


def export(pipeline: Pipeline, to: str, out: Path, manifest: Manifest, log: Log) -> dict[str, Any]:
    """Write a pipeline in another format, and compare its answers with the pipeline's.

    Args:
        pipeline: loaded.
        to: one of :data:`tapetum.learn.graphs.FORMATS`.
        out: the folder to write; one that is there is replaced.
        manifest: images to compare the answers on; evenly spread ones of very many.
        log: told what is done.

    Returns:
        ``{"out", "to", "files", "gate", "simple"}``: ``simple`` says why a short script cannot follow the decisions, or is None.

    Raises:
        UserError: a pipeline or a format that cannot be exported.
        EnvironmentFault: a package is not installed.
        DataError: the answers differ; then nothing is written.
    """
    graphs.check_format(to)
    check(pipeline)
    rows = np.unique(np.linspace(0, len(manifest) - 1, min(len(manifest), MOST)).round().astype(int))
    manifest = manifest.where(rows)
    with files.whole_folder(out) as aside:
        members = [_write_member(aside, one, to, log) for one in pipeline.members]
        simple, why = _simple(pipeline)
        spec = {
            "format": FORMAT,
            "to": to,
            **{key: pipeline.spec[key] for key in ("targets", "sources", "data", "manifest_hash", "recipe_hash")},
            "members": members,
            "rules": simple,
            "decisions": pipeline.decisions,
        }
        files.write_json(aside / MARKER, spec)
        log(f"comparing answers to {len(manifest):,} images")
        found = Exported.load(aside)
        gate = compare(pipeline.answer(manifest, log), found.answer(manifest))
        files.write_json(aside / MARKER, {**spec, "gate": gate})
        if (pipeline.folder / "README.md").exists():
            files.copy(pipeline.folder / "README.md", aside / "README.md")
    return {"out": str(out), "to": to, "files": [name for one in members for name in one["files"]], "gate": gate, "simple": why}


def check(pipeline: Pipeline) -> None:
    """Refuse pipelines that a graph cannot hold.

    Raises:
        UserError: says which part.
    """
    if pipeline.galleries:
        raise UserError("the pipeline looks up neighbors among training images, which an exported graph does not", need="no retrieval step")
    for member in pipeline.members:
        if member.sequence.length > 1:
            what = f"member {member.name!r} answers sequences of {member.sequence.length} images, which an exported graph does not"
            raise UserError(what, need="members that answer single images", fix="predict with the pipeline itself: tapetum predict")
        if member.settings.paths == "views" or (member.settings.bands and member.settings.bands_as == "views"):
            raise UserError(
                f"member {member.name!r} takes several views of a row, which an exported graph does not", need="one image a row"
            )
        size_of(member.settings)


def compare(ours: Mapping[str, Dense], theirs: Mapping[str, Dense]) -> dict[str, Any]:
    """Return how far two answers to the same rows agree.

    Returns:
        ``{"images", "targets": {target: {"agreement", "largest_difference"}}}``

    Raises:
        DataError: rows that only one could read, no row, or a target below :data:`AGREEMENT`.
    """
    out: dict[str, Any] = {}
    for name, mine in ours.items():
        other = theirs[name]
        if not np.array_equal(mine.ok, other.ok):
            odd = mine.row_ids[np.flatnonzero(mine.ok != other.ok)].tolist()
            raise DataError(
                f"images were answered by one of the pipeline and the export only: {listed(odd, 3)}", fix="repair or remove them"
            )
        if not mine.ok.any():
            raise DataError("not one image to compare the answers on can be read", fix="give images that can: --images DIR")
        p, q = mine.p[mine.ok], other.p[mine.ok]
        if mine.target.kind == "regression":
            same = np.abs(p - q)[:, 0] <= CLOSE * max(float(p.std()), 1e-6)
        else:
            pairs = zip(labels(mine), labels(other), mine.ok, strict=True)
            same = np.array([a == b for a, b, ok in pairs if ok])
        out[name] = {"agreement": float(same.mean()), "largest_difference": float(np.abs(p - q).max())}
    low = [
        f"{name}: {one['agreement']:.2%} of the labels agree, largest difference {one['largest_difference']:.2g}"
        for name, one in out.items()
        if one["agreement"] < AGREEMENT
    ]
    if low:
        raise DataError(
            f"the exported answers are not the pipeline's ({listed(low)}); nothing was written", need=f"{AGREEMENT:.1%} of the labels"
        )
    first = next(iter(ours.values()))
    return {"images": int(first.ok.sum()), "targets": out}


def _write_member(folder: Path, member: Member, to: str, log: Log) -> dict[str, Any]:
    """Write one member; return its part of ``ensemble.json``."""
    log(f"writing member {member.name} ({len(member.networks)} networks) as {to}")
    networks, scalings = list(member.networks.values()), list(member.scalings.values())
    graph = graphs.Graph(networks, scalings, member.predict, shared=member.shared)
    height, width = size_of(member.settings)
    name = files.plain_name(member.name)
    try:
        written = graphs.write(graph, to, folder, name, (member.form.channels, height, width), member.form.dtype)
    except TapetumError:
        raise
    except Exception as error:  # exporters raise whatever they stumble over
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"member {member.name!r} cannot be written as {to} ({first[:200]})", fix="try another format") from error
    return {
        "name": member.name,
        "files": {one: files.sha256(folder / one) for one in written},
        "targets": list(graph.targets),
        "folds": list(member.networks),
        "side": list(graph.names),
        "input": member.settings.model_dump(mode="json"),
        "form": member.form.to_dict(),
        "size": [height, width],
        "resampling": int(RESAMPLING[member.settings.interpolation]),
    }


def _simple(pipeline: Pipeline) -> tuple[dict[str, Any] | None, str | None]:
    """Return the decisions in simple words, or why there are none."""
    try:
        for member in pipeline.members:
            _check_simple(member.name, member.settings, member.form.dtype, [s for s in member.scalings.values() if s])
        return simple_rules(pipeline.decisions, pipeline.scored), None
    except UserError as error:
        return None, error.what


def _check_simple(name: str, settings: Input, dtype: str, scalings: Sequence[Any]) -> None:
    odd = [key for key, value in _SIMPLE.items() if getattr(settings, key) != value]
    if odd:
        raise UserError(f"member {name!r} has input.{odd[0]} = {getattr(settings, odd[0])!r}")
    if dtype != "uint8":
        raise UserError(f"member {name!r} takes images of more than 8 bits")
    if scalings:
        raise UserError(f"member {name!r} takes side numbers")
