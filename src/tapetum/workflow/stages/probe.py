"""The probe as a member: vectors once for all rows, a linear head for each fold and target in seconds."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from tapetum.core import files
from tapetum.core.config import Recipe
from tapetum.core.runs import PROBE, Record, Run
from tapetum.core.tables import Dense, Predictions
from tapetum.data.images.dataset import ImageDataset, channel_statistics
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import features, models, probe
from tapetum.learn.models.backbone import last_width
from tapetum.learn.runtime import Engine, Runtime, one_thread
from tapetum.learn.side import Scaling
from tapetum.learn.speed import decide_engine
from tapetum.workflow.session import Prepared
from tapetum.workflow.stages import budget as budgets
from tapetum.workflow.stages.budget import set_threads, threads_of
from tapetum.workflow.stages.networks import CHANNELS, SCALING, probe_head, probe_input, probe_network, probe_targets, probe_views


def probe_member(run: Run, prepared: Prepared, recipe: Recipe, record: Record, clock: budgets.Clock | None = None) -> None:
    """Write the probe's heads and held-out predictions for every fold that lacks them; ``clock`` tells what is left of a budget."""
    manifest = prepared.manifest
    every = sorted({int(f) for f in manifest.fold[prepared.train] if f >= 0})
    if all((run.member(PROBE, fold) / "oof.parquet").exists() for fold in every):
        return
    own = probe_input(recipe).normalise == "data"  # each fold then has statistics of its own, and so vectors of its own
    _planned(run, prepared, recipe, record, clock or budgets.Clock(None), passes=len(every) if own else 1)
    shared = None if own else _look(run, prepared, recipe, record)
    for fold in every:
        seen = shared or _look(run, prepared, recipe, record, measured_for=fold)
        with one_thread():
            _fit_fold(run, prepared, recipe, seen, fold)
    record(f"probe: {len(every)} folds fitted on {seen.about}")


def refit_probe(run: Run, prepared: Prepared, recipe: Recipe, record: Record) -> None:
    """Fit the probe's heads on all rows, where that is not done yet."""
    if (run.member(PROBE, -1) / "oof.parquet").exists():
        return
    own = probe_input(recipe).normalise == "data"
    seen = _look(run, prepared, recipe, record, measured_for=-1 if own else None)
    with one_thread():
        _fit_fold(run, prepared, recipe, seen, -1)
    record(f"probe: fitted on all rows, {seen.about}")


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What the backbone saw in every row.

    Args:
        vectors: (N, V, D), NaN for the rows of the test part.
        last: how many numbers at the end of a vector are the last level's, where it is over several levels.
        about: what they are in words.
    """

    vectors: np.ndarray
    last: int | None
    about: str


def _look(run: Run, prepared: Prepared, recipe: Recipe, record: Record, measured_for: int | None = None) -> _Seen:
    """Return the vectors of all rows.

    Args:
        run: where they are kept.
        prepared: the rows.
        recipe: backbone, input and views.
        record: told what is computed.
        measured_for: the fold on whose training rows the channels are measured first (−1: all rows); None: as the recipe says.
    """
    manifest = prepared.manifest
    settings = probe_input(recipe)
    network = probe_network(recipe, prepared.form, manifest, record)
    runtime = Runtime(Engine.from_dict(run.plan()["probe"]["engine"]), threads=threads_of(run, recipe.train, record), log=record)
    known = np.flatnonzero(manifest.split != "test")
    part = manifest.where(known)
    images = ImageDataset(part, settings, EvalTransform(settings), form=prepared.form, missing=prepared.reasons)
    if measured_for is not None:
        _measure(run, prepared, network, images, measured_for)
    found = features.extract(
        network,
        part,
        settings,
        views=probe_views(run, recipe),
        store=run.features,
        runtime=runtime,
        images=images,
        log=record,
        after_batch=record.share("features"),
    )
    vectors = found.of(manifest.row_ids)
    about = f"{vectors.shape[2]} numbers a view, views {', '.join(found.views)}"
    return _Seen(vectors, last_width(network.backbone), about)


def _measure(run: Run, prepared: Prepared, network: models.Network, images: ImageDataset, fold: int) -> None:
    """Normalise by what the rows that train show when ``fold`` is held out; kept, for the pipeline."""
    place = {row_id: i for i, row_id in enumerate(images.manifest.row_ids)}
    rows = [place[prepared.manifest.row_ids[row]] for row in prepared.fitting(fold)]
    mean, std = channel_statistics(images, rows)
    network.set_normalisation(mean.tolist(), std.tolist())
    files.write_json(run.member(PROBE, fold) / CHANNELS, {"mean": mean.tolist(), "std": std.tolist()})


def _planned(run: Run, prepared: Prepared, recipe: Recipe, record: Record, clock: budgets.Clock, passes: int) -> None:
    """Decide once how the probe computes and, within a budget, of how many views; what it will take is said before it begins.

    Args:
        run: whose plan.json keeps it.
        prepared: rows.
        recipe: engine, views and size.
        record: told.
        clock: the budget.
        passes: over the images; each fold makes one of its own where channels are measured on its training rows.
    """
    if "probe" in run.plan():
        return
    network = probe_network(recipe, prepared.form, prepared.manifest, record)
    size = probe_input(recipe).size
    height, width = prepared.form.size if size == "native" else (size, size) if isinstance(size, int) else size
    set_threads(run, recipe.train, record)
    shape, dtype = (prepared.form.channels, height, width), getattr(torch, prepared.form.dtype)
    has_budget = clock.budget is not None
    measured = decide_engine(recipe.train, network, shape, training=False, dtype=dtype, rate=has_budget, limit=clock.measuring)
    record(f"probe: {measured.said()}")
    plan = measured.to_dict()
    if has_budget:
        each = measured.seconds[measured.engine.name]
        there = prepared.manifest.split != "test"
        there[list(prepared.bad)] = False  # they are not computed
        rows = passes * int(there.sum())
        left = clock.left - _seconds_of_test(prepared, len(recipe.probe.views), each)
        found = budgets.plan_probe(left, rows, recipe.probe.views, each)
        if found["why"]:
            record(f"budget: {found['why']}")
        plan |= found
    run.keep_plan(probe=plan)


def seconds_of_test(run: Run, prepared: Prepared) -> float:
    """Return the seconds that the pipeline's probe will need for the test rows; 0 where nothing was measured."""
    plan = run.plan().get("probe", {})
    if "views" not in plan:
        return 0.0
    each = plan["seconds_per_image"][Engine.from_dict(plan["engine"]).name]
    return _seconds_of_test(prepared, len(plan["views"]), each)


def _seconds_of_test(prepared: Prepared, views: int, each: float) -> float:
    return len(prepared.test) * (views * each + budgets.DECODE)


def _fit_fold(run: Run, prepared: Prepared, recipe: Recipe, seen: _Seen, fold: int) -> None:
    """Fit each target's head on the other folds and answer for the fold; the predictions are the marker, written last."""
    manifest, folder = prepared.manifest, run.member(PROBE, fold)
    if (folder / "oof.parquet").exists():
        return
    train, heldout = prepared.fitting(fold), prepared.heldout(fold)
    ids = np.array(manifest.row_ids, dtype=object)[heldout]
    answers: list[Dense] = []
    scaling = Scaling.measure(manifest, train)
    files.write_json(folder / SCALING, None if scaling is None else scaling.to_dict())
    side = None if scaling is None else scaling.apply(manifest)
    for target in probe_targets(recipe, manifest):
        truth = manifest.truth(target.name)
        head = probe.fit_probe(
            seen.vectors[train],
            truth[train],
            target,
            manifest.groups[train],
            side=None if side is None else side[train],
            weight=manifest.weight[train],
            strengths=recipe.probe.strengths,
            head=probe_head(recipe, target),
            last=seen.last,
            seed=recipe.seed,
        )
        files.write_bytes(folder / f"{files.plain_name(target.name)}.safetensors", head.to_bytes())
        p = head.predict(seen.vectors[heldout], None if side is None else side[heldout])
        status = np.where(np.isnan(p).any(axis=1), "missing", "ok").astype(object)
        answers.append(Dense(target, ids, p, truth[heldout], np.full(len(heldout), fold, dtype=np.int16), status))
    table = Predictions.from_dense(answers, member=PROBE, manifest_hash=manifest.content_hash(), recipe_hash=recipe.hash())
    table.write(folder / "oof.parquet")
