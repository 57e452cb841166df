"""Test-time views of held-out rows: answered once by each fold's chosen weights, then compared and chosen among without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tapetum.core import hashes, metrics
from tapetum.core.config import Decide, Recipe
from tapetum.core.metrics import headline_metric
from tapetum.core.schema import statuses
from tapetum.core.tables import REDUCED, Dense, Predictions
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.decide import view_reduction as deciding
from tapetum.decide.steps import Rows
from tapetum.workflow.session import FoldRef, Session
from tapetum.workflow.stages.answering import count_views, shape_of, views_of

if TYPE_CHECKING:
    from tapetum.learn.inference import Answers as Answered

TABLE = "views.parquet"  # in a fold's folder: draw 0 the plain image, 1… the views, −1 the mean of their logits


def answer(
    session: Session, member: str, member_recipe: Recipe, checkpoints: Mapping[int, str], *, keep: bool = True
) -> dict[int, Predictions]:
    """Return fold → every view of the rows that it holds out, from the file where an earlier start left it.

    Args:
        session: whose run has the weights of the checkpoints.
        member: its name.
        member_recipe: its recipe; the views are ``predict.views``, at the size at which the pipeline answers.
        checkpoints: fold → the one chosen.
        keep: read and write the files; they hold the views of the run's own recipe.
    """
    found = {}
    for fold, checkpoint in checkpoints.items():
        ref = FoldRef(member, member_recipe, fold)
        file = session.folder(ref) / TABLE
        if keep and file.exists():
            found[fold] = Predictions.read(file)
            if found[fold].frame["checkpoint"].unique().to_list() == [checkpoint]:
                continue
        found[fold] = _answered(session, ref, checkpoint)
        views, rows = found[fold].frame["draw"].n_unique() - 1, len(session.prepared.heldout(fold))
        session.log(f"member {member} fold {fold}: {plural(views, 'view')} of {plural(rows, 'row')} answered")
        if keep:
            with hashes.renewed(file.parent, TABLE):
                found[fold].write(file)
    return found


def choose(
    tables: Mapping[int, Predictions], member: str, member_recipe: Recipe, decide: Decide, truth: Mapping[str, np.ndarray], rows: Rows
) -> dict[str, deciding.Chosen]:
    """Return target → how its views are reduced, and the answers that this gives.

    Args:
        tables: from :func:`answer`.
        member: its name.
        member_recipe: its recipe.
        decide: the section under which ways are judged.
        truth: target → (N, K), rows as in ``rows``; of those targets that are scored.
        rows: ids, groups and folds.
    """
    from tapetum.data.images.views import first_draw

    joined = Predictions.concat(list(tables.values()))
    first = first_draw(views_of(member_recipe.predict)[0])
    numbers = sorted(n for n in joined.frame["draw"].unique().to_list() if n >= first)
    heads = [target for target in joined.targets if target.name in truth]
    ids = [] if rows.row_ids is None else rows.row_ids.tolist()
    found = {}
    for target in heads:
        draws = {n: joined.dense(target.name, member, ids, draw=n) for n in {0, REDUCED, *numbers}}
        plain = dataclasses.replace(draws[0], y=truth[target.name])
        named = deciding.ways(plain, np.stack([draws[n].p for n in numbers]), draws[REDUCED].p)
        found[target.name] = deciding.choose(named, rows, decide, _shown(member_recipe.train.monitor, target, len(heads)))
    return found


def _answered(session: Session, ref: FoldRef, checkpoint: str) -> Predictions:
    """Answer a fold's held-out rows in every view, as the pipeline would answer new images."""
    import torch

    from tapetum.data.images.dataset import ImageDataset
    from tapetum.data.images.transforms import EvalTransform
    from tapetum.data.images.views import first_draw
    from tapetum.learn import inference, machine
    from tapetum.learn.answering import Answering
    from tapetum.learn.runtime import Engine, Runtime
    from tapetum.workflow.stages.networks import network_at

    run, prepared, member_recipe, fold = session.run, session.prepared, ref.recipe, ref.fold
    manifest, rows = prepared.manifest, prepared.heldout(fold)
    network, scaling = network_at(session, ref, checkpoint)
    plan = run.plan()["members"][ref.member]
    trained = Runtime(
        Engine.from_dict(plan["engine"]),
        threads=machine.threads(member_recipe.train.threads, run.plan().get("threads")),
        log=session.log,
    )
    side = None if scaling is None else trained.to_device(torch.from_numpy(scaling.apply(manifest)))
    images = ImageDataset(manifest, member_recipe.input, EvalTransform(member_recipe.input), form=prepared.form, missing=prepared.reasons)
    network = trained.to_device(network)
    first = first_draw(views_of(member_recipe.predict)[0])
    count = len(rows) * count_views(member_recipe, shape_of(member_recipe, prepared))
    with Answering.from_plan(plan.get("answers")).of(network, trained, count) as runtime:

        def answered(**how: Any) -> Answered:
            predict = member_recipe.predict.model_copy(update={**how, "keep_draws": True})
            return inference.answer(network, images, rows, predict, runtime, side=side, key=("predict", ref.member))

        every = answered(reduce="logits")
        plain = [] if first == 0 else [answered(views="plain", reduce="plain")]
    tables = []
    for name, target in network.targets.items():
        if target.scored:
            numbered = [(REDUCED, every.p[name]), *((0, one.p[name]) for one in plain)]
            numbered += [(first + i, p) for i, p in enumerate(every.draws.get(name, ()))]
            tables += _tables(session, ref, checkpoint, target, every.ok, numbered)
    return Predictions.concat(tables)


def _tables(
    session: Session, ref: FoldRef, checkpoint: str, target: Target, ok: np.ndarray, numbered: Sequence[tuple[int, np.ndarray]]
) -> list[Predictions]:
    """Return a table for each view of a fold's held-out rows: number of the view → probabilities (N, K)."""
    manifest, rows = session.manifest, session.prepared.heldout(ref.fold)
    ids, y = np.asarray(manifest.row_ids, dtype=object)[rows], manifest.truth(target.name)[rows]
    status, folds = statuses(ok), np.full(len(rows), ref.fold, dtype=np.int16)
    made: dict[str, Any] = {"member": ref.member, "checkpoint": checkpoint, "manifest_hash": manifest.content_hash()}
    return [Predictions.from_dense(Dense(target, ids, p, y, folds, status), draw=number, **made) for number, p in numbered]


def _shown(watch: str, target: Target, heads: int) -> tuple[str, ...]:
    """Return the metrics of a target's table: the one that chooses (the watched one, where it is this target's), then the headline."""
    named, _, metric = watch.rpartition("/")
    monitored = watch != "auto" and (named == target.name if named else heads == 1)
    return tuple(dict.fromkeys([metric if monitored else metrics.default_metric(target), headline_metric(target)]))
