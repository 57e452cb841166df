"""The report: one HTML file for screen, phone and paper that needs no network, made only from the files of a run folder."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl

from tapetum.core import files, metrics, places
from tapetum.core.errors import listed
from tapetum.core.folds import count_groups
from tapetum.core.runs import logged
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target
from tapetum.show import figures, measured, target_sections, training, words
from tapetum.show.run_files import RunFiles, read_run
from tapetum.show.thumbnails import Thumbnails, file_uri

MOST_BAD_FILES = 200
KNOWN_ELSEWHERE = ("format", "targets", "choice", "epochs", "views")  # of decisions.json: for the pipeline, or shown above
MOST_SALIENCY = 24
MOST_CLASS_COLUMNS = 12  # classes up to which the folds table counts each of them


def write_report(run: Path, out: Path | None = None, *, data: Path | None = None) -> Path:
    """Write the report of a run and return its path.

    Args:
        run: the run folder.
        out: where to; None: ``report.html`` in the run.
        data: where the images are now, if they moved since the fit.

    Raises:
        DataError: the folder is no run, or one of its files is broken.
    """
    out = Path(out) if out is not None else Path(run) / "report.html"
    return files.write_text(out, render(read_run(run, data)))


def render(found: RunFiles) -> str:
    """Return the page of a run."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tapetum.show", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    for name in ("number", "count", "interval", "percent", "plural", "duration", "plain", "metric_name", "breakable"):
        environment.filters[name] = getattr(words, name)
    environment.filters["per_fold"] = _is_per_fold
    environment.filters["fold_names"] = lambda folds: f"Fold{'s' if len(folds) > 1 else ''} {listed(folds, 20)}"
    return environment.get_template("report.html.jinja").render(page(found)).lstrip()


def page(found: RunFiles) -> dict[str, Any]:
    """Return everything that the template shows, section by section; an empty value leaves its section out."""
    thumbnails = Thumbnails(found.manifest, found.input())
    return {
        "title": found.run.root.resolve().name,
        "facts": facts(found),
        "cautions": cautions(found),
        "headline": measured.headline(found),
        "differences": measured.differences(found),
        "all_figures": measured.all_figures(found),
        "choice": {k: v for k, v in (found.metrics.get("choice") or {}).items() if v},
        "views": measured.views(found),
        "decisions": _decided({k: v for k, v in found.decisions.items() if k not in KNOWN_ELSEWHERE}),
        "targets": [target_page(found, target, thumbnails) for target in found.targets],
        "training": training.curves(found),
        "folds": fold_table(found),
        "log": logged(found.record),
        "bad_files": bad_files(found),
        "suspects": suspects(found),
        "saliency": saliency(found),
        "statements": found.statements,
        "first_look": found.first_look,
        "recipe": recipe(found),
        "reproduce": reproduce(found),
        "plan": found.plan,
        "environment": found.environment,
    }


def facts(found: RunFiles) -> dict[str, Any]:
    """Return the counts and settings at the top of the page."""
    counts = dict(found.metrics.get("counts") or {})
    if not counts and found.final is not None and found.targets:
        dense = found.final.dense(found.targets[0].name)
        counts = {"rows": len(dense.row_ids), "groups": count_groups(found.groups(dense.row_ids))}
        counts |= {status: int(np.sum(dense.status == status)) for status in ("ok", "missing", "uncovered")}
        counts["unknown"] = int(np.sum(dense.ok & ~dense.scorable))
    recipe_name = next((row["value"] for row in found.origin if row["key"] == "name"), None)
    folds = sorted({int(f) for f in found.manifest.fold if f >= 0}) if found.manifest is not None else []
    return {
        "counts": counts,
        "recipe": recipe_name,
        "started": _date(found.record.get("started")),
        "version": (found.environment.get("versions") or {}).get("tapetum"),
        "folds": len(folds),
        "targets": [_describe(t) for t in found.targets],
    }


def cautions(found: RunFiles) -> list[str]:
    """Return the warnings above the figures: marks of the run, and rows that are not in the figures."""
    counts = facts(found)["counts"]
    out = [f"[{number}] {mark}." for number, mark in enumerate(found.metrics.get("marks") or [], start=1)]
    out += [f"Warning: {warning}." for warning in found.metrics.get("warnings") or []]
    words_of = {
        "missing": "could not be read and {} no prediction",
        "uncovered": "{} not held out in any fold and {} not scored",
        "unknown": "{} no label and {} not scored",
    }
    for key, text in words_of.items():
        n = int(counts.get(key) or 0)
        if n:
            one = {"missing": ("has",), "uncovered": ("was", "is"), "unknown": ("has", "is")}[key]
            many = {"missing": ("have",), "uncovered": ("were", "are"), "unknown": ("have", "are")}[key]
            out.append(f"{words.plural(n, 'image')} {text.format(*(one if n == 1 else many))}.")
    gone = [] if found.manifest is None else places.absent(found.manifest)
    if gone and found.manifest is not None:
        out.append(
            f"The files of {words.plural(len(gone), 'row')} are no longer in {found.manifest.root} and are not shown; "
            "no figure depends on them. If the data moved: tapetum report RUN --data DIR."
        )
    return out


def target_page(found: RunFiles, target: Target, thumbnails: Thumbnails) -> dict[str, Any]:
    """Return the sections about one target."""
    dense = found.held_out(target)
    base = {"name": target.name, "kind": target.kind, "describe": _describe(target)}
    if dense is None:
        return base | dict.fromkeys(("confusion", "outcomes", "classes", "reliability", "numbers", "worst"))
    groups = found.groups(dense.row_ids)
    return base | {
        "confusion": target_sections.confusion(dense),
        "outcomes": target_sections.outcomes(dense),
        "classes": target_sections.classes(dense, groups, found.weight(dense.row_ids)),
        "reliability": target_sections.reliability(dense, groups),
        "numbers": target_sections.numbers(dense),
        "worst": target_sections.worst(dense, thumbnails),
    }


def fold_table(found: RunFiles) -> dict[str, Any] | None:
    """Return how many rows, groups and rows of each class a fold holds out, and what was reached on it."""
    if found.manifest is None or not (found.manifest.fold >= 0).any():
        return None
    manifest, target = found.manifest, _main_target(found)
    truth = manifest.truth(target.name) if target is not None else np.zeros((len(manifest), 0))
    classes = list(target.classes) if target is not None and target.kind != "regression" else []
    metric = _main_metric(found, target)
    dense = found.held_out(target) if target is not None else None
    lines = []
    trains, every = manifest.split == "train", sorted({int(f) for f in manifest.fold if f >= 0})
    for fold in every:
        rows = (manifest.fold == fold) & trains
        per_class = np.nansum(truth[rows], axis=0).astype(int).tolist() if classes else []
        line = {"fold": fold, "rows": int(rows.sum()), "groups": count_groups(manifest.groups[rows]), "counts": per_class}
        line["absent"] = [name for name, n in zip(classes, per_class, strict=True) if n == 0]
        scores = [
            _score(found, metric, None if dense is None else dense.where(np.isin(dense.row_ids, manifest.frame["row_id"].filter(rows))))
        ]
        scores += [_score(found, metric, found.of_member(m, fold, target.name) if target is not None else None) for m in found.members]
        lines.append(line | {"scores": scores})
    split = manifest.split
    return {
        "lines": lines,
        "classes": classes if len(classes) <= MOST_CLASS_COLUMNS else [],
        "many": len(classes) > MOST_CLASS_COLUMNS,
        "target": target.name if target is not None else "",
        "metric": words.metric_name(metric) if metric else None,
        "names": ["final", *found.members],
        "idle": [fold for fold in every if dense is not None and not np.any(dense.fold[dense.status != "uncovered"] == fold)],
        "divided": _divided_groups(manifest),
        "by_image": found.run.recipe_file.exists() and found.run.recipe().split.scheme == "image",
        "apart": {name: int(np.sum(split == name)) for name in ("test", "extra") if np.any(split == name)},
    }


def _divided_groups(manifest: Manifest) -> int:
    """Return how many groups have training rows in several folds."""
    trains = manifest.split == "train"
    pairs = {(str(group), int(fold)) for group, fold in zip(manifest.groups[trains], manifest.fold[trains], strict=True)}
    many = Counter(group for group, _ in pairs)
    return sum(n > 1 for n in many.values())


def bad_files(found: RunFiles) -> dict[str, Any] | None:
    """Return the image files that cannot be used, each with the reason."""
    if found.audit is None or "status" not in found.audit.columns:
        return None
    bad = found.audit.filter(pl.col("status") != "ok")
    names = [name for name in ("row_id", "status", "reason") if name in bad.columns]
    lines = bad.select(names).head(MOST_BAD_FILES).to_dicts()
    return {"checked": len(found.audit), "bad": len(bad), "lines": lines, "more": max(len(bad) - MOST_BAD_FILES, 0)}


def suspects(found: RunFiles) -> dict[str, Any] | None:
    """Return the labels that an audit finds suspect, the worst first; None where none were judged."""
    if found.audit is None or "suspect" not in found.audit.columns or not found.audit["suspicion"].count():
        return None
    flagged = found.audit.filter(pl.col("suspect").fill_null(False)).sort("suspicion", descending=True, nulls_last=True)
    return {
        "judged": found.audit["suspicion"].count(),
        "n": len(flagged),
        "lines": flagged.select("row_id", "note").head(MOST_BAD_FILES).to_dicts(),
    }


def saliency(found: RunFiles) -> list[dict[str, Any]]:
    """Return the saliency images that inference wrote, embedded; a file that is not there shows its name."""
    folder = found.run.root / "saliency"
    entries = found.saliency[:MOST_SALIENCY]
    return [{**entry, "image": file_uri(folder / str(entry.get("file", "")))} for entry in entries]


def recipe(found: RunFiles) -> dict[str, Any] | None:
    """Return the recipe's values with their origins, those that differ from the default apart."""
    if not found.origin:
        text = found.run.recipe_file
        return {"set": [], "default": [], "toml": text.read_text(encoding="utf-8")} if text.exists() else None
    chosen = [row for row in found.origin if row["origin"] != "default"]
    return {"set": chosen, "default": [row for row in found.origin if row["origin"] == "default"], "toml": ""}


def reproduce(found: RunFiles) -> dict[str, Any] | None:
    """Return the command of the run and how long each stage took, over all of its starts."""
    command = found.record.get("command")
    if isinstance(command, (list, tuple)):
        command = " ".join(str(part) for part in command)
    stages: dict[str, float] = {}
    starts = {start.get("started"): start for start in found.record.get("starts") or [found.record]}  # the last state of each start
    for start in starts.values():
        for name, seconds in (start.get("seconds") or {}).items():
            stages[name] = stages.get(name, 0.0) + float(seconds)
    if not command and not stages:
        return None
    most = max(stages.values(), default=1.0) or 1.0
    lines = [{"stage": n, "seconds": s, "bar": figures.stacked([("found", s)], most)} for n, s in stages.items()]
    return {"command": command, "stages": lines, "total": sum(stages.values()), "planned": bool(found.plan), "starts": len(starts)}


# ---------------------------------------------------------------------------------------------------------- small parts


def _decided(value: Any) -> Any:
    """Leave out of the decisions what decides nothing: versions, the targets' own description, what is empty."""
    if not isinstance(value, Mapping):
        return value
    tidy = {k: _decided(v) for k, v in value.items() if k not in ("version", "format") and not (k == "target" and isinstance(v, Mapping))}
    return {k: v for k, v in tidy.items() if v not in (None, {}, [], "")}


def _is_per_fold(value: Mapping[str, Any]) -> bool:
    """Tell whether a table's keys are fold numbers and its values are single ones."""
    return all(str(key).isdecimal() and not isinstance(inner, (Mapping, list)) for key, inner in value.items())


def _describe(target: Target) -> str:
    if target.kind == "regression":
        return f"{target.name}: a number"
    n = words.count(len(target.classes))
    return (
        f"{target.name}: "
        + {"single": f"one of {n} classes", "multi": f"any of {n} classes", "ordinal": f"one of {n} ordered classes"}[target.kind]
    )


def _main_target(found: RunFiles) -> Target | None:
    name = (found.metrics.get("headline") or {}).get("target")
    targets = found.targets
    return next((t for t in targets if t.name == name), targets[0] if targets else None)


def _main_metric(found: RunFiles, target: Target | None) -> str | None:
    if target is None:
        return None
    return (found.metrics.get("headline") or {}).get("metric") or metrics.default_metric(target)


def _score(found: RunFiles, metric: str | None, dense: Dense | None) -> float | None:
    if metric is None or dense is None or not dense.scorable.any():
        return None
    rows = dense.where(dense.scorable)
    return metrics.score(metric, rows.target, rows.p, rows.y, found.weight(rows.row_ids), answer=rows.answer)


def _date(started: Any) -> str | None:
    if isinstance(started, (int, float)):
        moment = datetime.datetime.fromtimestamp(started, datetime.UTC)
        return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
    return str(started) if started else None
