"""The report: one HTML file for screen, phone and paper that needs no network, made only from the files of a run folder."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from tapetum.core import files
from tapetum.core.errors import listed, shorten
from tapetum.core.folds import count_groups
from tapetum.core.records import logged, stage_seconds
from tapetum.core.targets import Target
from tapetum.core.words import plural, verb
from tapetum.show import (
    data_sections,
    embedding,
    figures,
    first_screen,
    measured,
    members,
    ranking_sections,
    sequence_section,
    target_sections,
    training,
    words,
    worries,
)
from tapetum.show.fold_section import fold_table, main_target
from tapetum.show.run_files import RunFiles, read_run
from tapetum.show.thumbnails import Thumbnails, file_uri

TARGET_PARTS = ("confusion", "outcomes", "classes", "rankings", "thresholds", "reliability", "numbers", "worst", "right")
MOST_WORRIES = 6  # on the first screen
MOST_LOG, LONGEST_LINE = 400, 2000  # lines, and characters of one
MOST_BYTES = 5_000_000  # of the page
LEAST_NEEDED = ("saliency", "training", "log", "decisions", "plan", "statements", "suspects", "map", "sequences", "environment")
MOST_TARGETS = 24  # with sections of their own; the figures show all
KNOWN_ELSEWHERE = ("format", "targets", "choice", "epochs", "views")  # of decisions.json: for the pipeline, or shown above
MOST_SALIENCY, SALIENCY_SPACE = 24, 1_000_000  # images, and characters of them


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
    """Return the page of a run; where it would be too large, without the sections that are least needed, which it names."""
    template, shown = templates().get_template("report.html.jinja"), page(found)
    text = template.render(shown)
    for section in LEAST_NEEDED:
        if len(text.encode()) <= MOST_BYTES:
            break
        if shown[section]:
            shown |= {section: type(shown[section])(), "left_out": [*shown["left_out"], section]}
            text = template.render(shown)
    while len(text.encode()) > MOST_BYTES and len(shown["targets"]) > 1:
        half = len(shown["targets"]) // 2
        more = [one["name"] for one in shown["targets"][half:]]
        shown |= {"targets": shown["targets"][:half], "more_targets": [*more, *shown["more_targets"]]}
        text = template.render(shown)
    return text.lstrip()


@functools.cache
def templates() -> jinja2.Environment:
    """Return the templates of pages, with the filters that they use."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tapetum.show", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    for name in ("number", "count", "interval", "percent", "duration", "plain", "metric_name", "breakable"):
        environment.filters[name] = getattr(words, name)
    environment.filters["plural"], environment.filters["verb"] = plural, verb
    environment.filters["tojson"] = _json
    environment.filters["per_fold"] = _is_per_fold
    environment.filters["fold_names"] = lambda folds: f"{verb(len(folds), 'Fold', 'Folds')} {listed(folds, 20)}"
    return environment


def page(found: RunFiles) -> dict[str, Any]:
    """Return everything that the template shows, section by section; an empty value leaves its section out."""
    found = found.with_short_names()
    thumbnails, about, log = Thumbnails(found.manifest, found.input()), facts(found), logged(found.record)
    lead = main_target(found)
    targets = [
        target_page(found, target, thumbnails) for target in found.targets[:MOST_TARGETS]
    ]  # first: what is left of the space is for the others
    return {
        "title": found.run.root.resolve().name,
        "facts": about,
        "first": first_screen.summary(found, about["counts"], about["folds"]),
        "worries": worries.worries(found, about["counts"]),
        "most_worries": MOST_WORRIES,
        "checked": worries.CHECKED_OF_ANSWERS if found.is_evaluation else worries.CHECKED,
        "overview": data_sections.overview(found, thumbnails),
        "findings": data_sections.findings(found),
        "headline": measured.headline(found),
        "differences": measured.differences(found),
        "all_figures": measured.all_figures(found),
        "choice": {k: v for k, v in (found.metrics.get("choice") or {}).items() if v},
        "views": measured.views(found),
        "decisions": _decided({k: v for k, v in found.decisions.items() if k not in KNOWN_ELSEWHERE}),
        "targets": targets,
        "more_targets": [target.name for target in found.targets[MOST_TARGETS:]],
        "map": embedding.embedding(found, lead),
        "sequences": sequence_section.sequences(found, lead),
        "members": members.members(found, lead.name if lead is not None else None),
        "steps": members.steps(found),
        "training": training.curves(found),
        "folds": fold_table(found),
        "log": [shorten(line, LONGEST_LINE) for line in log[:MOST_LOG]],
        "log_more": max(len(log) - MOST_LOG, 0),
        "bad_files": data_sections.bad_files(found),
        "suspects": data_sections.suspects(found, thumbnails),
        "saliency": saliency(found),
        "statements": found.statements,
        "first_look": found.first_look,
        "recipe": recipe(found),
        "reproduce": reproduce(found),
        "plan": found.plan,
        "environment": found.environment,
        "left_out": [],
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


def target_page(found: RunFiles, target: Target, thumbnails: Thumbnails) -> dict[str, Any]:
    """Return the sections about one target."""
    dense = found.held_out(target)
    base = {"name": target.name, "kind": target.kind, "describe": _describe(target)}
    if dense is None:
        return base | dict.fromkeys(TARGET_PARTS)
    groups, weight = found.groups(dense.row_ids), found.weight(dense.row_ids)
    most = max(target_sections.MOST_LINES // len(found.targets), 20)  # lines of a table: targets share the space
    return base | {
        "confusion": target_sections.confusion(dense, thumbnails, len(found.targets)),
        "outcomes": target_sections.outcomes(dense, most),
        "classes": target_sections.classes(dense, groups, weight, most),
        "rankings": ranking_sections.rankings(dense, weight, most),
        "thresholds": ranking_sections.thresholds(dense),
        "reliability": target_sections.reliability(dense, groups),
        "numbers": target_sections.numbers(dense),
        "worst": target_sections.worst(dense, thumbnails),
        "right": target_sections.right(dense, thumbnails),
    }


def saliency(found: RunFiles) -> list[dict[str, Any]]:
    """Return the saliency images that inference wrote, embedded as far as there is space; a file that is not there shows its name."""
    folder, space, out = found.run.root / "saliency", SALIENCY_SPACE, []
    for entry in found.saliency[:MOST_SALIENCY]:
        image = file_uri(folder / str(entry.get("file", "")))
        space -= len(image or "")
        if space < 0:
            break
        out.append({**entry, "image": image})
    return out


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
    stages, starts = stage_seconds(found.record)
    if not command and not stages:
        return None
    most = max(stages.values(), default=1.0) or 1.0
    lines = [{"stage": n, "seconds": s, "bar": figures.stacked([("found", s)], most)} for n, s in stages.items()]
    return {"command": command, "stages": lines, "total": sum(stages.values()), "planned": bool(found.plan), "starts": starts}


# ---------------------------------------------------------------------------------------------------------- small parts


def _decided(value: Any) -> Any:
    """Leave out of the decisions what decides nothing: versions, the targets' own description, what is empty."""
    if not isinstance(value, Mapping):
        return value
    tidy = {k: _decided(v) for k, v in value.items() if k not in ("version", "format") and not (k == "target" and isinstance(v, Mapping))}
    return {k: v for k, v in tidy.items() if v not in (None, {}, [], "")}


def _json(value: Any) -> Markup:
    """Return JSON that can be inside a script element: nothing in it ends the element or opens another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))


def _is_per_fold(value: Mapping[str, Any]) -> bool:
    """Tell whether a table's keys are fold numbers and its values are single ones."""
    return all(str(key).isdecimal() and not isinstance(inner, (Mapping, list)) for key, inner in value.items())


def _describe(target: Target) -> str:
    if target.kind == "regression":
        return f"{target.name}: a number"
    return f"{target.name}: {'any' if target.kind == 'multi' else 'one'} of {words.classes_text(target)}"


def _date(started: Any) -> str | None:
    if isinstance(started, (int, float)):
        moment = datetime.datetime.fromtimestamp(started, datetime.UTC)
        return f"{moment.day} {moment:%B %Y, %H:%M} UTC"
    return str(started) if started else None
