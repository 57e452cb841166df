"""The probe as a member: vectors once for all rows that train, a linear head for each fold and target in seconds."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from tapetum.core import draws, files, hashes
from tapetum.core.runs import PROBE
from tapetum.core.schema import statuses
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.words import plural
from tapetum.data.images.dataset import ImageDataset, channel_statistics
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import engines, features, models, probe
from tapetum.learn.models.backbone import last_width
from tapetum.learn.runtime import Engine, Runtime, one_thread
from tapetum.learn.side import Scaling
from tapetum.learn.speed import Work, decide_engine
from tapetum.workflow.session import Prepared, Session
from tapetum.workflow.stages import budget as budgets
from tapetum.workflow.stages.budget import set_threads, threads_of
from tapetum.workflow.stages.networks import CHANNELS, SCALING, probe_head, probe_input, probe_network, probe_targets, probe_views


def probe_member(session: Session) -> None:
    """Write the probe's heads and held-out predictions for every fold that lacks them."""
    run, prepared, recipe, manifest = session.run, session.prepared, session.recipe, session.manifest
    every = sorted({int(f) for f in manifest.fold[prepared.train] if f >= 0})
    session.heldout_answers(PROBE, "oof.parquet")  # those of another fold would let heads see the rows that are held out
    if all((run.member(PROBE, fold) / "oof.parquet").exists() for fold in every):
        return
    apart = probe_input(recipe).normalise == "data"  # each fold then has statistics of its own, and so vectors of its own
    _planned(session, passes=len(every) if apart else 1)
    shared = None if apart else vectors_for(session)
    for fold in every:
        found = shared or vectors_for(session, measured_for=fold)
        with one_thread():
            _fit_fold(session, found, fold)
    session.log(f"probe: {plural(len(every), 'fold')} fitted on {found.about}")


def refit_probe(session: Session) -> None:
    """Fit the probe's heads on all rows, where that is not done yet."""
    if (session.run.member(PROBE, -1) / "oof.parquet").exists():
        return
    apart = probe_input(session.recipe).normalise == "data"
    found = vectors_for(session, measured_for=-1 if apart else None)
    with one_thread():
        _fit_fold(session, found, -1)
    session.log(f"probe: fitted on all rows, {found.about}")


@dataclasses.dataclass(frozen=True)
class Vectors:
    """What the backbone saw in every row.

    Args:
        vectors: (N, V, D), NaN for rows of the test part and for spare ones.
        last: how many numbers at the end of a vector are the last level's, where it is over several levels.
        about: what they are in words.
    """

    vectors: np.ndarray
    last: int | None
    about: str


def vectors_for(session: Session, measured_for: int | None = None) -> Vectors:
    """Return the vectors of all rows that train.

    Args:
        session: whose run keeps them; the recipe says backbone, input and views.
        measured_for: the fold on whose training rows the channels are measured first (−1: all rows); None: as the recipe says.
    """
    run, prepared, recipe, record = session.run, session.prepared, session.recipe, session.log
    manifest, settings = session.manifest, probe_input(recipe)
    network = probe_network(recipe, prepared.form, manifest, record)
    runtime = Runtime(Engine.from_dict(run.plan()["probe"]["engine"]), threads=threads_of(run, recipe.train, record), log=record)
    known = np.flatnonzero(_asked(manifest))
    part = manifest.where(known)
    images = ImageDataset(part, settings, EvalTransform(settings), form=prepared.form, missing=prepared.reasons)
    if measured_for is not None:
        _measure(session, network, images, measured_for)
    found = features.extract(
        network,
        images,
        views=probe_views(run, recipe),
        store=run.features,
        runtime=runtime,
        log=record,
        after_batch=record.share("features"),
    )
    vectors = found.of(manifest.row_ids)
    about = f"{plural(vectors.shape[2], 'number')} a view, views {', '.join(found.views)}"
    return Vectors(vectors, last_width(network.backbone), about)


def _asked(manifest: Manifest) -> np.ndarray:
    """Return which rows (N,) the probe looks at: those that train. Test rows are answered by the pipeline, spare ones by nobody."""
    return np.isin(manifest.split, ("train", "extra"))


def _measure(session: Session, network: models.Network, images: ImageDataset, fold: int) -> None:
    """Normalise by what the rows that train show when ``fold`` is held out; kept, for the pipeline."""
    place = {row_id: i for i, row_id in enumerate(images.manifest.row_ids)}
    rows = [place[session.manifest.row_ids[row]] for row in session.prepared.fitting(fold)]
    mean, std = channel_statistics(images, rows)
    network.set_normalisation(mean.tolist(), std.tolist())
    files.write_json(session.run.member(PROBE, fold) / CHANNELS, {"mean": mean.tolist(), "std": std.tolist()})


def _planned(session: Session, passes: int) -> None:
    """Decide once how the probe computes and, within a budget, of how many views; the expected time is logged before it begins.

    Args:
        session: whose plan.json keeps it.
        passes: over the images; each fold makes one of its own where channels are measured on its training rows.
    """
    run, prepared, recipe, record = session.run, session.prepared, session.recipe, session.log
    clock = session.clock or budgets.Clock(None)
    if "probe" in run.plan():
        return
    network = probe_network(recipe, prepared.form, prepared.manifest, record)
    size = probe_input(recipe).size
    height, width = prepared.form.size if size == "native" else (size, size) if isinstance(size, int) else size
    set_threads(run, recipe.train, record)
    shape, dtype = (prepared.form.channels, height, width), getattr(torch, prepared.form.dtype)
    there = _asked(prepared.manifest) & prepared.usable  # others are not computed
    rows, has_budget, work = passes * int(there.sum()), clock.budget is not None, Work(shape, training=False, dtype=dtype)
    asked = recipe.predict.engine not in ("auto", "torch")
    views, matters = len(recipe.probe.views), recipe.predict.engine != "torch" and size != "native"
    matters &= asked or rows * views >= engines.FEWEST
    measured = decide_engine(recipe.train, network, work, rate=has_budget or matters, limit=clock.measuring)
    choice = engines.Choice(measured)
    if matters:
        beside = engines.offered(recipe.train, recipe.predict.engine, measured.engine)
        judge = _judge(session, network, np.flatnonzero(there & (prepared.manifest.split == "train")))
        choice = engines.choose(measured, beside, network, work, rows * views, judge, force=asked)
        engines.said(choice, record)
        measured = choice.measured
    record(f"probe: {measured.summary()}")
    plan = choice.to_dict()
    if has_budget:
        each = measured.seconds[measured.engine.name]
        left = clock.left - _seconds_of_test(prepared, len(recipe.probe.views), each)
        found = budgets.plan_probe(left, rows, recipe.probe.views, each)
        if found["why"]:
            record(f"budget: {found['why']}")
        plan |= found
    run.keep_plan(probe=plan)


def _judge(session: Session, network: models.Network, rows: np.ndarray) -> engines.Judge:
    """Return what compares engines on training rows that are spread over the manifest."""
    prepared, recipe, manifest = session.prepared, session.recipe, session.manifest
    settings, most = probe_input(recipe), max(engines.SAMPLE.values())
    rows = rows[draws.evenly(len(rows), most)]
    images = ImageDataset(manifest, settings, EvalTransform(settings), form=prepared.form, missing=prepared.reasons)
    targets = probe_targets(recipe, manifest)
    return engines.by_vectors(network, engines.Sample(images, rows), {t.name: manifest.truth(t.name) for t in targets}, targets)


def seconds_of_test(session: Session) -> float:
    """Return the seconds that the pipeline's probe will need for the test rows; 0 where nothing was measured."""
    plan = session.run.plan().get("probe", {})
    if "views" not in plan:
        return 0.0
    each = plan["seconds_per_image"][Engine.from_dict(plan["engine"]).name]
    return _seconds_of_test(session.prepared, len(plan["views"]), each)


def _seconds_of_test(prepared: Prepared, views: int, each: float) -> float:
    return len(prepared.test) * (views * each + budgets.DECODE)


def _fit_fold(session: Session, found: Vectors, fold: int) -> None:
    """Fit each target's head on the other folds and answer for the fold; the predictions are the marker, written last."""
    folder = session.run.member(PROBE, fold)
    if (folder / "oof.parquet").exists():
        return
    scaling, heads, table = fitted(session, found, fold)
    files.write_json(folder / SCALING, None if scaling is None else scaling.to_dict())
    written = [SCALING, *([CHANNELS] if (folder / CHANNELS).exists() else [])]
    for name, head in heads.items():
        written.append(f"{files.plain_name(name)}.safetensors")
        files.write_bytes(folder / written[-1], head.to_bytes())
    hashes.keep(folder, written)
    table.write(folder / "oof.parquet")


def fitted(session: Session, found: Vectors, fold: int) -> tuple[Scaling | None, dict[str, probe.ProbeHead], Predictions]:
    """Fit each target's head on the other folds and answer for the fold.

    Returns:
        How side numbers are scaled (None without them), each target's head, and the held-out answers.
    """
    prepared, recipe, manifest = session.prepared, session.recipe, session.manifest
    train, heldout = prepared.fitting(fold), prepared.heldout(fold)
    ids = np.array(manifest.row_ids, dtype=object)[heldout]
    answers: list[Dense] = []
    heads: dict[str, probe.ProbeHead] = {}
    scaling = Scaling.measure(manifest, train)
    side = None if scaling is None else scaling.apply(manifest)
    for target in probe_targets(recipe, manifest):
        truth = manifest.truth(target.name)
        head = heads[target.name] = probe.fit_probe(
            found.vectors[train],
            truth[train],
            target,
            manifest.groups[train],
            side=None if side is None else side[train],
            weight=manifest.weight[train],
            how=probe.Fitting(recipe.probe.strengths, probe_head(recipe, target), last=found.last, seed=recipe.seed),
        )
        p = head.predict(found.vectors[heldout], None if side is None else side[heldout])
        status = statuses(~np.isnan(p).any(axis=1))
        answers.append(Dense(target, ids, p, truth[heldout], np.full(len(heldout), fold, dtype=np.int16), status))
    table = Predictions.from_dense(answers, member=PROBE, manifest_hash=manifest.content_hash(), recipe_hash=recipe.trained_hash())
    return scaling, heads, table
