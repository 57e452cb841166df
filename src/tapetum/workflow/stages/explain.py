"""Maps of what a run's answers came from: the worst mistakes and some right answers, each explained by the network that had not seen it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tapetum.core import files
from tapetum.core.config import Recipe
from tapetum.core.runs import PROBE, Record, Run
from tapetum.core.tables import Dense, Manifest
from tapetum.core.words import plural
from tapetum.data.images import dataset
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import models
from tapetum.learn.choices import answered_targets
from tapetum.learn.side import Scaling
from tapetum.workflow.session import Prepared, Session
from tapetum.workflow.stages.decide import RunDecisions
from tapetum.workflow.stages.networks import network_at, probe_input, probe_networks, probe_scaling, probe_targets

RIGHT = 1 / 3  # share of the maps that show right answers, to compare with
LOSS_MAPS = 6  # held-out images whose loss is drawn where a system is reproduced


def write_maps(session: Session, decided: RunDecisions) -> None:
    """Write ``saliency/`` with ``saliency.json`` where the recipe asks for it; maps of an earlier start go.

    Args:
        session: whose run has the weights that the folds chose; ``predict.saliency`` names the method, ``saliency_rows`` how many images.
        decided: what the run answered.
    """
    run, prepared, recipe, record = session.run, session.prepared, session.recipe, session.log
    method = recipe.predict.saliency
    files.remove(run.file("saliency"))
    if method == "none":
        return
    member = _explained(recipe, decided)
    if member is None:
        record("no saliency: the members use several images at once, and a map is of one image")
        return
    names = [n for n, dense in decided.nested.items() if n in _answered(recipe, prepared, member)]
    if not names:
        record(f"no saliency: member {member} answers no scored target itself")
        return
    settings = probe_input(recipe) if member == PROBE else recipe.members()[member].input
    images = dataset.ImageDataset(prepared.manifest, settings, EvalTransform(settings), form=prepared.form, missing=prepared.reasons)
    place = {row_id: i for i, row_id in enumerate(prepared.manifest.row_ids)}
    shown = 0
    for name in names:
        dense = decided.nested[name]
        chosen = worst_and_right(dense, max(2, recipe.predict.saliency_rows // len(names)))
        rows = np.array([place[row_id] for row_id in dense.row_ids[chosen]], dtype=np.int64)
        for fold in sorted(set(prepared.manifest.fold[rows].tolist())):
            mine = prepared.manifest.fold[rows] == fold
            found = _network(session, member, int(fold), decided)
            if found is not None:
                shown += _sheets(session, *found, images, dense.where(chosen[mine]), rows[mine])
    record(f"saliency: {method} of {shown} images, each by member {member}'s network of the fold that held it out")


def worst_and_right(dense: Dense, count: int) -> np.ndarray:
    """Return places in ``dense``: the answers that were most wrong, worst first, then the right ones that were surest.

    Args:
        dense: decided answers of one target.
        count: places in all.
    """
    know = np.flatnonzero(dense.scorable)
    distance = np.abs(dense.p[know] - dense.y[know]).max(axis=1)
    wrong = _wrong(dense)[know]
    order = np.argsort(-distance, kind="stable")
    right = [i for i in order[::-1] if not wrong[i]][: max(1, round(count * RIGHT))]
    bad = [i for i in order if wrong[i]][: count - len(right)]
    return know[np.array([*bad, *right], dtype=np.int64)]


def _wrong(dense: Dense) -> np.ndarray:
    """Return which answers are wrong (N,); of a number, those farther off than the median."""
    if dense.target.kind == "regression":
        off = np.abs(dense.p - dense.y)[:, 0]
        return off > np.nanmedian(off)
    if dense.target.kind == "multi":
        answer = dense.answer if dense.answer is not None else dense.p >= 0.5
        return ((answer > 0.5) != (dense.y > 0.5)).any(axis=1)
    decided = dense.p if dense.answer is None else dense.answer
    return np.nan_to_num(decided).argmax(axis=1) != np.nan_to_num(dense.y).argmax(axis=1)


def _explained(recipe: Recipe, decided: RunDecisions) -> str | None:
    """Return the member that is explained: the probe where it ships, else the first one of single images."""
    if decided.decisions["choice"]["final"] == PROBE:
        return PROBE
    for name, member_recipe in recipe.members().items():
        if name in decided.decisions["epochs"] and member_recipe.sequence.length == 1:
            return name
    return None


def _answered(recipe: Recipe, prepared: Prepared, member: str) -> list[str]:
    if member == PROBE:
        return [t.name for t in probe_targets(recipe, prepared.manifest)]
    return [t.name for t in answered_targets(recipe.members()[member].model, prepared.manifest.targets)]


def _network(session: Session, member: str, fold: int, decided: RunDecisions) -> tuple[models.Network, Scaling | None] | None:
    """Return the network that answered for a fold's rows, or None where the member did not run there."""
    if member == PROBE:
        return probe_networks(session, [fold])[fold], probe_scaling(session.run, fold)
    chosen = decided.decisions["epochs"][member]["per_fold"].get(str(fold))
    if chosen is None:
        return None
    return network_at(session, session.ref(member, fold), chosen)


def _sheets(
    session: Session,
    network: models.Network,
    scaling: Scaling | None,
    images: dataset.ImageDataset,
    dense: Dense,
    rows: np.ndarray,
) -> int:
    """Write the sheets of one fold's rows and note beside them what was answered and what is true."""
    from tapetum.learn import saliency

    method: Any = session.recipe.predict.saliency
    batch = next(dataset.batches(images, rows, len(rows)))
    side = None if scaling is None else torch.from_numpy(scaling.apply(session.manifest))[torch.from_numpy(rows)]
    kind = dense.target.kind
    answered = dense.p.argmax(axis=1) if kind in ("single", "ordinal") else np.abs(dense.p - dense.y).argmax(axis=1)
    index = None if kind == "regression" else torch.from_numpy(answered)
    listing = saliency.write_sheets(
        session.run.file("saliency"),
        network,
        saliency.Shown(batch.x, dense.row_ids.tolist(), side, torch.from_numpy(dense.y)),
        dense.target.name,
        class_index=index,
        methods=(method,),
        classes=dense.target.classes,
    )
    entries, wrong = files.read_json(listing), _wrong(dense)
    for place, entry in enumerate(entries[-len(rows) :]):
        entry["right"] = not bool(wrong[place])
        entry["truth"] = _label_text(dense, place)
    files.write_json(listing, entries)
    return len(rows)


def _label_text(dense: Dense, place: int) -> str:
    y = dense.y[place]
    if dense.target.kind == "regression":
        return f"{float(y[0]):g}"
    return ", ".join(c for c, value in zip(dense.target.classes, y, strict=True) if value > 0.5)


def write_loss_maps(run: Run, manifest: Manifest, record: Record) -> None:
    """Write ``saliency/`` for some held-out images of the first fold, of the loss of its network; maps that are there stay."""
    from tapetum.learn.saliency import Shown, write_sheets
    from tapetum.pipeline import Pipeline

    if (run.root / "saliency" / "saliency.json").exists():
        return
    member = Pipeline.load(run.pipeline).members[0]
    fold, network = next(iter(member.networks.items()))
    heldout = np.flatnonzero((manifest.fold == fold) & (manifest.split == "train"))
    images = dataset.ImageDataset(manifest, member.settings, EvalTransform(member.settings), form=member.form)
    batch = next(dataset.batches(images, heldout[:: max(1, len(heldout) // LOSS_MAPS)][:LOSS_MAPS], LOSS_MAPS), None)
    if batch is None or not bool(batch.ok.any()):
        return
    rows = batch.rows[batch.ok]
    target = next(t for t in network.targets.values() if t.scored)
    truth = manifest.truth(target.name)[rows.numpy()]
    if target.kind == "regression" or np.isnan(truth).any():
        return
    write_sheets(
        run.root / "saliency",
        network,
        Shown(batch.x[batch.ok], [manifest.row_ids[int(r)] for r in rows]),
        target.name,
        class_index=torch.from_numpy(truth.argmax(axis=1)),
        methods=("loss",),
        classes=target.classes,
    )
    record(f"saliency of the loss drawn for {plural(len(rows), 'held-out image')}")
