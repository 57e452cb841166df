"""What is each piece of a recipe worth: switched off one at a time, on the same rows, folds and seeds, and compared row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import columns, files, hashes, intervals, metrics
from tapetum.core.choices import name_of
from tapetum.core.config import Loaded, Recipe
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.progress import Log
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Dense, decided
from tapetum.decide.steps import Rows
from tapetum.workflow.commands import trials
from tapetum.workflow.launch import places
from tapetum.workflow.launch.places import LOCAL, At
from tapetum.workflow.session import Session
from tapetum.workflow.stages.prepare import prepare

FINETUNE = "finetune"  # not switched off: the whole recipe against the probe alone
Values = dict[str, Any]


def pieces_of(recipe: Recipe) -> dict[str, Values]:
    """Return the pieces that a recipe uses: name → the keys that switch it off.

    Lists (augment, mix, decision steps) are pieces as a whole and entry by entry, as ``augment`` and ``augment:hflip``.
    """
    found: dict[str, Values] = {}
    for key, where in (("augment", recipe.augment), ("mix", recipe.mix), ("decide.steps", recipe.decide.steps)):
        short = key.rpartition(".")[2]
        if where:
            found[short] = {key: []}
        if len(where) > 1:
            found |= {f"{short}:{name_of(spec)}": {key: [s for s in where if s is not spec]} for spec in where}
    plain = Recipe()
    simple: dict[str, tuple[bool, Values]] = {
        "smoothing": (recipe.loss.smoothing > 0, {"loss.smoothing": 0.0}),
        "class_weights": (recipe.loss.class_weights != "none", {"loss.class_weights": "none"}),
        "logit_adjust": (recipe.loss.logit_adjust != 0, {"loss.logit_adjust": 0.0}),
        "loss": (recipe.loss.name is not None, {"loss.name": None, "loss.options": {}}),
        "average": (recipe.average.name != "none", {"average.name": "none", "average.epochs": 0}),
        "layer_decay": (recipe.optimizer.layer_decay < 1, {"optimizer.layer_decay": 1.0}),
        "weight_decay": (recipe.optimizer.weight_decay > 0, {"optimizer.weight_decay": 0.0}),
        "head_rate": (recipe.optimizer.head_rate != 1, {"optimizer.head_rate": 1.0}),
        "schedule": (recipe.schedule.name != "constant", {"schedule.name": "constant", "schedule.options": {}}),
        "warmup": (recipe.schedule.warmup > 0, {"schedule.warmup": 0.0}),
        "clip": (recipe.train.clip > 0, {"train.clip": 0.0}),
        "start": (recipe.train.start == "probe" and recipe.probe.enabled, {"train.start": "random", "probe.enabled": False}),
        "transfer": (recipe.model.weights != "none", {"model.weights": "none", "train.start": "random", "probe.enabled": False}),
        "dropout": (recipe.model.dropout > 0, {"model.dropout": 0.0}),
        "drop_path": (recipe.model.drop_path > 0, {"model.drop_path": 0.0}),
        "pooling": (recipe.model.pooling != plain.model.pooling, {"model.pooling": "default"}),
        "stages": (bool(recipe.stages), {"stages": [], "train.epochs": sum(stage.epochs for stage in recipe.stages)}),
        "sample": (name_of(recipe.sample) != "shuffle", {"sample": "shuffle"}),
        "sequence": (recipe.sequence.length > 1, {"sequence.length": 1}),
        "calibrate": (name_of(recipe.decide.calibrate) != "none", {"decide.calibrate": "none"}),
        "frozen_norm": (recipe.train.frozen_norm, {"train.frozen_norm": False}),
    }
    return found | {name: off for name, (used, off) in simple.items() if used}


def ablate(
    source: Any,
    out: Path | str,
    loaded: Loaded,
    *,
    pieces: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    at: At = LOCAL,
    log: Log | None = None,
    command: str = "tapetum.api.ablate",
) -> dict[str, Any]:
    """Measure what pieces of a recipe are worth, or go on with it.

    Args:
        source: as for ``fit``.
        out: a run folder; ``ablate.json`` holds the table.
        loaded: the whole recipe.
        pieces: names from :func:`pieces_of`, and ``finetune`` (the whole recipe against the probe); empty takes all.
        seeds: of training; folds stay those of the recipe's own seed.
        at: where folds train.
        log: where messages go.
        command: kept in the record.

    Returns:
        ``{"run", "table", "pieces"}``: for each piece and target the figure with it and without it, and the paired difference (with −
        without) with its interval, clustered by group over the rows of all seeds.

    Raises:
        UserError: a piece that the recipe does not use.
    """
    recipe = loaded.recipe
    known = pieces_of(recipe)
    wanted = list(pieces) or [*known, *([FINETUNE] if recipe.probe.enabled else [])]
    for name in wanted:
        if name not in known and not (name == FINETUNE and recipe.probe.enabled):
            raise UserError(
                f"the recipe has no piece {name!r} to switch off (it has: {listed(known, 40)}).{nearest(name, [*known, FINETUNE])}"
            )
    if not seeds:
        raise UserError("no seeds", need="one or more")
    record = Record(log)
    places.check(at)
    with Run.opened(out, loaded, {}) as run, places.opened(at, run.root, record) as place:
        try:
            with record.stage("files"):
                prepared = prepare(run, source, recipe, record)
            hashes.forget(run.root)
            with record.stage("trials"):
                session = Session(run, prepared, recipe, record, place=place, devices=at.devices)
                found = _measure(session, {name: known.get(name) for name in wanted}, seeds)
            marks = list(dict.fromkeys(mark for row in found for mark in row["marks"]))
            files.write_json(run.file("ablate.json"), {"seeds": list(seeds), "pieces": found, "marks": marks})
            run.seal()
            table = "\n".join([text(found), *(f"marked: {mark}" for mark in marks)])
            return {"run": str(run.root), "table": table, "pieces": found, "marks": marks}
        finally:
            record.write(run, command)


def _measure(session: Session, pieces: Mapping[str, Values | None], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Run the whole recipe and each variant for each seed; return a row for each piece and target."""
    trains = any(one.train.epochs or one.stages for one in session.recipe.members().values())
    base = {"decide.choose": "finetune"} if trains else {}  # what was trained is compared, not what the run would choose instead of it
    names = [t.name for t in session.manifest.targets if t.scored]
    whole: dict[str, list[Dense]] = {name: [] for name in names}
    without: dict[tuple[str, str], list[Dense]] = {(piece, name): [] for piece in pieces for name in names}
    marks: dict[tuple[str, str], list[str]] = {key: [] for key in without}
    every = [{**base, **(off or {}), "seed": seed} for seed in seeds for off in (None, *pieces.values())]
    trials.train_at_once(session, {files.fingerprint(values): trials.changed(session.recipe, values) for values in every})
    for seed in seeds:
        trial = _trial(session, {**base, "seed": seed}, f"whole recipe, seed {seed}")
        for name in names:
            whole[name].append(trials.answers(trial, name))
            for piece in pieces:
                marks[piece, name] += trials.marks(trial, name)
            if FINETUNE in pieces and (probe := trials.probe_answers(trial, name)) is not None:
                without[FINETUNE, name].append(_in_order(probe, whole[name][-1]))
        for piece, off in pieces.items():
            if off is not None:
                other = _trial(session, {**base, **off, "seed": seed}, f"without {piece}, seed {seed}")
                for name in names:
                    without[piece, name].append(trials.answers(other, name))
                    marks[piece, name] += trials.marks(other, name)
    rows = {name: Rows.of(session.manifest, whole[name][0].row_ids.tolist()) for name in names}
    return [
        {**compared(piece, whole[name], less, rows[name], seeds), "marks": list(dict.fromkeys(marks[piece, name]))}
        for (piece, name), less in without.items()
        if less
    ]


def _trial(session: Session, values: Values, what: str) -> trials.Trial:
    trial, decided = trials.run_trial(session, trials.changed(session.recipe, values), files.fingerprint(values))
    trials.keep_small(trial)
    first = next(iter(decided.nested.values()))
    weight = session.manifest.weights_of(first.row_ids)
    figure = metrics.score(metrics.default_metric(first.target), first.target, first.p, first.y, weight, answer=first.answer)
    session.log(f"{what}: {metrics.default_metric(first.target)} " + ("–" if figure is None else f"{figure:.4f}"))
    return trial


def _in_order(dense: Dense, like: Dense) -> Dense:
    place = {row_id: i for i, row_id in enumerate(dense.row_ids)}
    return dense.where(np.array([place[r] for r in like.row_ids]))


def compared(piece: str, whole: Sequence[Dense], without: Sequence[Dense], rows: Rows, seeds: Sequence[int]) -> dict[str, Any]:
    """Return a row of the table: one target with and without a piece.

    The rows of all seeds are below one another and a group is left out with all its rows of all seeds, so the interval is about other
    groups; how much seeds matter is seen in ``by_seed``.

    Args:
        piece: its name.
        whole: a seed's answers each, with the piece.
        without: likewise without it.
        rows: groups and weights of the rows of one seed.
        seeds: their numbers.
    """
    target = whole[0].target
    metric = metrics.default_metric(target)
    sign = metrics.METRICS[metric].sign
    by_seed = {}
    for seed, a, b in zip(seeds, whole, without, strict=True):
        by_seed[str(seed)] = sign * _difference(metric, [a], [b], rows).value
    found = _difference(metric, whole, without, rows)
    found = found if sign > 0 else found.turned()
    with_, less = (float(np.mean([_score(metric, d, rows) for d in side])) for side in (whole, without))
    row: dict[str, Any] = {"piece": piece, "target": target.name, "metric": metric, "with": with_, "without": less, "worth": found.value}
    row |= {"low": found.low, "high": found.high, "n": found.n, "groups": found.groups, "method": found.method, "by_seed": by_seed}
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in row.items()}


def _difference(metric: str, a: Sequence[Dense], b: Sequence[Dense], rows: Rows) -> intervals.Interval:
    both = [one.scorable & other.scorable for one, other in zip(a, b, strict=True)]

    def joined(parts: Sequence[Dense], of: Callable[[Dense], np.ndarray]) -> np.ndarray:
        return np.concatenate([of(part)[known] for part, known in zip(parts, both, strict=True)])

    def answers(parts: Sequence[Dense]) -> np.ndarray | None:
        return joined(parts, decided) if any(part.answer is not None for part in parts) else None

    groups = np.concatenate([rows.groups[known] for known in both])
    weight = None if rows.weight is None else np.concatenate([rows.weight[known] for known in both])
    pair = (joined(a, lambda d: d.p), joined(b, lambda d: d.p))
    labels = (answers(a), answers(b))
    return intervals.difference(metric, a[0].target, pair, joined(a, lambda d: d.y), groups, weight=weight, answers=labels)


def _score(metric: str, dense: Dense, rows: Rows) -> float:
    know = dense.scorable
    weight = None if rows.weight is None else rows.weight[know]
    answer = None if dense.answer is None else dense.answer[know]
    value = metrics.score(metric, dense.target, dense.p[know], dense.y[know], weight, answer=answer)
    return float("nan") if value is None else value


def text(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as text, what is worth most first."""
    lines = [("piece", "target", "metric", "with", "without", "worth", "95 % interval")]
    for row in sorted(found, key=lambda r: -(r["worth"] or 0.0)):
        with_, less, worth = ("–" if row[k] is None else f"{row[k]:.4f}" for k in ("with", "without", "worth"))
        lines.append((row["piece"], row["target"], row["metric"], with_, less, worth, intervals.span(row)))
    return columns.aligned(lines, right=(3, 4, 5))
