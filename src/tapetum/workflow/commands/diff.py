"""``tapetum diff``: what two runs do not have in common, and which of it can explain another result. Reads files alone: no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from tapetum.core.columns import aligned
from tapetum.core.errors import listed
from tapetum.core.marks import main
from tapetum.core.nested import flatten
from tapetum.core.predictions import decided
from tapetum.core.runs import Run
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.words import plural, verb

RESULT, ROUNDING, NOTHING = "result", "rounding", "nothing"  # what a difference can change; rounding grows while a network trains
_EFFECTS = {RESULT: "can change the result", ROUNDING: "changes rounding", NOTHING: "changes no result"}
# keys of the recipe that decide how a run computes, stores or shows, and not what
_NO_RESULT = ("name", "input.cache", "predict.saliency", "predict.saliency_rows", "predict.keep_draws", "predict.arrays", "train.workers")
_NO_RESULT_BELOW = ("profile", "track", "tune")
_ROUNDING = ("train.precision", "train.channels_last", "train.threads", "predict.batch", "predict.engine")
_MEASURED = ("seconds", "rates", "seconds_per_image", "parity", "epoch_seconds", "overrun", "budget", "why")  # of plan.json: no choices
_COLUMNS = {"sha256": "the images' content", "group": "groups", "sequence": "sequences", "position": "positions", "split": "parts",
            "weight": "weights", "fold": "folds"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing that two runs do not have in common.

    Args:
        part: data, seed, recipe, plan or environment.
        key: what it is.
        first: its value in the first run; None: it has none.
        second: likewise.
        changes: RESULT, ROUNDING or NOTHING.
    """

    part: str
    key: str
    first: Any
    second: Any
    changes: str = RESULT


def differences(first: Run, second: Run) -> list[Difference]:
    """Return what two runs do not have in common, those that can change the result first."""
    found = [*_data(first, second), *_recipe(first, second), *_plan(first, second), *_environment(first, second)]
    order = list(_EFFECTS)
    return sorted(found, key=lambda one: order.index(one.changes))  # stable: data, recipe, plan, environment stay in this order


def diff(first: Run, second: Run) -> dict[str, Any]:
    """Return ``{"differences", "figures", "answers", "verdict", "table"}`` of two runs.

    ``figures`` has the main figure of each target of both, where both have it; ``answers``, by target, in how many of the rows of both the
    held-out answers differ, by how much at most, and in which row that is; ``verdict`` says what can explain that they differ.
    """
    found, figures, answers = differences(first, second), _figures(first, second), _answers(first, second)
    verdict = _verdict(found, figures, answers, _uncompared(first, second))
    lines = [["part", "key", "first", "second", "effect"]]
    lines += [[one.part, one.key, _short(one.first), _short(one.second), _EFFECTS[one.changes]] for one in found]
    measured = [["target", "metric", "first", "second", "difference"]]
    measured += [[f["target"], f["metric"], f"{f['first']:.4f}", f"{f['second']:.4f}", f"{f['second'] - f['first']:+.4f}"] for f in figures]
    told = [
        f"held-out answers of {a['target']}: {a['differ']} of {plural(a['rows'], 'row')} {verb(a['differ'], 'differs', 'differ')}, "
        f"by at most {a['largest']:.2g} (row {a['row']})"
        for a in answers
        if a["differ"]
    ]
    tables = [aligned(lines, whole=(0, 1, 4)) if found else "", aligned(measured, right=(2, 3, 4)) if figures else "", *told, verdict]
    return {
        "differences": [dataclasses.asdict(one) for one in found],
        "figures": figures,
        "answers": answers,
        "verdict": verdict,
        "table": "\n\n".join(table for table in tables if table),
    }


def _data(first: Run, second: Run) -> Iterator[Difference]:
    """Yield what differs between the rows of two runs."""
    tables = [run.manifest() if run.manifest_file.exists() else None for run in (first, second)]
    if tables[0] is None or tables[1] is None:
        if tables[0] is not tables[1]:
            yield Difference("data", "manifest", tables[0] and len(tables[0]), tables[1] and len(tables[1]))
        return
    one, other = tables[0], tables[1]
    mine, theirs = set(one.row_ids), set(other.row_ids)
    if mine != theirs:
        yield Difference("data", "rows in one run only", _some(mine - theirs), _some(theirs - mine))
    yield from _targets(one, other)
    joined = _by_id(one).join(_by_id(other), on="row_id", suffix=" of the second")
    for column, words in {**_COLUMNS, **{t.name: f"labels of {t.name}" for t in one.targets}}.items():
        if column in one.frame.columns and column in other.frame.columns:
            if joined.schema[column].is_nested() != joined.schema[f"{column} of the second"].is_nested():
                continue  # a target of another kind, which is said
            changed = joined.filter(pl.col(column).ne_missing(pl.col(f"{column} of the second")))
            if len(changed):
                row = changed.row(0, named=True)
                key = f"{words}: {plural(len(changed), 'row')}, as {row['row_id']}"
                yield Difference("data", key, row[column], row[f"{column} of the second"])
        elif (column in one.frame.columns) != (column in other.frame.columns) and column in _COLUMNS:
            given, other_given = ("given" if column in table.frame.columns else None for table in (one, other))
            yield Difference("data", words, given, other_given)


def _targets(one: Manifest, other: Manifest) -> Iterator[Difference]:
    mine, theirs = ({target.name: target.to_dict() for target in table.targets} for table in (one, other))
    for name in {**mine, **theirs}:
        if name not in mine or name not in theirs:
            yield Difference("data", f"target {name}", mine.get(name, {}).get("kind"), theirs.get(name, {}).get("kind"))
            continue
        for key, value in mine[name].items():
            if value != theirs[name].get(key):
                yield Difference("data", f"{key} of target {name}", value, theirs[name].get(key))


def _recipe(first: Run, second: Run) -> Iterator[Difference]:
    one, other = (dict(flatten(run.recipe().model_dump(mode="json"))) for run in (first, second))
    for key in {**one, **other}:
        if one.get(key) != other.get(key):
            below = key.split(".")[0] in _NO_RESULT_BELOW
            changes = NOTHING if below or key in _NO_RESULT else ROUNDING if key in _ROUNDING else RESULT
            yield Difference("seed" if key == "seed" else "recipe", key, one.get(key), other.get(key), changes)


def _plan(first: Run, second: Run) -> Iterator[Difference]:
    """Yield what was decided differently from measurements: precision and layout change rounding, epochs and folds the result."""
    one, other = (dict(flatten(run.described("plan.json"))) for run in (first, second))
    for key in {**one, **other}:
        if one.get(key) != other.get(key) and not set(key.split(".")) & {*_MEASURED}:
            changes = ROUNDING if ".engine." in f".{key}" or key.endswith("threads") else RESULT
            yield Difference("plan", key, one.get(key), other.get(key), changes)


def _environment(first: Run, second: Run) -> Iterator[Difference]:
    one, other = (dict(flatten(run.described("environment.json"))) for run in (first, second))
    for key in {**one, **other}:
        if one.get(key) != other.get(key):
            changes = RESULT if key == "versions.tapetum" else ROUNDING
            yield Difference("environment", key.removeprefix("versions."), one.get(key), other.get(key), changes)


def _figures(first: Run, second: Run) -> list[dict[str, Any]]:
    """Return the main figure of each target that both runs have."""
    one, other = (run.described("metrics.json").get("figures") or [] for run in (first, second))
    out = []
    for target in dict.fromkeys(figure["target"] for figure in one):
        mine = main(one, target)
        theirs = None if mine is None else main(other, target, mine["metric"])
        if mine is not None and theirs is not None:
            out.append({"target": target, "metric": mine["metric"], "first": mine["value"], "second": theirs["value"]})
    return out


def _answers(first: Run, second: Run) -> list[dict[str, Any]]:
    """Return how far the held-out answers of two runs are apart, by target; where one alone answers it is 1 (a number: infinity)."""
    if not all(run.file("oof.parquet").exists() for run in (first, second)):
        return []
    one, other = (Predictions.read(run.file("oof.parquet")) for run in (first, second))
    out = []
    for target in one.targets:
        if target not in other.targets:
            continue
        mine, theirs = one.dense(target.name), other.dense(target.name)
        shared, here, there = np.intersect1d(mine.row_ids, theirs.row_ids, assume_unique=True, return_indices=True)
        if not len(shared):
            continue
        mine, theirs = mine.where(here), theirs.where(there)
        apart = np.abs(np.nan_to_num(mine.p) - np.nan_to_num(theirs.p)).max(axis=1)
        apart[mine.ok != theirs.ok] = 1 if target.kind != "regression" else np.inf
        decisions = (np.nan_to_num(decided(mine)) != np.nan_to_num(decided(theirs))).any(axis=1)
        differ, most = int(((apart > 0) | decisions).sum()), int(np.argmax(apart))
        values = {"rows": len(shared), "differ": differ, "largest": float(apart[most]), "row": str(shared[most])}
        out.append({"target": target.name, **values})
    return out


def _uncompared(first: Run, second: Run) -> str:
    """Say why two runs have no figure in common."""
    targets = []
    for run in (first, second):
        figures = run.described("metrics.json").get("figures")
        if not figures:
            return f"{run.root} is not finished"
        targets.append(listed(dict.fromkeys(figure["target"] for figure in figures)))
    return f"the first answers {targets[0]}, the second {targets[1]}"


def _verdict(found: list[Difference], figures: list[dict[str, Any]], answers: list[dict[str, Any]], uncompared: str) -> str:
    """Return one sentence: what can explain that the results differ."""
    able = {level: [f"{one.part} ({one.key})" for one in found if one.changes == level] for level in (RESULT, ROUNDING)}
    same = all(figure["first"] == figure["second"] for figure in figures)
    if not figures:
        start = f"the results are not compared ({uncompared}); "
    else:
        apart = ", the answers are not" if any(a["differ"] for a in answers) else ""
        start = f"the figures are the same{apart}; " if same else "the figures differ; "
    if able[RESULT]:
        return f"{start}what can change a result: {listed(able[RESULT], 4)}"
    if able[ROUNDING]:
        return f"{start}only rounding differs, by {listed(able[ROUNDING], 4)}"
    return f"{start}nothing that is recorded can change a result"


def _by_id(table: Manifest) -> pl.DataFrame:
    keep = [c for c in table.frame.columns if c in _COLUMNS or c in {t.name for t in table.targets}]
    return table.frame.select("row_id", *keep)


def _some(rows: set[str]) -> str | None:
    return f"{plural(len(rows), 'row')}: {listed(sorted(rows), 3)}" if rows else None


def _short(value: Any) -> str:
    return "-" if value is None else str(value)
