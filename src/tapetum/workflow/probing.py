"""The probe as a member: vectors once for all rows, a linear head for each fold and target in seconds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from tapetum.core import files
from tapetum.core.config import Input, Model, Recipe, Spec
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.data.images.dataset import ImageDataset, channel_statistics
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import features, models, probe
from tapetum.learn.choices import DEFAULT_HEADS
from tapetum.learn.models.backbone import last_width
from tapetum.learn.runtime import Engine, Runtime, one_thread
from tapetum.learn.side import Scaling
from tapetum.learn.speed import decide_engine
from tapetum.workflow import budget as budgets
from tapetum.workflow.prepare import Prepared
from tapetum.workflow.settle import PROBE
from tapetum.workflow.threads import set_threads, threads_of

CHANNELS = "channels.json"  # mean and deviation of each channel, where they are measured on the training fold
SCALING = "scaling.json"  # of side numbers, on the training fold


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
        after_batch=lambda done, total: record.tick("features", done, total),
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


def probe_input(recipe: Recipe) -> Input:
    """Return the input that the probe sees: the recipe's, at the probe's own size.

    ``probe.size = "auto"`` takes images 9/7 as large as training does (224 → 288), in steps of 32, where pretrained weights take any
    size: an object then covers as many pixels as in the random crops that the weights were trained on.

    Source: Touvron et al. 2019, arXiv 1906.06423 (FixRes); measured here on 175 dogs: docs/decisions/003-probe-size.md.
    """
    size: int | tuple[int, int] | str = recipe.probe.size
    if size == "auto":
        size = recipe.input.size
        if isinstance(size, int) and recipe.model.weights != "none" and not _has_fixed_size(recipe.model.backbone):
            size = max(size, round(size * 9 / 7 / 32) * 32)
    return recipe.input.model_copy(update={"size": size})


def _has_fixed_size(backbone: str) -> bool:
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(backbone, allow_unregistered=True)
    return config is not None and bool(config.fixed_input_size)


def probe_networks(
    run: Run, recipe: Recipe, form: Form, manifest: Manifest, folds: Sequence[int] | None = None
) -> dict[int, models.Network]:
    """Return fold → network whose heads are the fold's probes (−1: those of the refit); the backbone is one and the same."""
    found: dict[int, models.Network] = {}
    for fold in run.folds_of(PROBE, "oof.parquet") if folds is None else folds:
        network = probe_network(recipe, form, manifest)
        for name in network.targets:
            head = probe.ProbeHead.from_bytes((run.member(PROBE, fold) / f"{files.plain_name(name)}.safetensors").read_bytes())
            head.start(network.head(name))
        measured = run.member(PROBE, fold) / CHANNELS
        if measured.exists():
            numbers = files.read_json(measured)
            network.set_normalisation(numbers["mean"], numbers["std"])
        found[fold] = network
    return found


def probe_scaling(run: Run, fold: int) -> Scaling | None:
    """Return how a fold's probe scales side numbers; None where there are none."""
    return Scaling.from_dict(files.read_json(run.member(PROBE, fold) / SCALING))


def probe_targets(recipe: Recipe, manifest: Manifest) -> list[Target]:
    """Return the scored targets that have a head: derived ones only where the recipe gives them a joint one."""
    return [t for t in manifest.targets if t.scored and (t.expression is None or t.name in recipe.model.heads)]


def probe_head(recipe: Recipe, target: Target) -> str:
    """Return the probe's head of a target: linear, or CORAL where an ordinal target has that."""
    spec = recipe.model.heads.get(target.name, recipe.model.head) or DEFAULT_HEADS[target.kind]
    name = spec if isinstance(spec, str) else spec.get("name")
    return "coral" if name == "coral" and target.kind == "ordinal" else "linear"


def probe_model(recipe: Recipe, manifest: Manifest) -> Model:
    """Return the model section of the probe: the recipe's backbone with the probe's heads on one shared vector."""
    heads = {t.name: probe_head(recipe, t) for t in probe_targets(recipe, manifest)}
    plain = {"sharing": "hard", "dropout": 0.0, "drop_path": 0.0, "side_width": 0}
    return recipe.model.model_copy(update={"head": None, "heads": heads, **plain})


def probe_network(recipe: Recipe, form: Form, manifest: Manifest, record: Record | None = None) -> models.Network:
    """Return the backbone with linear heads for the scored targets, which see side numbers beside the image's vector."""
    model, targets, side = probe_model(recipe, manifest), probe_targets(recipe, manifest), len(manifest.side)
    return models.build(model, targets, form.channels, probe_input(recipe), side=side, seed=recipe.seed, log=record)


def probe_views(run: Run, recipe: Recipe) -> tuple[Spec, ...]:
    """Return the views that the probe's vectors are of: the recipe's, or those that a budget left of them."""
    return tuple(run.plan().get("probe", {}).get("views", recipe.probe.views))


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
