"""The probe as a member: vectors once for all rows, a linear head for each fold and target in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tapetum.core import files
from tapetum.core.config import Model, Recipe
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.data.images.dataset import Pictures
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import Evaluate
from tapetum.learn import features, models, probe
from tapetum.learn.runtime import Engine, Measured, Runtime, decide_engine, one_thread
from tapetum.pipeline import probe_input
from tapetum.workflow.prepare import Prepared
from tapetum.workflow.settle import PROBE


def probe_member(run: Run, prepared: Prepared, recipe: Recipe, record: Record) -> None:
    """Write the probe's heads and held-out predictions for every fold that lacks them."""
    manifest = prepared.manifest
    every = sorted({int(f) for f in manifest.fold[prepared.train] if f >= 0})
    if all((run.member(PROBE, fold) / "oof.parquet").exists() for fold in every):
        return
    vectors, about = _vectors(run, prepared, recipe, record)
    with one_thread():
        for fold in every:
            _fit_fold(run, prepared, recipe, vectors, fold)
    record(f"probe: {len(every)} folds fitted on {about}")


def refit_probe(run: Run, prepared: Prepared, recipe: Recipe, record: Record) -> None:
    """Fit the probe's heads on all rows, where that is not done yet."""
    if (run.member(PROBE, -1) / "oof.parquet").exists():
        return
    vectors, about = _vectors(run, prepared, recipe, record)
    with one_thread():
        _fit_fold(run, prepared, recipe, vectors, -1)
    record(f"probe: fitted on all rows, {about}")


def _vectors(run: Run, prepared: Prepared, recipe: Recipe, record: Record) -> tuple[np.ndarray, str]:
    """Return the vectors of all rows (N, V, D), NaN for those of the test part, and what they are in words."""
    manifest = prepared.manifest
    settings = probe_input(recipe)
    network = probe_network(recipe, prepared.form, manifest, record)
    runtime = Runtime(_engine(run, recipe, network, prepared, record), threads=recipe.train.threads)
    known = np.flatnonzero(manifest.split != "test")
    part = manifest.where(known)
    found = features.extract(
        network,
        part,
        settings,
        views=recipe.probe.views,
        store=run.features,
        runtime=runtime,
        pictures=Pictures(part, settings, Evaluate(settings), form=prepared.form),
        say=record,
        after_batch=lambda done, total: record.tick("features", done, total),
    )
    vectors = found.of(manifest.row_ids)
    return vectors, f"{vectors.shape[2]} numbers a view, views {', '.join(found.views)}"


def probe_networks(
    run: Run, recipe: Recipe, form: Form, manifest: Manifest, folds: Sequence[int] | None = None
) -> dict[int, models.Network]:
    """Return fold → network whose heads are the fold's probes (−1: those of the refit); the backbone is one and the same."""
    found: dict[int, models.Network] = {}
    for fold in run.folds_of(PROBE, "oof.parquet") if folds is None else folds:
        network = probe_network(recipe, form, manifest)
        for name in network.targets:
            head = probe.ProbeHead.from_bytes((run.member(PROBE, fold) / f"{name}.safetensors").read_bytes())
            head.start(network.head(name))
        found[fold] = network
    return found


def probe_model(recipe: Recipe) -> Model:
    """Return the model section of the probe: the recipe's backbone with linear heads (CORAL where the recipe has it)."""
    coral = {name: spec for name, spec in recipe.model.heads.items() if _is_coral(spec)}
    head = recipe.model.head if recipe.model.head is not None and _is_coral(recipe.model.head) else None
    return recipe.model.model_copy(update={"head": head, "heads": coral, "sharing": "hard", "dropout": 0.0, "drop_path": 0.0})


def probe_network(recipe: Recipe, form: Form, manifest: Manifest, record: Record | None = None) -> models.Network:
    """Return the backbone with linear heads for the scored targets; side numbers are for fine-tuning alone."""
    targets = [t for t in manifest.targets if t.scored and t.expression is None]
    return models.build(probe_model(recipe), targets, form.channels, probe_input(recipe), seed=recipe.seed, say=record)


def _engine(run: Run, recipe: Recipe, network: models.Network, prepared: Prepared, record: Record) -> Engine:
    kept = run.plan().get("probe")
    if kept is not None:
        return Engine.from_dict(kept["engine"])
    size = probe_input(recipe).size
    height, width = prepared.form.size if size == "native" else (size, size) if isinstance(size, int) else size
    if recipe.train.threads is not None:
        torch.set_num_threads(recipe.train.threads)
    shape, dtype = (prepared.form.channels, height, width), getattr(torch, prepared.form.dtype)
    measured: Measured = decide_engine(recipe.train, network, shape, training=False, dtype=dtype)
    record(f"probe: {measured.said()}")
    run.keep_plan(probe=measured.to_dict())
    return measured.engine


def _fit_fold(run: Run, prepared: Prepared, recipe: Recipe, vectors: np.ndarray, fold: int) -> None:
    """Fit each target's head on the other folds and answer for the fold; the predictions are the marker, written last."""
    manifest, folder = prepared.manifest, run.member(PROBE, fold)
    if (folder / "oof.parquet").exists():
        return
    train, held = prepared.fitting(fold), prepared.held(fold)
    ids = np.array(manifest.row_ids, dtype=object)[held]
    answers: list[Dense] = []
    for target in (t for t in manifest.targets if t.scored and t.expression is None):
        truth = manifest.truth(target.name)
        head = probe.fit_probe(
            vectors[train],
            truth[train],
            target,
            manifest.groups[train],
            weight=manifest.weight[train],
            strengths=recipe.probe.strengths,
            head="coral" if _is_coral(recipe.model.heads.get(target.name, recipe.model.head)) else "linear",
            seed=recipe.seed,
        )
        files.write_bytes(folder / f"{target.name}.safetensors", head.to_bytes())
        p = head.predict(vectors[held])
        status = np.where(np.isnan(p).any(axis=1), "missing", "ok").astype(object)
        answers.append(Dense(target, ids, p, truth[held], np.full(len(held), fold, dtype=np.int16), status))
    table = Predictions.from_dense(answers, member=PROBE, manifest_hash=manifest.content_hash(), recipe_hash=recipe.hash())
    table.write(folder / "oof.parquet")


def _is_coral(spec: object) -> bool:
    return spec == "coral" or (isinstance(spec, dict) and spec.get("name") == "coral")
