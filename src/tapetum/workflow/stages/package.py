"""A finished run → the frozen pipeline: only what the decisions need, in a folder that is whole or absent."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tapetum.core import files
from tapetum.core.config import Model, Predict, Recipe, SequenceConfig
from tapetum.core.known import write_known
from tapetum.core.runs import PROBE
from tapetum.core.tables import Manifest
from tapetum.learn import models, window_rows
from tapetum.learn.side import Scaling
from tapetum.learn.training.keep import Keeper
from tapetum.pipeline import export
from tapetum.pipeline.export import FORMAT, MARKER
from tapetum.pipeline.frozen import written_files
from tapetum.workflow.session import Session
from tapetum.workflow.stages.networks import (
    network_at,
    probe_input,
    probe_model,
    probe_networks,
    probe_scaling,
    probe_targets,
    probe_views,
    whole_network,
)
from tapetum.workflow.stages.retrieval import Shipped

_OWN_DATA = {"targets": (), "test": (), "extra": (), "join": (), "pseudo": None}  # of training alone: prediction goes without


def freeze(
    session: Session,
    decisions: dict[str, Any],
    sources: Mapping[str, str],
    ships: Mapping[str, Sequence[int]],
    galleries: Sequence[Shipped] = (),
) -> Path:
    """Write the pipeline folder of a run: only what the decisions need, whole, the marker with it.

    Args:
        session: whose run has its members' folders.
        decisions: decisions.json.
        sources: target → ``source`` of its final rows.
        ships: member → folds whose models go in; −1 is the one trained on all rows.
        galleries: what neighbours are searched among, where labels are retrieved.
    """
    recipe, manifest = session.recipe, session.manifest
    with files.whole_folder(session.run.pipeline) as aside:
        members = [_write_member(session, aside, name, decisions, folds) for name, folds in ships.items()]
        spec = {
            "format": FORMAT,
            "targets": [t.to_dict() for t in manifest.targets],
            "sources": dict(sources),
            "data": recipe.data.model_copy(update={**_OWN_DATA, "layout": manifest.layout or recipe.data.layout}).model_dump(mode="json"),
            "members": members,
            "galleries": [export.write_gallery(aside, one.member, one.target, one.fold, one.gallery) for one in galleries],
            "decisions": decisions,
            "manifest_hash": manifest.content_hash(),
            "recipe_hash": recipe.hash(),
        }
        write_known(aside, manifest, sorted({fold for folds in ships.values() for fold in folds}))
        files.write_text(aside / "README.md", export.card(recipe.name, files.read_json(session.run.file("metrics.json"))["figures"], spec))
        files.write_json(aside / MARKER, {**spec, "files": written_files(aside)})
    return session.run.pipeline


def _write_member(session: Session, folder: Path, name: str, decisions: dict[str, Any], folds: Sequence[int]) -> dict[str, Any]:
    """Write a member's networks; return what the pipeline must know of it."""
    plan, manifest = session.run.plan(), session.manifest
    recipe = session.recipe if name == PROBE else session.recipe.members()[name]
    written = [
        {"fold": fold, **export.write_network(folder, name, fold, network, scaling)}
        for fold, network, scaling in _networks(session, name, decisions, folds)
    ]
    model, answered = _shape_of(name, recipe, manifest)
    sequence = SequenceConfig() if name == PROBE else recipe.sequence
    as_probe = {"views": probe_views(session.run, recipe), "reduce": "logits"}
    predict = recipe.predict.model_copy(update=as_probe if name == PROBE else _reduced(recipe.predict, decisions, name))
    return {
        "name": name,
        "model": model.model_dump(mode="json"),
        "targets": answered,
        "sequence": sequence.model_dump(mode="json"),
        "step": window_rows.step_of(manifest) if sequence.length > 1 else None,
        "input": (probe_input(recipe) if name == PROBE else recipe.input).model_dump(mode="json"),
        "predict": predict.model_dump(mode="json"),
        "form": dataclasses.asdict(session.prepared.form),
        "engine": plan["probe"]["engine"] if name == PROBE else plan["members"][name]["engine"],
        "folds": written,
    }


def _shape_of(name: str, member_recipe: Recipe, manifest: Manifest) -> tuple[Model, list[str]]:
    """Return the model section that a member's networks were built by, and the targets that they were built for."""
    if name == PROBE:
        return probe_model(member_recipe, manifest), [t.name for t in probe_targets(member_recipe, manifest)]
    return member_recipe.model, [t.name for t in manifest.targets]


def _networks(
    session: Session, name: str, decisions: dict[str, Any], folds: Sequence[int]
) -> Iterator[tuple[int, models.Network, Scaling | None]]:
    """Yield (fold, network, scaling) of a member, at the checkpoint that ships."""
    if name == PROBE:
        for fold, network in probe_networks(session, folds).items():
            yield fold, network, probe_scaling(session.run, fold)
        return
    epochs = decisions["epochs"][name]
    for fold in sorted(folds):
        ref = session.ref(name, fold)
        keeper = Keeper(session.folder(ref))
        known = keeper.state()["checkpoints"]
        checkpoint = epochs["final"] if epochs["final"] in known else known[-1]
        if ref.recipe.sequence.length > 1:
            scaling = Scaling.from_dict(files.read_json(keeper.folder / "scaling.json"))
            yield fold, whole_network(session, ref, keeper.checkpoint(checkpoint)), scaling
            continue
        yield fold, *network_at(session, ref, checkpoint)


def _reduced(predict: Predict, decisions: Mapping[str, Any], member: str) -> dict[str, Any]:
    """Return what of ``[predict]`` a choice among ways of reducing views settles; ``auto`` without a choice is the mean."""
    if predict.reduce != "auto":
        return {}
    chosen = {name: one["final"] for name, one in decisions.get("views", {}).get(member, {}).items()}
    if not chosen:
        return {"reduce": "mean"}
    if set(chosen.values()) == {"plain"}:
        return {"views": "plain", "reduce": "plain"}  # no other view then needs to be answered
    return {"reduce": chosen}
