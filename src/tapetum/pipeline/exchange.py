"""A frozen pipeline → a folder in another format, written only where its answers to real images are the pipeline's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tapetum.core import draws, files, known, processors
from tapetum.core.agreement import AGREEMENT, agreement
from tapetum.core.config import Input
from tapetum.core.errors import DataError, TapetumError, UserError, first_line, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Dense, Manifest
from tapetum.core.words import plural
from tapetum.learn import graphs, sequence_graphs
from tapetum.learn.models.sequence import SequenceNetwork
from tapetum.pipeline import fastest, merged, quantised
from tapetum.pipeline.export import exported_card
from tapetum.pipeline.exported import FORMAT, Exported, write_spec
from tapetum.pipeline.framed import RESAMPLING, size_of
from tapetum.pipeline.load import Member
from tapetum.pipeline.pipeline import Pipeline
from tapetum.pipeline.simple_rules import simple_rules

MOST = 500  # images that the answers are compared on
_SIMPLE = {"crop": None, "bands": (), "join": "none", "paths": "channels", "resize": "stretch", "decode": "whole"}


def export(pipeline: Pipeline, to: str, out: Path, manifest: Manifest, log: Log, *, heldout: Manifest | None = None) -> dict[str, Any]:
    """Write a pipeline in another format, and compare its answers with the pipeline's, which torch computes in 32 bits.

    Args:
        pipeline: loaded.
        to: one of :data:`tapetum.learn.graphs.FORMATS`.
        out: the folder to write; one that is there is replaced.
        manifest: images to compare the answers on; evenly spread ones of very many.
        log: told what is done.
        heldout: write 8-bit files, where the answers to the out-of-fold rows of this manifest (the run's) stay nearly as good.

    Returns:
        ``{"out", "to", "files", "gate", "simple"}``, and ``int8`` with ``heldout``: ``simple`` says why a short script cannot follow the
        decisions, or is None.

    Raises:
        UserError: a pipeline or a format that cannot be exported.
        EnvironmentFault: a package is not installed.
        DataError: the answers differ; then nothing is written.
    """
    graphs.check_format(to)
    check(pipeline)
    if heldout is not None:
        over = [one.name for one in pipeline.members if one.sequence.length > 1]
        quantised.check(to, {one.name: list(one.networks) for one in pipeline.members}, over)
    rows = draws.evenly(len(manifest), MOST)
    manifest = manifest.where(rows)
    with files.whole_folder(out) as aside:
        if (pipeline.folder / known.FILE).exists():
            files.copy(pipeline.folder / known.FILE, aside / known.FILE)
        simple, why = _simple(pipeline)
        log(f"comparing answers to {plural(len(manifest), 'image')}")
        ours = fastest.reference(pipeline).answer(manifest, log)
        spec = None
        if len(pipeline.members) > 1 and heldout is None:
            spec = _as_one(pipeline, aside, to, simple, (ours, manifest), log)
        if spec is None:
            spec = _as_members(pipeline, aside, to, simple, log)
            spec["gate"] = compare(ours, Exported.load(aside).answer(manifest))
        write_spec(aside, {**spec, "bf16": True})
        if to == "openvino" and processors.has_bf16() and all(one.engine.precision == "bf16" for one in pipeline.members):
            half = agreement(ours, Exported.load(aside).answer(manifest))
            log(f"in bf16 {half.summary()}" + ("; it is used where the processor has it" if not half.low else "; 32 bits are used"))
            spec |= {} if half.low else {"bf16": half.to_dict()}
        write_spec(aside, spec)
        lost = {} if heldout is None else {"int8": quantised.quantise(aside, heldout, log)}
        _write_beside(pipeline, aside, lost["int8"]["summary"] if lost else "")
    written = [name for one in spec["members"] for name in one["files"]]
    return {"out": str(out), "to": to, "files": written, "gate": spec["gate"], "simple": why, **lost}


def _as_members(pipeline: Pipeline, folder: Path, to: str, simple: dict[str, Any] | None, log: Log) -> dict[str, Any]:
    """Write a file for each member, and what describes them; return that."""
    members = [_write_member(folder, one, to, log) for one in pipeline.members]
    spec = {**_described(pipeline, to), "members": members, "rules": simple, "decisions": pipeline.decisions}
    write_spec(folder, spec)
    return spec


def _as_one(
    pipeline: Pipeline, folder: Path, to: str, simple: dict[str, Any] | None, compared: tuple[Mapping[str, Dense], Manifest], log: Log
) -> dict[str, Any] | None:
    """Write all members as one file, where its answers are the pipeline's; return what describes it, or None, which is logged.

    Args:
        pipeline: of several members.
        folder: to write to.
        to: the format.
        simple: ``rules``, where decisions are as simple as that.
        compared: the pipeline's answers, and the rows that they are for.
        log: told why there is a file for each member.
    """
    why = merged.why_apart(pipeline.members, simple)
    if not why and simple is not None:
        log(f"writing {plural(len(pipeline.members), 'member')} as one file")
        parts = {one.name: _graph_of(one) for one in pipeline.members}
        folds = {one.name: list(one.networks) for one in pipeline.members}
        graph = merged.Ensemble(parts, folds, simple, pipeline.scored)
        first = pipeline.members[0]
        member = {**_written(folder, [(graph, [_image_of(first)])], first, to, merged.NAME), "name": merged.NAME, "folds": [-1]}
        of = [{"name": one.name, "folds": folds[one.name]} for one in pipeline.members]
        after = {"rules": merged.merged_rules(simple), "decisions": merged.merged_decisions(pipeline.decisions)}
        spec = {**_described(pipeline, to), "members": [member], "merged": of, **after}
        write_spec(folder, spec)
        ours, manifest = compared
        found = agreement(ours, Exported.load(folder).answer(manifest), "the export")
        if not found.low:
            return {**spec, "gate": found.to_dict()}
        why = f"one file answers otherwise ({listed(found.low)})"
        for name in member["files"]:
            files.remove(folder / name)
    log(f"a file for each member: {why}")
    return None


def _described(pipeline: Pipeline, to: str) -> dict[str, Any]:
    """Return what an export says of its pipeline."""
    of_pipeline = {key: pipeline.spec[key] for key in ("targets", "sources", "data", "manifest_hash", "recipe_hash")}
    images = pipeline.folder / known.FILE
    return {"format": FORMAT, "to": to, **of_pipeline, "known": files.sha256(images) if images.exists() else None}


def _write_beside(pipeline: Pipeline, folder: Path, note: str) -> None:
    """Write what an export holds of the pipeline besides: its model card, and its backbone as timm reads it.

    A backbone stands there where all networks share one, without the heads: those work on vectors of unit length, as no timm model does.

    Args:
        pipeline: that was exported.
        folder: of the export.
        note: a sentence for the card; nothing where there is none.
    """
    card = pipeline.folder / "README.md"
    if card.exists():
        files.write_text(folder / card.name, exported_card(files.read_text(card), note))
    backbones = list((pipeline.folder / "backbones").glob("*"))
    if len(backbones) == 1:
        for name in ("config.json", "model.safetensors"):
            files.copy(backbones[0] / name, folder / name)


def check(pipeline: Pipeline) -> None:
    """Refuse pipelines that a graph cannot hold.

    Raises:
        UserError: says which part.
    """
    if pipeline.galleries:
        raise UserError("the pipeline looks up neighbors among training images, which an exported graph does not", need="no retrieval step")
    for member in pipeline.members:
        if member.settings.paths == "views" or (member.settings.bands and member.settings.bands_as == "views"):
            raise UserError(
                f"member {member.name!r} takes several views of a row, which an exported graph does not", need="one image a row"
            )
        size_of(member.settings)


def compare(ours: Mapping[str, Dense], theirs: Mapping[str, Dense]) -> dict[str, Any]:
    """Return how far an export's answers to the same rows agree with the pipeline's, as :class:`tapetum.core.agreement.Agreement`.

    Raises:
        DataError: rows that only one could read, no row, or a target below :data:`tapetum.core.agreement.AGREEMENT`.
    """
    found = agreement(ours, theirs, "the export")
    if found.low:
        what = f"the exported answers are not those of the pipeline in 32 bits ({listed(found.low)}); nothing was written"
        raise DataError(what, need=f"{AGREEMENT:.1%} of the labels of each target", fix="try another format with --to")
    return found.to_dict()


def _graph_of(member: Member) -> graphs.Graph:
    return graphs.Graph(list(member.networks.values()), list(member.scalings.values()), member.predict, shared=member.shared)


def _write_member(folder: Path, member: Member, to: str, log: Log) -> dict[str, Any]:
    """Write one member; return its part of ``ensemble.json``."""
    log(f"writing member {member.name} ({plural(len(member.networks), 'network')}) as {to}")
    parts, more = [(_graph_of(member), [_image_of(member)])] if member.sequence.length == 1 else _over_sequences(member), {}
    if member.sequence.length > 1:
        more["sequence"] = {**member.sequence.model_dump(mode="json"), "step": member.step}
    return {**_written(folder, parts, member, to, member.name), "name": member.name, "folds": list(member.networks), **more}


def _image_of(member: Member, *before: int) -> Tensor:
    """Return two images as a member sees them, or two windows of them, to trace a graph with."""
    return graphs.example((*before, member.form.channels, *size_of(member.settings)), member.form.dtype)


def _over_sequences(member: Member) -> list[tuple[graphs.Written, list[Tensor]]]:
    """Return the graphs of a member over sequences, in the order in which they answer, each with two rows of what it takes."""
    networks, length = [one for one in member.networks.values() if isinstance(one, SequenceNetwork)], member.sequence.length
    over = sequence_graphs.WindowGraph(networks, list(member.scalings.values()))
    rows = (2, length) if member.sequence.target == "all" else (2,)
    more = [torch.ones((2, length), dtype=torch.bool), *([torch.zeros((*rows, len(over.names)))] if over.names else [])]
    if networks[0].joined is not None:
        return [(over, [_image_of(member, length), *more])]
    steps, image = sequence_graphs.StepGraph(networks[:1] if member.shared else networks), _image_of(member)
    with torch.inference_mode():
        vectors = steps(image)[0]
    return [(steps, [image]), (over, [torch.zeros((2, length, *vectors.shape[1:])), *more])]


def _written(folder: Path, parts: Sequence[tuple[graphs.Written, Sequence[Tensor]]], member: Member, to: str, named: str) -> dict[str, Any]:
    """Write graphs whose images are those of a member; return what ``ensemble.json`` says of it.

    Args:
        folder: to write to.
        parts: graphs in the order in which they answer, each with two rows of what it takes; the last gives the answers.
        member: whose images they take.
        to: the format.
        named: what it is called.
    """
    height, width = size_of(member.settings)
    name, graph = files.plain_name(named), parts[-1][0]
    names = [name] if len(parts) == 1 else [f"{name}-images", f"{name}-windows"]
    try:
        opened = [graphs.write(part, to, folder, one, given) for one, (part, given) in zip(names, parts, strict=True)]
    except TapetumError:
        raise
    except Exception as error:  # exporters raise whatever they stumble over
        first = first_line(error, named=True)
        raise UserError(f"member {named!r} cannot be written as {to} ({first[:200]})", fix="try another format") from error
    return {
        "files": {one: files.sha256(folder / one) for written in opened for one in written},
        "opens": [written[0] for written in opened],
        "targets": list(graph.targets),
        "side": list(graph.names),
        "input": member.settings.model_dump(mode="json"),
        "form": member.form.to_dict(),
        "size": [height, width],
        "resampling": int(RESAMPLING[member.settings.interpolation]),
    }


def _simple(pipeline: Pipeline) -> tuple[dict[str, Any] | None, str | None]:
    """Return the decisions in simple words, or why there are none."""
    try:
        for member in sorted(pipeline.members, key=lambda one: one.sequence.length, reverse=True):
            if member.sequence.length > 1:
                raise UserError(f"member {member.name!r} answers sequences")
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
