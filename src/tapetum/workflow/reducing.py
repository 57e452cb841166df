"""Test-time views of held-out rows: answered once by each fold's chosen weights, then compared and chosen among without torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tapetum.core import files, intervals, metrics, places
from tapetum.core.config import Decide, Predict, Recipe, Spec
from tapetum.core.errors import UserError
from tapetum.core.runs import Record, Run
from tapetum.core.tables import REDUCED, Dense, Predictions
from tapetum.core.targets import Target
from tapetum.decide import views as deciding
from tapetum.decide.steps import Rows
from tapetum.workflow.measuring import headline_metric
from tapetum.workflow.prepare import Prepared, prepared_of

if TYPE_CHECKING:
    from tapetum.learn.inference import Answers as Answered

TABLE = "views.parquet"  # in a fold's folder: draw 0 the plain image, 1… the views, −1 the mean of their logits


def one_view(own: Recipe) -> str:
    """Return why a member sees each image in one way only, or nothing."""
    if own.sequence.length > 1:
        return "it sees neighbouring images, and those as they are"
    return "predict.views is plain" if all(_name(spec) == "plain" for spec in _views(own.predict)) else ""


def count(own: Recipe, shape: tuple[int, int, int]) -> int:
    """Return how many times each held-out image is answered so that ways of reducing its views can be compared; 0 where none are."""
    if own.predict.reduce != "auto" or one_view(own):
        return 0
    from tapetum.data.images.views import first_draw

    return views(own, shape) + (first_draw(_views(own.predict)[0]) > 0)


def views(own: Recipe, shape: tuple[int, int, int]) -> int:
    """Return in how many views the pipeline answers an image."""
    import torch

    from tapetum.data.images.views import expand

    image = torch.zeros((1, *shape), dtype=torch.uint8)
    return sum(1 for spec in _views(own.predict) for _ in expand(image, spec, [0]))


def answer(
    run: Run, prepared: Prepared, member: str, own: Recipe, checkpoints: Mapping[int, str], record: Record, *, keep: bool = True
) -> dict[int, Predictions]:
    """Return fold → every view of the rows that it holds out, from the file where an earlier start left it.

    Args:
        run: with weights of the checkpoints.
        prepared: rows.
        member: its name.
        own: its recipe; the views are ``predict.views``, at the size at which the pipeline answers.
        checkpoints: fold → the one chosen.
        record: told what is answered.
        keep: read and write the files; they hold the views of the run's own recipe.
    """
    found = {}
    for fold, checkpoint in checkpoints.items():
        file = run.member(member, fold) / TABLE
        if keep and file.exists():
            found[fold] = Predictions.read(file)
            if found[fold].frame["checkpoint"].unique().to_list() == [checkpoint]:
                continue
        found[fold] = _answered(run, prepared, member, own, fold, checkpoint, record)
        record(
            f"member {member} fold {fold}: {found[fold].frame['draw'].n_unique() - 1} views of {len(prepared.heldout(fold))} rows answered"
        )
        if keep:
            found[fold].write(file)
    return found


def choose(
    tables: Mapping[int, Predictions], member: str, own: Recipe, decide: Decide, truth: Mapping[str, np.ndarray], rows: Rows
) -> dict[str, deciding.Chosen]:
    """Return target → how its views are reduced, and the answers that this gives.

    Args:
        tables: from :func:`answer`.
        member: its name.
        own: its recipe.
        decide: the section under which ways are judged.
        truth: target → (N, K), rows as in ``rows``; of those targets that are scored.
        rows: ids, groups and folds.
    """
    from tapetum.data.images.views import first_draw

    joined = Predictions.concat(list(tables.values()))
    first = first_draw(_views(own.predict)[0])
    numbers = sorted(n for n in joined.frame["draw"].unique().to_list() if n >= first)
    heads = [target for target in joined.targets if target.name in truth]
    ids = [] if rows.row_ids is None else rows.row_ids.tolist()
    found = {}
    for target in heads:
        draws = {n: joined.dense(target.name, member, ids, draw=n) for n in {0, REDUCED, *numbers}}
        plain = dataclasses.replace(draws[0], y=truth[target.name])
        named = deciding.ways(plain, np.stack([draws[n].p for n in numbers]), draws[REDUCED].p)
        found[target.name] = deciding.choose(named, rows, decide, _shown(own.train.monitor, target, len(heads)))
    return found


def compare(run: Run, spec: str, record: Record, data: Path | str | None = None) -> dict[str, Any]:
    """Compare ways of reducing test-time views on a finished run's own held-out rows; nothing of the run changes.

    Args:
        run: finished.
        spec: ``recipe`` for the recipe's views, or a name from ``data.choices.VIEWS``.
        record: told what is answered.
        data: where the run's data are now, if they moved.

    Returns:
        ``{"out", "table", "choice", "views"}``; the same stands in ``views.json``.

    Raises:
        UserError: the run has no weights to answer with, or there is one view only.
    """
    prepared, recipe = prepared_of(run, data), run.recipe()
    decisions = files.read_json(run.file("decisions.json"))
    manifest = prepared.manifest
    scored = np.flatnonzero((manifest.split == "train") & (manifest.fold >= 0))
    places.refuse_absent(manifest.where(scored), "say where the data are now: --data DIR")
    rows = Rows.of(manifest, [manifest.row_ids[r] for r in scored], allow_leak=recipe.split.allow_leak)
    truth = {t.name: manifest.truth(t.name)[scored] for t in manifest.targets if t.scored}
    table: list[dict[str, Any]] = []
    choice: dict[str, Any] = {}
    taken: dict[str, Any] = {}
    for member, epochs in decisions["epochs"].items():
        own = recipe.members()[member]
        if spec != "recipe":
            own = own.model_copy(update={"predict": own.predict.model_copy(update={"views": spec})})
        if why := one_view(own):
            record(f"member {member} has no views to compare: {why}")
            continue
        tables = answer(run, prepared, member, own, {int(k): v for k, v in epochs["per_fold"].items()}, record, keep=spec == "recipe")
        chosen = choose(tables, member, own, recipe.decide, truth, rows)
        table += [{"member": member, **line} for line in deciding.lines(chosen)]
        choice[member] = {name: one.to_dict() for name, one in chosen.items()}
        taken[member] = own.predict.model_dump(mode="json")["views"]
    if not table:
        raise UserError(
            f"{run.root} has no views to compare",
            need="a fine-tuned member of single images, and views other than plain",
            fix="name views, as --views flips, or fine-tune first: tapetum fit DATA --epochs 8",
        )
    found = {"views": taken, "choice": choice, "figures": table}
    files.write_json(run.file("views.json"), found)
    return {"out": str(run.file("views.json")), "table": text(table, choice), **found}


def text(table: list[dict[str, Any]], choice: Mapping[str, Any]) -> str:
    """Return the comparison as text, one line a way and metric."""
    head = ("member", "target", "views", "metric", "value", "95 % interval", "against plain", "95 % interval")
    shown = [head]
    for line in table:
        value, span, apart = _number(line["value"]), intervals.span(line), _number(line["difference"], "+")
        spread = _span(line["difference_low"], line["difference_high"], "+")
        shown.append((line["member"], line["target"], line["reduce"], line["metric"], value, span, apart, spread))
    widths = [max(len(row[i]) for row in shown) for i in range(len(head))]
    said = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
    for member, targets in choice.items():
        for name, one in targets.items():
            each = ", ".join(f"fold {fold} {way}" for fold, way in one["per_fold"].items())
            which = "the other folds, drawn within the one held out" if one.get("drawn") else "the other folds"
            said.append(f"{member}, {name}: {one['final']} ({each}; chosen on {which})")
    return "\n".join(said)


def _answered(run: Run, prepared: Prepared, member: str, own: Recipe, fold: int, checkpoint: str, record: Record) -> Predictions:
    """Answer a fold's held-out rows in every view, as the pipeline would answer new images."""
    import torch

    from tapetum.data.images.dataset import ImageDataset
    from tapetum.data.images.transforms import EvalTransform
    from tapetum.data.images.views import first_draw
    from tapetum.learn import inference, machine
    from tapetum.learn.runtime import Engine, Runtime
    from tapetum.workflow.freezing import network_at

    manifest, rows = prepared.manifest, prepared.heldout(fold)
    network, scaling = network_at(run, member, fold, own, prepared.form, manifest, checkpoint)
    runtime = Runtime(
        Engine.from_dict(run.plan()["members"][member]["engine"]),
        threads=machine.threads(own.train.threads, run.plan().get("threads")),
        log=record,
    )
    side = None if scaling is None else runtime.to_device(torch.from_numpy(scaling.apply(manifest)))
    images = ImageDataset(manifest, own.input, EvalTransform(own.input), form=prepared.form, missing=prepared.reasons)
    network = runtime.to_device(network)

    def answered(**how: Any) -> Answered:
        predict = own.predict.model_copy(update=how)
        return inference.answer(network, images, rows, predict, runtime, side=side, key=("predict", member), keep_draws=True)

    every = answered(reduce="logits")
    first = first_draw(_views(own.predict)[0])
    plain = [] if first == 0 else [answered(views="plain", reduce="plain")]
    tables = []
    for name, target in network.targets.items():
        if not target.scored:
            continue
        numbered = [(REDUCED, every.p[name]), *((0, one.p[name]) for one in plain)]
        numbered += [(first + i, p) for i, p in enumerate(every.draws.get(name, ()))]
        ids = np.asarray(manifest.row_ids, dtype=object)[rows]
        status = np.where(every.ok, "ok", "missing").astype(object)
        folds, y = np.full(len(rows), fold, dtype=np.int16), manifest.truth(name)[rows]
        for number, p in numbered:
            dense = Dense(target, ids, p, y, folds, status)
            tables.append(
                Predictions.from_dense(dense, member=member, checkpoint=checkpoint, draw=number, manifest_hash=manifest.content_hash())
            )
    return Predictions.concat(tables)


def _shown(watch: str, target: Target, heads: int) -> tuple[str, ...]:
    """Return the metrics of a target's table: the one that chooses (the watched one, where it is this target's), then the headline."""
    named, _, metric = watch.rpartition("/")
    own = watch != "auto" and (named == target.name if named else heads == 1)
    return tuple(dict.fromkeys([metric if own else metrics.default_metric(target), headline_metric(target)]))


def _views(predict: Predict) -> tuple[Spec, ...]:
    return predict.views if isinstance(predict.views, tuple) else (predict.views,)


def _name(spec: Spec) -> str:
    return spec if isinstance(spec, str) else str(spec["name"])


def _number(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.4f}"


def _span(low: float | None, high: float | None, sign: str = "") -> str:
    return "–" if low is None or high is None else f"{low:{sign}.4f} – {high:{sign}.4f}"
